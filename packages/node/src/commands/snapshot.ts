/**
 * Reading a file as it is now, however large: through a view that keeps the content that was there when it
 * was opened, so that a replacement meanwhile never gives half of each.
 */
import type { ClusterFs } from 'cluster-fs';
import { bringIn } from '../dump/bring-in.ts';

const chunkBytes = 4 * 2 ** 20;

/**
 * The content in pieces. Each is a copy: a system call on the view itself could meet a page just when it
 * moves.
 *
 * @throws FsError ENOENT, EISDIR, EACCES, EIO
 */
export async function* snapshotChunks(
  fs: ClusterFs,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const view = await fs.map(path, { follow: 'manual' });
  try {
    const { bytes } = view;
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      signal.throwIfAborted();
      const chunk = bytes.subarray(at, at + chunkBytes);
      await bringIn(view, at, chunk.length);
      yield Buffer.from(chunk);
    }
  } finally {
    view.close();
  }
}
