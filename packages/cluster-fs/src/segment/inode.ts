/** Reading an inode: one consistent copy of its record. */
import { assert } from '@cluster-fs/transport';
import { inode } from './layout.ts';
import { inodeAt, inodeGuard, type Segment } from './segment.ts';
import { guardBegin, guardChanged } from './seqlock.ts';

/** A consistent copy of an inode record; reused by callers that look at many. */
export class InodeCopy {
  ino = 0;
  generation = 0;
  mode = 0;
  uid = 0;
  gid = 0;
  nlink = 0;
  parent = 0;
  size = 0;
  layoutVersion = 0;
  atimeMs = 0;
  mtimeMs = 0;
  ctimeMs = 0;
  birthtimeMs = 0;
  chain = 0;
  extentCount = 0;
  pages = 0;
  /** The node that keeps the bytes of a file. */
  home = 0;
  /** The guard's value while this copy was true: still the same, still true. */
  sequence = 0;
}

const word = (name: keyof typeof inode.offset) => inode.offset[name] / 4;
const at = {
  ino: word('ino'),
  generation: word('generation'),
  mode: word('mode'),
  uid: word('uid'),
  gid: word('gid'),
  nlink: word('nlink'),
  parent: word('parent'),
  size: word('size'),
  layoutVersion: word('layoutVersion'),
  chain: word('chain'),
  extentCount: word('extentCount'),
  pages: word('pages'),
  home: word('home'),
  atimeMs: word('atimeMs') / 2,
  mtimeMs: word('mtimeMs') / 2,
  ctimeMs: word('ctimeMs') / 2,
  birthtimeMs: word('birthtimeMs') / 2,
};

/**
 * Copies inode `ino` into `copy`; false when no such inode lives. Typed arrays and not the struct's cursor:
 * this is the hottest read there is.
 */
export function readInode(s: Segment, ino: number, copy: InodeCopy): boolean {
  if (ino === 0 || ino >= s.inodeCount) return false;
  const base = inodeAt(s, ino) / 4;
  const guard = inodeGuard(s, ino);
  const { u32, f64 } = s;
  for (;;) {
    const sequence = guardBegin(s.i32, guard);
    copy.ino = u32[base + at.ino] as number;
    copy.generation = u32[base + at.generation] as number;
    copy.mode = u32[base + at.mode] as number;
    copy.uid = u32[base + at.uid] as number;
    copy.gid = u32[base + at.gid] as number;
    copy.nlink = u32[base + at.nlink] as number;
    copy.parent = u32[base + at.parent] as number;
    copy.size = u53(u32, base + at.size);
    copy.layoutVersion = u53(u32, base + at.layoutVersion);
    copy.chain = u32[base + at.chain] as number;
    copy.extentCount = u32[base + at.extentCount] as number;
    copy.pages = u32[base + at.pages] as number;
    copy.home = u32[base + at.home] as number;
    copy.atimeMs = f64[base / 2 + at.atimeMs] as number;
    copy.mtimeMs = f64[base / 2 + at.mtimeMs] as number;
    copy.ctimeMs = f64[base / 2 + at.ctimeMs] as number;
    copy.birthtimeMs = f64[base / 2 + at.birthtimeMs] as number;
    copy.sequence = sequence;
    if (!guardChanged(s.i32, guard, sequence)) return copy.ino === ino;
  }
}

const u53 = (words: Uint32Array, index: number): number =>
  (words[index] as number) + (words[index + 1] as number) * 0x1_0000_0000;

type InodeFields = Pick<
  InodeCopy,
  | 'mode'
  | 'uid'
  | 'gid'
  | 'nlink'
  | 'parent'
  | 'size'
  | 'layoutVersion'
  | 'atimeMs'
  | 'mtimeMs'
  | 'ctimeMs'
  | 'birthtimeMs'
  | 'home'
>;

/**
 * Fills the record of an inode with what is known of it from elsewhere. Typed arrays and not the struct's
 * cursor: a start does it for all inodes there are. Requires: nobody else sees the segment.
 */
export function fillInode(s: Segment, ino: number, fields: InodeFields): void {
  const base = inodeAt(s, ino) / 4;
  const { u32, f64 } = s;
  u32[base + at.mode] = u32Of(fields.mode);
  u32[base + at.uid] = u32Of(fields.uid);
  u32[base + at.gid] = u32Of(fields.gid);
  u32[base + at.nlink] = u32Of(fields.nlink);
  u32[base + at.parent] = u32Of(fields.parent);
  u32[base + at.home] = u32Of(fields.home);
  storeU53(u32, base + at.size, fields.size);
  storeU53(u32, base + at.layoutVersion, fields.layoutVersion);
  f64[base / 2 + at.atimeMs] = fields.atimeMs;
  f64[base / 2 + at.mtimeMs] = fields.mtimeMs;
  f64[base / 2 + at.ctimeMs] = fields.ctimeMs;
  f64[base / 2 + at.birthtimeMs] = fields.birthtimeMs;
}

/** A silent wrap-around would be found much too late. */
function u32Of(value: number): number {
  assert(value >>> 0 === value, 'a field of an inode has 32 bits');
  return value;
}

function storeU53(words: Uint32Array, index: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a field of an inode has 53 bits');
  words[index] = value % 0x1_0000_0000;
  words[index + 1] = Math.floor(value / 0x1_0000_0000);
}

/** Mode of a live inode, 0 when it is none: one word, whole by itself. */
export const modeOf = (s: Segment, ino: number): number => {
  if (ino === 0 || ino >= s.inodeCount) return 0;
  const base = inodeAt(s, ino) / 4;
  return s.u32[base + at.ino] === ino ? (s.u32[base + at.mode] as number) : 0;
};

/** Home of a live inode, 0 when it is none: one word, whole by itself. */
export const homeIn = (s: Segment, ino: number): number => {
  if (ino === 0 || ino >= s.inodeCount) return 0;
  const base = inodeAt(s, ino) / 4;
  return s.u32[base + at.ino] === ino ? (s.u32[base + at.home] as number) : 0;
};

/**
 * Says where readers look which home a live inode has: one word, whole by itself. The next commit that
 * touches the inode says what it was. Requires: the caller is the node.
 */
export function showHome(s: Segment, ino: number, home: number): void {
  const base = inodeAt(s, ino) / 4;
  if (s.u32[base + at.ino] === ino) s.u32[base + at.home] = u32Of(home);
}

/** Whether `copy` is still what the segment says. */
export const unchanged = (s: Segment, copy: InodeCopy): boolean =>
  !guardChanged(s.i32, inodeGuard(s, copy.ino), copy.sequence);

export const fileType = { mask: 0o170000, file: 0o100000, directory: 0o040000, symlink: 0o120000 } as const;
export const isDirectory = (mode: number): boolean => (mode & fileType.mask) === fileType.directory;
export const isSymlink = (mode: number): boolean => (mode & fileType.mask) === fileType.symlink;
export const isFile = (mode: number): boolean => (mode & fileType.mask) === fileType.file;
