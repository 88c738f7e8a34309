/**
 * Memory for blocks on their way to other nodes, used again as soon as they have left: so it stays in the
 * processor's cache, and nothing has to be cleared away.
 */
import { pageSize } from 'cluster-fs/segment';
import { blockPages } from './blocks.ts';

const blockBytes = blockPages * pageSize;
/** What is kept at most: 4 MiB, as much as a reader asks for ahead. */
const mostKept = 64;
/** Less than this is not worth a whole one. */
const smallBytes = blockBytes / 4;

export class BlockBuffers {
  readonly #free: Buffer[] = [];

  take(length: number): Buffer {
    if (length <= smallBytes) return Buffer.allocUnsafe(length);
    const whole = this.#free.pop() ?? Buffer.allocUnsafeSlow(blockBytes);
    return length === blockBytes ? whole : whole.subarray(0, length);
  }

  /** Requires: it was taken here, and nobody uses it any more. */
  give(bytes: Buffer): void {
    if (bytes.length <= smallBytes || this.#free.length >= mostKept) return;
    this.#free.push(bytes.length === blockBytes ? bytes : Buffer.from(bytes.buffer));
  }
}
