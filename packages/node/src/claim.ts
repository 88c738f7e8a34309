/** What one node has for itself: its run directory, with that its store, and the sockets where it listens. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { FsError, native } from '@cluster-fs/transport';
import { privateRunDirectories } from 'cluster-fs/address';

/** One that is younger is perhaps being made: its lock is about to be taken. */
const settledMs = 10_000;

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

/**
 * Removes what killed processes have left that had a node of their own alone (`mount('tcp:')`): nobody else
 * ever goes on with it. Their memory would be taken until somebody noticed.
 */
export function removeAbandoned(base = '/dev/shm'): void {
  for (const name of readdirSync(base)) {
    if (!name.startsWith(privateRunDirectories())) continue;
    try {
      removeUnlessLocked(`${base}/${name}`);
    } catch (error) {
      // Somebody else has just removed it, or it is not as a node makes it: it stays.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
  }
}

function removeUnlessLocked(directory: string): void {
  const { uid, mtimeMs } = statSync(directory);
  if (uid !== process.getuid?.() || Date.now() - mtimeMs < settledMs) return;
  // A process that was killed before it had the lock has left nothing else.
  const lock = openSync(`${directory}/lock`, 'a', 0o600);
  try {
    if (native.lockFile(lock)) rmSync(directory, { recursive: true, force: true });
  } finally {
    closeSync(lock);
  }
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
