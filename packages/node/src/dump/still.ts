/**
 * A file as it is now, to be read piece by piece: by a view that keeps the content that was there when it was
 * opened. For that a node makes a copy of a file of another home. When it has no memory for that the file is
 * read as it is, and who reads it is told when it changes meanwhile.
 */
import { type ClusterFs, FsError } from 'cluster-fs';
import { bringIn } from './bring-in.ts';

export interface Still {
  readonly size: number;
  /**
   * A copy: a system call on the view itself could meet a page just when it moves. ESTALE when it may be of
   * another content.
   */
  read(offset: number, length: number): Promise<Buffer>;
  close(): Promise<void> | void;
}

/** @throws FsError ENOENT, EISDIR, EACCES, EIO */
export async function openStill(fs: ClusterFs, path: string): Promise<Still> {
  try {
    const view = await fs.map(path, { follow: 'manual' });
    const read = async (offset: number, length: number): Promise<Buffer> => {
      await bringIn(view, offset, length);
      return Buffer.from(view.bytes.subarray(offset, offset + length));
    };
    return { size: view.bytes.length, read, close: () => view.close() };
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== 'ENOSPC') throw error;
    return openWatched(fs, path);
  }
}

async function openWatched(fs: ClusterFs, path: string): Promise<Still> {
  const handle = await fs.promises.open(path, 'r');
  const before = await handle.stat();
  const verify = (): void => {
    const now = fs.statSync(path, { throwIfNoEntry: false });
    if (now !== undefined && now.ino === before.ino && now.ctimeMs === before.ctimeMs) return;
    throw new FsError('ESTALE', 'read', { path, why: 'it was changed while it was read: try again' });
  };
  const read = async (offset: number, length: number): Promise<Buffer> => {
    const bytes = Buffer.allocUnsafe(length);
    const { bytesRead } = await handle.read(bytes, 0, length, offset);
    verify();
    if (bytesRead === length) return bytes;
    throw new FsError('EIO', 'read', { path, why: `${bytesRead} of ${length} bytes at ${offset}` });
  };
  return { size: before.size, read, close: () => handle.close() };
}
