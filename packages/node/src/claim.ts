/** What one node has for itself: its run directory, with that its store, and the sockets where it listens. */
import { closeSync, existsSync, mkdirSync, openSync, statSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { FsError, native } from '@cluster-fs/transport';

interface Claimed {
  readonly socketPath: string;
  /** The run directory is named after the store, where there is one. */
  readonly store?: string;
}

/** The run directory is this user's alone, and one process has it. */
export function lockDirectory(
  directory: string,
  { socketPath, store }: Claimed,
): { lock: number; isNew: boolean } {
  const isNew = mkdirSync(directory, { recursive: true, mode: 0o700 }) !== undefined;
  const { uid, mode } = statSync(directory);
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0) {
    throw new FsError('EACCES', 'open', {
      path: directory,
      why: "the run directory is not this user's alone",
    });
  }
  const lock = openSync(`${directory}/lock`, 'a', 0o600);
  if (native.lockFile(lock)) return { lock, isNew };
  closeSync(lock);
  if (store !== undefined)
    throw new FsError('EBUSY', 'open', { path: store, why: 'another node has the store' });
  throw new FsError('EADDRINUSE', 'listen', {
    path: socketPath,
    why: 'a node serves here already: one beside it needs --listen unix:PATH',
  });
}

/** Removes a socket that nobody listens on. The lock says nothing about one of another program. */
export function takeAddress(path: string): void {
  try {
    native.closeDescriptor(native.connectUnix(path));
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    if (error.code === 'ENOENT' && !existsSync(dirname(path)))
      throw new FsError('ENOENT', 'listen', { path, why: 'there is no such directory: make it first' });
    if (error.code !== 'ECONNREFUSED') return;
    if (!statSync(path).isSocket())
      throw new FsError('EADDRINUSE', 'listen', { path, why: 'what is there is no socket, and stays' });
    unlinkSync(path);
    return;
  }
  throw new FsError('EADDRINUSE', 'listen', { path, why: 'somebody listens there already' });
}
