/**
 * Reading a file as it is now, however large: a replacement meanwhile never gives half of each.
 */
import type { ClusterFs } from 'cluster-fs';
import { about } from '../dump/about.ts';
import { openStill } from '../dump/still.ts';

const chunkBytes = 4 * 2 ** 20;

/**
 * The content in pieces. Each is a copy: a system call on the view itself could meet a page just when it
 * moves.
 *
 * @throws FsError ENOENT, EISDIR, EACCES, EIO; ESTALE when a file of another home was changed meanwhile
 */
export async function* snapshotChunks(
  fs: ClusterFs,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const still = await about(path, () => openStill(fs, path));
  try {
    const { bytes } = still;
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      signal.throwIfAborted();
      const chunk = bytes.subarray(at, at + chunkBytes);
      await about(path, () => still.need(at, chunk.length));
      const copy = Buffer.from(chunk);
      still.verify();
      yield copy;
    }
  } finally {
    still.close();
  }
}
