/** What one node has for itself: its run directory, with that its store, and the sockets where it listens. */
import { randomUUID } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { FsError, native } from '@cluster-fs/transport';
import { privateRunDirectories, runDirectories } from 'cluster-fs/address';
import { hasHeldSession } from './coordinator/session-locks.ts';

/** One that is younger is perhaps being made: its lock is about to be taken. */
const settledMs = 10_000;
/** Who restarts a node does so by then, and finds what clients that died in between have stored. */
const restartMs = 600_000;
/** How often, and after how long, a directory is tried again that somebody looks at who may remove it. */
const mostLooks = 10;
const lookMs = 20;

interface Claimed {
  readonly socketPath: string;
  /** The run directory is named after the store, where there is one. */
  readonly store?: string;
}

/** The run directory is this user's alone, and one process has it. */
export function lockDirectory(
  directory: string,
  claimed: Claimed,
  looks = mostLooks,
): { lock: number; isNew: boolean } {
  const isNew = mkdirSync(directory, { recursive: true, mode: 0o700 }) !== undefined;
  const { uid, mode } = statSync(directory, { throwIfNoEntry: false }) ?? {};
  // Somebody has just removed what was left there.
  if (uid === undefined || mode === undefined) return lockDirectory(directory, claimed);
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0) {
    throw new FsError('EACCES', 'open', {
      path: directory,
      why: "the run directory is not this user's alone",
    });
  }
  const lock = openSync(lockIn(directory), 'a', 0o600);
  const isOurs = native.lockFile(lock);
  if (isOurs && isThere(lock, lockIn(directory))) return { lock, isNew };
  closeSync(lock);
  // Somebody has removed what was left there.
  if (isOurs) return lockDirectory(directory, claimed);
  // Or looks whether it may be.
  if (looks > 0 && existsSync(disposableMark(directory))) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lookMs);
    return lockDirectory(directory, claimed, looks - 1);
  }
  const { socketPath, store } = claimed;
  if (store !== undefined)
    throw new FsError('EBUSY', 'open', { path: store, why: 'another node has the store' });
  throw new FsError('EADDRINUSE', 'listen', {
    path: socketPath,
    why: 'a node serves here already: one beside it needs --listen unix:PATH',
  });
}

const lockIn = (directory: string): string => `${directory}/lock`;
const disposableMark = (directory: string): string => `${directory}/disposable`;

function isThere(fd: number, path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  return there?.ino === fstatSync(fd).ino;
}

/** A node that is stopped leaves the directory for its clients: what they store next is in it alone. */
export const markDisposable = (directory: string): void =>
  writeFileSync(disposableMark(directory), '', { mode: 0o600 });

/** A node goes on with it. */
export const markInUse = (directory: string): void => rmSync(disposableMark(directory), { force: true });

/**
 * Removes what nobody ever goes on with, and what would take memory until somebody noticed: of killed
 * processes that had a node of their own alone (`mount('tcp:')`), and of nodes that were stopped and not
 * started again, when the clients are gone for which they left it. `own` stays: its node is about to be
 * started.
 */
export function removeAbandoned({ base = '/dev/shm', own = '' } = {}): void {
  for (const name of readdirSync(base)) {
    const directory = `${base}/${name}`;
    if (directory === own) continue;
    try {
      if (!name.startsWith(privateRunDirectories())) {
        if (name.startsWith(runDirectories())) removeIfDisposable(directory);
      } else if (Date.now() - statSync(directory).mtimeMs >= settledMs) removeUnlessLocked(directory);
    } catch (error) {
      // Somebody else has just removed it, or it is not as a node makes it: it stays.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
  }
}

/** Removes a run directory that a node has left for its clients, when none of them is there any more. */
function removeIfDisposable(directory: string): void {
  if (!isDisposable(directory)) return;
  removeUnlessLocked(directory, () => isDisposable(directory) && !hasHeldSession(directory));
}

function isDisposable(directory: string): boolean {
  const mark = statSync(disposableMark(directory), { throwIfNoEntry: false });
  return mark !== undefined && Date.now() - mark.mtimeMs >= restartMs;
}

function removeUnlessLocked(directory: string, mayGo = () => true): void {
  if (statSync(directory).uid !== process.getuid?.()) return;
  // A process that was killed before it had the lock has left nothing else.
  const lock = openSync(lockIn(directory), 'a', 0o600);
  // Out of everybody's sight at once: a node that is started there does not find half of it.
  const gone = join(dirname(directory), `${privateRunDirectories()}${randomUUID()}`);
  try {
    if (!native.lockFile(lock) || !isThere(lock, lockIn(directory)) || !mayGo()) return;
    renameSync(directory, gone);
  } finally {
    closeSync(lock);
  }
  rmSync(gone, { recursive: true, force: true });
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
