/** What the parts of the file API of one mount share. */
import { readFileSync } from 'node:fs';
import { FsError, maxPathLength } from '@cluster-fs/transport';
import type { InodeCopy } from '../segment/index.ts';
import type { Backend } from './backend.ts';
import { type Breather, createBreather } from './breather.ts';
import { PathCache } from './path-cache.ts';
import { createRequests, type Requests } from './requests.ts';
import { BigIntStats, Stats } from './stats.ts';

export interface Context {
  readonly backend: Backend;
  /** What goes to the node, in order with the subscriptions. */
  readonly requests: Requests;
  readonly paths: PathCache;
  /** st_dev of every file: made of the segment's id, so that two mounts differ. */
  readonly device: number;
  /** Taken from the mode of what is made, as the kernel does. Read once, when the file system is mounted. */
  readonly umask: number;
  /** To be called before every asynchronous read. */
  readonly breathe: Breather;
  /** Numbers of open handles. */
  nextFd(): number;
}

/**
 * No kernel descriptor is that large: a handle's number that gets into a call of node:fs is EBADF, and not a
 * file.
 */
const firstFd = 2 ** 30;

export function createContext(backend: Backend): Context {
  let fd = firstFd;
  return {
    backend,
    requests: createRequests(backend),
    paths: new PathCache(backend),
    device: Number.parseInt(backend.segment.id.slice(0, 8), 16),
    umask: currentUmask(),
    breathe: createBreather(),
    nextFd: () => fd++,
  };
}

/**
 * From /proc, because process.umask() sets it to zero for a moment, and another thread may make a file just
 * then.
 */
function currentUmask(): number {
  const line = /^Umask:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return line?.[1] === undefined ? 0o022 : Number.parseInt(line[1], 8);
}

/**
 * Refuses a change before it is asked for: EROFS on a read-only mount, ENAMETOOLONG for what no message may
 * carry.
 */
export function assertWritable({ backend }: Context, syscall: string, path?: string, dest?: string): void {
  assertSendable({ backend }, syscall, path, dest);
  if (backend.readOnly) throw new FsError('EROFS', syscall, { path, dest });
}

/** Throws ENAMETOOLONG for a path longer than PATH_MAX, which the node takes for a broken client. */
export function assertSendable(
  { backend }: Pick<Context, 'backend'>,
  syscall: string,
  path?: string,
  dest?: string,
): void {
  backend.assertUsable(syscall, path);
  if (isTooLong(path) || isTooLong(dest)) throw new FsError('ENAMETOOLONG', syscall, { path, dest });
}

/** A UTF-16 unit is at most three bytes of UTF-8, so most paths need no counting. */
const isTooLong = (path: string | undefined): boolean =>
  path !== undefined && path.length * 3 >= maxPathLength && Buffer.byteLength(path) >= maxPathLength;

export const noEntry = (syscall: string, path: string): FsError => new FsError('ENOENT', syscall, { path });

/** Copies the inode that `path` leads to, or throws ENOENT. */
export function inodeOf({ paths }: Context, path: string, syscall: string, copy: InodeCopy): InodeCopy {
  if (!paths.resolve(path, syscall, copy)) throw noEntry(syscall, path);
  return copy;
}

/** As `inodeOf`, but a symlink in the last place is not followed. */
export function linkInodeOf({ paths }: Context, path: string, syscall: string, copy: InodeCopy): InodeCopy {
  if (!paths.resolveLink(path, syscall, copy)) throw noEntry(syscall, path);
  return copy;
}

export const statsOf = ({ device }: Context, inode: InodeCopy, bigint: unknown): Stats | BigIntStats =>
  bigint ? new BigIntStats(inode, device) : new Stats(inode, device);
