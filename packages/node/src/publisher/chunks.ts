/** The bytes of an open file of the disk, in chunks, read one ahead. */
import type { FileHandle } from 'node:fs/promises';

/** Whole pages, so that they are copied into the segment from where they are. */
const pageBytes = 4096;
const chunkBytes = 1024 * pageBytes;

export interface ChunkOptions {
  /** How long the file is thought to be: a small one gets small buffers. */
  readonly size: number;
  readonly onProgress?: (done: number) => void;
}

/**
 * From where the file stands to its end. A chunk is good until the next but one is asked for: buffers are
 * used again.
 */
export async function* chunksOf(file: FileHandle, options: ChunkOptions): AsyncGenerator<Buffer> {
  const { size, onProgress = () => undefined } = options;
  const buffers = buffersFor(size);
  const read = (turn: number) => {
    const buffer = buffers[turn % 2 === 0 ? 0 : 1];
    const reading = file.read(buffer, 0, buffer.length, null);
    // Until it is awaited its failure must not count as unhandled.
    reading.catch(() => undefined);
    return reading;
  };
  let done = 0;
  let next = read(0);
  try {
    for (let turn = 1; ; turn++) {
      const { bytesRead, buffer } = await next;
      if (bytesRead === 0) return;
      next = read(turn);
      yield buffer.subarray(0, bytesRead);
      done += bytesRead;
      onProgress(done);
    }
  } finally {
    // The file may be closed when this ends, and a read must not be under way then.
    await next.catch(() => undefined);
  }
}

/** What fits in one chunk is read at once, and then only its end is looked for. */
function buffersFor(size: number): readonly [Buffer, Buffer] {
  const isSmall = size > 0 && size <= chunkBytes;
  const first = isSmall ? Math.ceil(size / pageBytes) * pageBytes : chunkBytes;
  return [Buffer.allocUnsafeSlow(first), Buffer.allocUnsafeSlow(isSmall ? pageBytes : chunkBytes)];
}
