/**
 * A file as it is now, to be looked at piece by piece: by a view that keeps the content that was there when
 * it was opened. Files of another home cannot be kept so: who reads one is told when it changes meanwhile.
 */
import { type ClusterFs, FsError, type View } from 'cluster-fs';
import { bringIn } from './bring-in.ts';

export interface Still {
  readonly bytes: Uint8Array;
  /** Before bytes are looked at. */
  need(offset: number, length: number): Promise<void>;
  /** When they were. ESTALE when they may be of another content. */
  verify(): void;
  close(): void;
}

/** @throws FsError ENOENT, EISDIR, EACCES, EIO */
export async function openStill(fs: ClusterFs, path: string): Promise<Still> {
  try {
    const view = await fs.map(path, { follow: 'manual' });
    return { ...stillOf(view), verify: () => undefined };
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== 'ENOTSUP') throw error;
    return openWatched(fs, path);
  }
}

const stillOf = (view: View) => ({
  bytes: view.bytes,
  need: (offset: number, length: number) => bringIn(view, offset, length),
  close: () => view.close(),
});

async function openWatched(fs: ClusterFs, path: string): Promise<Still> {
  const before = fs.statSync(path);
  const verify = (): void => {
    const now = fs.statSync(path, { throwIfNoEntry: false });
    if (now !== undefined && now.ino === before.ino && now.ctimeMs === before.ctimeMs) return;
    throw new FsError('ESTALE', 'read', { path, why: 'it was changed while it was read: try again' });
  };
  return { ...stillOf(await fs.map(path)), verify };
}
