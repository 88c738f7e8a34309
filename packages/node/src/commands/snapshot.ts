/**
 * Reading a file as it is now, however large: a replacement meanwhile never gives half of each.
 */
import type { ClusterFs } from 'cluster-fs';
import { about } from '../dump/about.ts';
import { openStill } from '../dump/still.ts';

const chunkBytes = 4 * 2 ** 20;

/**
 * The content in pieces.
 *
 * @throws FsError ENOENT, EISDIR, EACCES, EIO; ESTALE when a file was changed meanwhile whose home is another
 * node, and of which this one has no room for a copy
 */
export async function* snapshotChunks(
  fs: ClusterFs,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const still = await about(path, () => openStill(fs, path));
  try {
    for (let at = 0; at < still.size; at += chunkBytes) {
      signal.throwIfAborted();
      const length = Math.min(chunkBytes, still.size - at);
      yield await about(path, () => still.read(at, length));
    }
  } finally {
    await still.close();
  }
}
