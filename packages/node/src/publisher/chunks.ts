/** The bytes of an open file of the disk, in chunks, read one ahead. */
import type { FileHandle } from 'node:fs/promises';

/** Whole pages, so that they are copied into the segment from where they are. */
const chunkBytes = 4 * 2 ** 20;

/**
 * From where the file stands to its end. A chunk is good until the next but one is asked for: buffers are
 * used again.
 */
export async function* chunksOf(
  file: FileHandle,
  onProgress: (done: number) => void = () => undefined,
): AsyncGenerator<Buffer> {
  const buffers = [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)] as const;
  const read = (turn: number) => {
    const reading = file.read(buffers[turn % 2 === 0 ? 0 : 1], 0, chunkBytes, null);
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
