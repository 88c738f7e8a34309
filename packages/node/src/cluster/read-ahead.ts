/** How far ahead of its touches a file is read: twice as far whenever they go on where they were expected. */

/** A sequential reader is ahead of its touches by up to this many blocks. */
const maxAheadBlocks = 64;

/** Where the last touches of a file went. */
interface Stream {
  next: number;
  ahead: number;
}

export class ReadAhead {
  readonly #streams = new Map<number, Stream>();

  /** How many blocks to ask for when block `index` of a file is touched. */
  touched(ino: number, index: number): number {
    const stream = this.#streams.get(ino) ?? { next: -1, ahead: 1 };
    // On its way already.
    if (index >= stream.next - stream.ahead && index < stream.next) return 1;
    stream.ahead = stream.next === index ? Math.min(maxAheadBlocks, stream.ahead * 2) : 1;
    stream.next = index + stream.ahead;
    this.#streams.set(ino, stream);
    return stream.ahead;
  }

  forget(ino: number): void {
    this.#streams.delete(ino);
  }
}
