/**
 * Memory for blocks on their way to other nodes, used again as soon as they have left: so it stays in the
 * processor's cache, and nothing has to be cleared away.
 */
import { pageSize } from 'cluster-fs/segment';
import { blockPages } from './blocks.ts';

const blockBytes = blockPages * pageSize;
/** What a small file has, which is not worth a whole one. */
const smallBytes = blockBytes / 4;
/** What is kept at most of either: 4 MiB of whole ones, as much as a reader asks for ahead. */
const mostKept = 64;

export class BlockBuffers {
  readonly #free = new Map<number, Buffer[]>([smallBytes, blockBytes].map((size) => [size, []]));

  take(length: number): Buffer {
    const size = length <= smallBytes ? smallBytes : blockBytes;
    const whole = this.#free.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
    return length === size ? whole : whole.subarray(0, length);
  }

  /** Requires: it was taken here, and nobody uses it any more. */
  give(bytes: Buffer): void {
    const free = this.#free.get(bytes.buffer.byteLength);
    if (free === undefined || free.length >= mostKept) return;
    free.push(bytes.length === bytes.buffer.byteLength ? bytes : Buffer.from(bytes.buffer));
  }
}

export const nothing = Buffer.alloc(0);
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
