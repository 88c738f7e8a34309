/** What stat tells: the classes of node:fs, filled from an inode. */
import { inspect } from 'node:util';
import { fileType, type InodeCopy, pageSize } from '../segment/index.ts';

const S_IFMT = fileType.mask;
/** stat(2) counts blocks of 512 bytes. */
const blocksPerPage = pageSize / 512;

const dateOf = (ms: number | bigint): Date => new Date(Math.round(Number(ms)));

/**
 * fs.Stats: the fields of node's, with the same meaning.
 *
 * The four dates are made when they are asked for, because making them costs more than all the rest. They
 * show in JSON and in console.log, but are properties of the class, so `Object.keys` does not name them.
 */
export class Stats {
  dev: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  rdev: number;
  blksize: number;
  ino: number;
  size: number;
  blocks: number;
  atimeMs: number;
  mtimeMs: number;
  ctimeMs: number;
  birthtimeMs: number;

  constructor(inode: InodeCopy, device: number) {
    this.dev = device;
    this.mode = inode.mode;
    this.nlink = inode.nlink;
    this.uid = inode.uid;
    this.gid = inode.gid;
    this.rdev = 0;
    this.blksize = pageSize;
    this.ino = inode.ino;
    this.size = inode.size;
    this.blocks = inode.pages * blocksPerPage;
    this.atimeMs = inode.atimeMs;
    this.mtimeMs = inode.mtimeMs;
    this.ctimeMs = inode.ctimeMs;
    this.birthtimeMs = inode.birthtimeMs;
  }

  get atime(): Date {
    return dateOf(this.atimeMs);
  }
  get mtime(): Date {
    return dateOf(this.mtimeMs);
  }
  get ctime(): Date {
    return dateOf(this.ctimeMs);
  }
  get birthtime(): Date {
    return dateOf(this.birthtimeMs);
  }

  isFile(): boolean {
    return (this.mode & S_IFMT) === fileType.file;
  }
  isDirectory(): boolean {
    return (this.mode & S_IFMT) === fileType.directory;
  }
  isSymbolicLink(): boolean {
    return (this.mode & S_IFMT) === fileType.symlink;
  }
  isBlockDevice(): boolean {
    return false;
  }
  isCharacterDevice(): boolean {
    return false;
  }
  isFIFO(): boolean {
    return false;
  }
  isSocket(): boolean {
    return false;
  }

  toJSON(): object {
    return withDates(this);
  }
  [inspect.custom](): object {
    return shown('Stats', withDates(this));
  }
}

const nsOf = (ms: number): bigint => BigInt(Math.round(ms * 1e6));

/**
 * fs.BigIntStats: as Stats, and times in nanoseconds, as exact as the milliseconds they are kept in (1/4 us).
 */
export class BigIntStats {
  dev: bigint;
  mode: bigint;
  nlink: bigint;
  uid: bigint;
  gid: bigint;
  rdev: bigint;
  blksize: bigint;
  ino: bigint;
  size: bigint;
  blocks: bigint;
  atimeMs: bigint;
  mtimeMs: bigint;
  ctimeMs: bigint;
  birthtimeMs: bigint;
  atimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  birthtimeNs: bigint;

  constructor(inode: InodeCopy, device: number) {
    this.dev = BigInt(device);
    this.mode = BigInt(inode.mode);
    this.nlink = BigInt(inode.nlink);
    this.uid = BigInt(inode.uid);
    this.gid = BigInt(inode.gid);
    this.rdev = 0n;
    this.blksize = BigInt(pageSize);
    this.ino = BigInt(inode.ino);
    this.size = BigInt(inode.size);
    this.blocks = BigInt(inode.pages * blocksPerPage);
    this.atimeNs = nsOf(inode.atimeMs);
    this.mtimeNs = nsOf(inode.mtimeMs);
    this.ctimeNs = nsOf(inode.ctimeMs);
    this.birthtimeNs = nsOf(inode.birthtimeMs);
    this.atimeMs = this.atimeNs / 1_000_000n;
    this.mtimeMs = this.mtimeNs / 1_000_000n;
    this.ctimeMs = this.ctimeNs / 1_000_000n;
    this.birthtimeMs = this.birthtimeNs / 1_000_000n;
  }

  get atime(): Date {
    return dateOf(this.atimeMs);
  }
  get mtime(): Date {
    return dateOf(this.mtimeMs);
  }
  get ctime(): Date {
    return dateOf(this.ctimeMs);
  }
  get birthtime(): Date {
    return dateOf(this.birthtimeMs);
  }

  isFile(): boolean {
    return (Number(this.mode) & S_IFMT) === fileType.file;
  }
  isDirectory(): boolean {
    return (Number(this.mode) & S_IFMT) === fileType.directory;
  }
  isSymbolicLink(): boolean {
    return (Number(this.mode) & S_IFMT) === fileType.symlink;
  }
  isBlockDevice(): boolean {
    return false;
  }
  isCharacterDevice(): boolean {
    return false;
  }
  isFIFO(): boolean {
    return false;
  }
  isSocket(): boolean {
    return false;
  }

  [inspect.custom](): object {
    return shown('BigIntStats', withDates(this));
  }
}

function withDates(stats: Stats | BigIntStats): object {
  const { atime, mtime, ctime, birthtime } = stats;
  return { ...stats, atime, mtime, ctime, birthtime };
}

/** What prints under the names of the classes. */
const printed = { Stats: class {}, BigIntStats: class {} };

const shown = (name: keyof typeof printed, fields: object): object =>
  Object.assign(new printed[name](), fields);
