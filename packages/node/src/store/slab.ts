/**
 * Memory for a few pages at a time, cut from a larger piece: to make an ArrayBuffer for each, and to free it,
 * takes as long as to read its page. A piece is kept as long as any part of it is used.
 */

/** Sixteen pages. */
export const slabBytes = 64 * 1024;

export class Slab {
  #buffer = Buffer.allocUnsafeSlow(slabBytes);
  #used = 0;

  /** So many bytes that nobody else has, whatever they hold. */
  take(bytes: number): Buffer {
    if (this.#used + bytes > this.#buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(bytes, slabBytes));
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += bytes;
    return this.#buffer.subarray(from, this.#used);
  }
}
