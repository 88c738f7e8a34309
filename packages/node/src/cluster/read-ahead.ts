/**
 * Which blocks of a file to ask for before they are touched. Who touches them in order, and faster than they
 * come, faults on blocks that are on their way: then more are asked for, so that there is always something
 * on its way.
 */
import { blocksOfFile } from './blocks.ts';

/** A sequential reader is ahead of its touches by up to this many blocks. */
const maxAheadBlocks = 64;

/** Touches of a file that go on in order. */
interface Stream {
  /** The first block that was not asked for. */
  next: number;
  /** How far `next` is before the touches. */
  ahead: number;
}

export class ReadAhead {
  readonly #streams = new Map<number, Stream>();

  /** A block of a file was touched and is not here: those blocks are worth asking for, from .. end. */
  touched(ino: number, index: number): { readonly from: number; readonly end: number } {
    const stream = this.#streams.get(ino);
    if (stream === undefined || index > stream.next || index < stream.next - stream.ahead) {
      this.#streams.set(ino, { next: index + 1, ahead: 1 });
      return { from: 0, end: 0 };
    }
    const from = stream.next;
    // Half of it is still before the touches.
    if (from - index > stream.ahead / 2) return { from: 0, end: 0 };
    stream.ahead = Math.min(maxAheadBlocks, stream.ahead * 2);
    stream.next = Math.min(index + stream.ahead, blocksOfFile);
    return { from, end: stream.next };
  }

  forget(ino: number): void {
    this.#streams.delete(ino);
  }
}
