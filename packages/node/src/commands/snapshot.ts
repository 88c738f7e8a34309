/**
 * Reading a file as it is now, however large: through a view that keeps the content that was there when it
 * was opened, so that a replacement meanwhile never gives half of each.
 */
import type { ClusterFs } from 'cluster-fs';

const chunkBytes = 4 * 2 ** 20;

/**
 * The content in pieces. Each is a copy: a system call on the view itself could meet a page just when it
 * moves.
 *
 * @throws FsError ENOENT, EISDIR, EACCES
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
      yield Buffer.from(bytes.subarray(at, at + chunkBytes));
    }
  } finally {
    view.close();
  }
}
