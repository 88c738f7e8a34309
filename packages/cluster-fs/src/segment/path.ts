/**
 * Walking a path, by the rules of path_resolution(7). The same walk serves the client on the published
 * segment and the coordinator on its working copy.
 */
import { FsError, maxPathLength } from '@cluster-fs/transport';
import { lookup } from './directory.ts';
import { readText } from './extents.ts';
import { InodeCopy, isDirectory, isSymlink, modeOf, readInode } from './inode.ts';
import { maxNameBytes, maxSymlinks, rootIno } from './layout.ts';
import { encodeName } from './name.ts';
import type { Segment } from './segment.ts';

/** Who asks: permission bits are judged by it. */
export interface Credentials {
  readonly uid: number;
  readonly gids: readonly number[];
}

/** Where a path leads. */
export interface Walk {
  /** The inode, or 0 when the last name does not exist. */
  ino: number;
  /** The directory that holds, or would hold, the last name. */
  parent: number;
  /** The last name; '' when the path ends in the root, `.` or `..`, which no call can make or remove. */
  name: string;
  /** The path ended in a slash: whatever it names must be a directory. */
  trailingSlash: boolean;
  /** Each dentry chain that was asked, with the guard it had: while all stay, so does the result. */
  readonly chains: number[];
}

export interface WalkOptions {
  /** Follow a symlink in the last place; with a trailing slash it is followed in any case. */
  readonly follow: boolean;
  /** The last name is an entry to be removed or renamed: it is not followed even with a trailing slash. */
  readonly asEntry?: boolean;
  /** The call makes what is missing: a last name with a slash is EISDIR, whatever is there. */
  readonly creates?: boolean;
  readonly syscall: string;
  readonly credentials?: Credentials | undefined;
}

const parseError = (
  code: 'EISDIR' | 'ENOENT' | 'ENOTDIR' | 'ELOOP' | 'ENAMETOOLONG' | 'EACCES',
  path: string,
  syscall: string,
) => new FsError(code, syscall, { path });

/**
 * Resolves `path` from the root.
 *
 * @throws FsError ENOENT when a directory on the way is missing (a missing last name is a result), ENOTDIR,
 * ELOOP,
 *   ENAMETOOLONG, EACCES
 */
export function walk(
  s: Segment,
  path: string,
  { follow, asEntry = false, creates = false, syscall, credentials }: WalkOptions,
): Walk {
  if (path === '') throw parseError('ENOENT', path, syscall);
  if (path.includes('\0')) throw new FsError('EINVAL', syscall, { path, why: 'a zero byte' });
  if (path.length >= maxPathLength || Buffer.byteLength(path) >= maxPathLength)
    throw parseError('ENAMETOOLONG', path, syscall);
  const pending = splitReversed(path);
  const result: Walk = {
    ino: rootIno,
    parent: rootIno,
    name: '',
    trailingSlash: path.endsWith('/'),
    chains: [],
  };
  const copy = new InodeCopy();
  let links = 0;
  while (pending.length > 0) {
    const name = pending.pop() as string;
    if (result.ino === 0) throw parseError('ENOENT', path, syscall);
    const directory = result.ino;
    if (!isDirectory(modeOf(s, directory))) throw parseError('ENOTDIR', path, syscall);
    if (credentials !== undefined && credentials.uid !== 0) {
      if (!readInode(s, directory, copy)) throw parseError('ENOENT', path, syscall);
      if (!allows(copy, credentials, 1)) throw parseError('EACCES', path, syscall);
    }
    const last = pending.length === 0;
    if (last && creates && result.trailingSlash) throw parseError('EISDIR', path, syscall);
    step(s, result, { directory, name, path, syscall });
    if (
      result.ino !== 0 &&
      isSymlink(modeOf(s, result.ino)) &&
      (!last || follow || (result.trailingSlash && !asEntry))
    ) {
      if (++links > maxSymlinks) throw parseError('ELOOP', path, syscall);
      const target = readText(s, result.ino, copy);
      result.ino = target.startsWith('/') ? rootIno : directory;
      result.name = '';
      // A link as the last name that ends in a slash asks for a directory as much as the path itself would.
      if (last && target.endsWith('/')) result.trailingSlash = true;
      pending.push(...splitReversed(target));
    }
  }
  if (result.trailingSlash && !asEntry && result.ino !== 0 && !isDirectory(modeOf(s, result.ino))) {
    throw parseError('ENOTDIR', path, syscall);
  }
  return result;
}

/** One component: sets ino, parent and name of `result`. */
function step(
  s: Segment,
  result: Walk,
  at: { directory: number; name: string; path: string; syscall: string },
): void {
  const { directory, name, path, syscall } = at;
  if (name === '.' || name === '..') {
    if (name === '..') result.ino = parentOf(s, directory);
    result.parent = parentOf(s, result.ino);
    result.name = '';
    return;
  }
  const encoded = encodeName(name);
  if (encoded.length > maxNameBytes) throw parseError('ENAMETOOLONG', path, syscall);
  const found = lookup(s, directory, encoded);
  result.chains.push(found.bucket, found.sequence);
  result.ino = found.ino;
  result.parent = directory;
  result.name = name;
}

function parentOf(s: Segment, ino: number): number {
  const copy = new InodeCopy();
  return readInode(s, ino, copy) && copy.parent !== 0 ? copy.parent : rootIno;
}

/** The components of a path, last one first. */
function splitReversed(path: string): string[] {
  const parts = path.split('/');
  const names: string[] = [];
  for (let i = parts.length - 1; i >= 0; i--) if (parts[i] !== '') names.push(parts[i] as string);
  return names;
}

/** Whose and what: as much of an inode as rights are judged by. */
type Owned = Pick<InodeCopy, 'mode' | 'uid' | 'gid'>;

/**
 * Whether `who` may access an inode; `mask` is read 4, write 2, execute or search 1. As access(2): root may.
 */
export function allows({ mode, uid, gid }: Owned, who: Credentials, mask: number): boolean {
  // Root may do anything, except execute what nobody may execute.
  if (who.uid === 0) return (mask & 1) === 0 || isDirectory(mode) || (mode & 0o111) !== 0;
  const shift = who.uid === uid ? 6 : who.gids.includes(gid) ? 3 : 0;
  return ((mode >> shift) & mask) === mask;
}

/** As `allows`, of inode `ino`; false when it is gone. */
export function mayAccess(s: Segment, ino: number, who: Credentials, mask: number): boolean {
  const copy = new InodeCopy();
  return readInode(s, ino, copy) && allows(copy, who, mask);
}
