/**
 * In which order chunks leave memory: 2Q (Johnson and Shasha, VLDB 1994), adapted to a node that hears when a
 * chunk is brought in or written, and not when it is read where it is.
 *
 *   new ──▶ cold ──evicted──▶ ghost ──wanted again──▶ hot
 *             ▲                  └──forgotten           │
 *             └───────────────────── one of eight ──────┘
 *
 * What comes once, as a file that is copied or scanned, goes through the cold line and takes nothing else
 * with it. What is wanted again soon after it went stays: it goes when there is nothing cold. Since nobody
 * says whether a hot chunk is still read, the oldest becomes cold again with every eighth eviction.
 */

/** Evictions for which one hot chunk becomes cold. */
const demoteEvery = 8;

export class EvictionLine {
  readonly #cold = new Set<number>();
  readonly #hot = new Set<number>();
  /** Pages of chunks that are gone, the longest gone first. */
  readonly #ghosts = new Map<number, number>();
  readonly #mostGhostPages: number;
  #ghostPages = 0;
  #evictions = 0;

  /** `memoryPages`: how many pages memory has. Half as many are remembered when they are gone. */
  constructor(memoryPages: number) {
    this.#mostGhostPages = memoryPages / 2;
  }

  has(chunk: number): boolean {
    return this.#cold.has(chunk) || this.#hot.has(chunk);
  }

  /** Pages of the chunk are brought in or written. */
  touched(chunk: number): void {
    const isHot = this.#hot.delete(chunk) || this.#forgetGhost(chunk);
    this.#cold.delete(chunk);
    (isHot ? this.#hot : this.#cold).add(chunk);
  }

  /** All pages of the chunk, that many, have left memory. */
  evicted(chunk: number, pages: number): void {
    this.gone(chunk);
    this.#ghosts.set(chunk, pages);
    this.#ghostPages += pages;
    for (const [oldest] of this.#ghosts) {
      if (this.#ghostPages <= this.#mostGhostPages) break;
      this.#forgetGhost(oldest);
    }
    if (++this.#evictions % demoteEvery === 0) this.#demote();
  }

  /** The chunk has no pages in memory, for another reason: its file was cut or removed. */
  gone(chunk: number): void {
    this.#cold.delete(chunk);
    this.#hot.delete(chunk);
  }

  /** As they are now, each in the order in which they go; the hot ones after all that are cold. */
  inOrder(): { readonly cold: readonly number[]; readonly hot: readonly number[] } {
    return { cold: [...this.#cold], hot: [...this.#hot] };
  }

  #demote(): void {
    const [oldest] = this.#hot;
    if (oldest === undefined) return;
    this.#hot.delete(oldest);
    this.#cold.add(oldest);
  }

  #forgetGhost(chunk: number): boolean {
    this.#ghostPages -= this.#ghosts.get(chunk) ?? 0;
    return this.#ghosts.delete(chunk);
  }
}
