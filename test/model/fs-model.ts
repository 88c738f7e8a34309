/**
 * A toy filesystem: what Linux promises about a tree of files, in the fewest words. It is compared with
 * node:fs on tmpfs, which is right by definition, and with cluster-fs.
 *
 * Every path is absolute. Permissions, owners, atime and ctime are left out; mtime is the seconds that
 * utimes set, or 'now' for whatever was changed since.
 *
 * INVARIANT: nlink of a file or link is the number of entries that name it; of a directory in the tree it
 * is two plus its subdirectories; of a removed directory it is zero.
 */

export class Errno extends Error {
  readonly code: string;
  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** What node:fs does here is an accident of its steps, and nobody's promise. */
export class Unspecified extends Error {}

interface Common {
  nlink: number;
  mode: number;
  mtime: number | 'now';
}
type File = Common & {
  readonly kind: 'file';
  bytes: Uint8Array;
  /** Numbers of the pages that hold data; the others are holes. */
  data: Set<number>;
};
type Link = Common & { readonly kind: 'link'; readonly target: string };
type Directory = Common & {
  readonly kind: 'directory';
  readonly entries: Map<string, Inode>;
  parent: Directory;
};
type Inode = File | Link | Directory;

export interface Handle {
  readonly inode: File | Directory;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly appends: boolean;
  position: number;
}

/** What may be made wrong on purpose, to see that the comparison notices. */
export interface Rules {
  readonly renameOntoSameInodeKeepsBoth: boolean;
  readonly appendGoesToTheEnd: boolean;
  readonly growingMakesZeros: boolean;
  readonly unlinkTouchesParent: boolean;
  readonly punchingFreesPages: boolean;
}

export const linuxRules: Rules = {
  renameOntoSameInodeKeepsBoth: true,
  appendGoesToTheEnd: true,
  growingMakesZeros: true,
  unlinkTouchesParent: true,
  punchingFreesPages: true,
};

export interface Model {
  readonly root: Directory;
  readonly rules: Rules;
}

/**
 * When the last name of a path is a link: is it followed? 'slash': only when a slash comes after it.
 * 'create': always, but a slash after a name that may have to be made is refused as soon as it is met.
 */
type Follow = 'always' | 'slash' | 'never' | 'create';

interface Place {
  readonly directory: Directory;
  readonly name: string;
  readonly inode: Inode | undefined;
  /** The path ended with a slash, so it must be a directory. */
  readonly slash: boolean;
}

const linksLimit = 40;
const nameLimit = 255;

export function createModel(rules: Rules = linuxRules): Model {
  return { root: newDirectory(undefined), rules };
}

function walk(model: Model, path: string, follow: Follow): Place {
  let directory = model.root;
  let names = namesOf(path);
  let slash = path.endsWith('/');
  let links = 0;
  for (;;) {
    const name = names.shift() ?? '.';
    const isLast = names.length === 0;
    const inode = step(directory, name);
    const follows = !isLast || (follow === 'slash' ? slash : follow !== 'never');
    if (isLast && slash && follow === 'create') throw new Errno('EISDIR');
    if (inode?.kind === 'link' && follows) {
      if (++links > linksLimit) throw new Errno('ELOOP');
      if (inode.target.startsWith('/')) directory = model.root;
      if (isLast) slash ||= inode.target.endsWith('/');
      names = [...namesOf(inode.target), ...names];
    } else if (isLast) {
      return { directory, name, inode, slash };
    } else {
      directory = expectDirectory(inode);
    }
  }
}

function existing(model: Model, path: string, follow: Follow): Inode {
  const { inode, slash } = walk(model, path, follow);
  if (inode === undefined) throw new Errno('ENOENT');
  if (slash && inode.kind !== 'directory') throw new Errno('ENOTDIR');
  return inode;
}

function add(place: Place, inode: Inode): void {
  place.directory.entries.set(place.name, inode);
  place.directory.mtime = 'now';
}

function drop(model: Model, place: Place): void {
  place.directory.entries.delete(place.name);
  if (model.rules.unlinkTouchesParent) place.directory.mtime = 'now';
}

/** For symlink and link: the new name must be free, and a slash after it asks for a directory. */
function vacant(model: Model, path: string): Place {
  const place = walk(model, path, 'never');
  if (place.inode !== undefined) throw new Errno('EEXIST');
  if (place.slash) throw new Errno('ENOENT');
  return place;
}

export function open(model: Model, path: string, flag: string): Handle {
  const { creates, exclusive, truncates, ...access } = parseFlag(flag);
  if (exclusive && path.endsWith('/')) walk(model, path, 'create');
  const place = walk(model, path, exclusive ? 'never' : creates ? 'create' : 'always');
  if (exclusive && place.inode !== undefined) throw new Errno('EEXIST');
  let inode = place.inode;
  if (inode === undefined) {
    if (!creates) throw new Errno('ENOENT');
    inode = newFile();
    add(place, inode);
  }
  if (inode.kind === 'link') throw new Errno('ELOOP');
  if (inode.kind === 'directory' && (access.writes || creates)) throw new Errno('EISDIR');
  if (inode.kind === 'file' && place.slash) throw new Errno('ENOTDIR');
  if (inode.kind === 'file' && truncates) resize(model, inode, 0);
  return { inode, ...access, position: 0 };
}

function resize(model: Model, file: File, size: number): void {
  const bytes = new Uint8Array(size).fill(model.rules.growingMakesZeros ? 0 : 42);
  bytes.set(file.bytes.subarray(0, size));
  file.bytes = bytes;
  file.mtime = 'now';
  for (const page of file.data) if (page >= pagesFor(size)) file.data.delete(page);
}

const pageSize = 4096;
const pagesFor = (length: number): number => Math.ceil(length / pageSize);

/** The pages of a range hold data from here on. */
function addData(file: File, offset: number, end: number): void {
  for (let page = Math.floor(offset / pageSize); page < pagesFor(end); page++) file.data.add(page);
}

export function read(handle: Handle, length: number, position: number | undefined): Uint8Array {
  if (!handle.reads) throw new Errno('EBADF');
  if (handle.inode.kind === 'directory') throw new Errno('EISDIR');
  const from = position ?? handle.position;
  const bytes = handle.inode.bytes.slice(from, from + length);
  if (position === undefined) handle.position += bytes.length;
  return bytes;
}

export function write(model: Model, handle: Handle, data: Uint8Array, position: number | undefined): number {
  const file = writable(handle, 'EBADF');
  const appends = handle.appends && model.rules.appendGoesToTheEnd;
  const at = appends ? file.bytes.length : (position ?? handle.position);
  if (data.length > 0) {
    resize(model, file, Math.max(file.bytes.length, at + data.length));
    file.bytes.set(data, at);
    addData(file, at, at + data.length);
  }
  if (position === undefined) handle.position = at + data.length;
  return data.length;
}

export function truncateHandle(model: Model, handle: Handle, size: number): void {
  resize(model, writable(handle, 'EINVAL'), size);
}

/** fallocate(2). A page is free when all of it is in the hole; the others are zeroed in their part of it. */
export function punchHole(model: Model, handle: Handle, offset: number, length: number): void {
  const file = rangeTarget(handle, offset, length);
  const end = offset + length;
  file.bytes.fill(0, offset, end);
  if (!model.rules.punchingFreesPages) return;
  for (let page = pagesFor(offset); page < Math.floor(end / pageSize); page++) file.data.delete(page);
}

export function zeroRange(model: Model, handle: Handle, offset: number, length: number): void {
  allocate(model, handle, offset, length);
  rangeTarget(handle, offset, length).bytes.fill(0, offset, offset + length);
}

export function allocate(model: Model, handle: Handle, offset: number, length: number): void {
  const file = rangeTarget(handle, offset, length);
  resize(model, file, Math.max(file.bytes.length, offset + length));
  addData(file, offset, offset + length);
}

function rangeTarget(handle: Handle, offset: number, length: number): File {
  if (offset < 0 || length <= 0) throw new Errno('EINVAL');
  const file = writable(handle, 'EBADF');
  file.mtime = 'now';
  return file;
}

/** lseek(2): the first byte at or behind `offset` that is data, or none. The end of a file is a hole. */
export function seek({ inode }: Handle, offset: number, what: 'data' | 'hole'): number {
  const { bytes, data } = inode as File;
  for (let at = offset; offset >= 0 && at < bytes.length; at += pageSize - (at % pageSize)) {
    if (data.has(Math.floor(at / pageSize)) === (what === 'data')) return at;
  }
  if (offset < 0 || offset >= bytes.length || what === 'data') throw new Errno('ENXIO');
  return bytes.length;
}

export const heldPages = ({ inode }: Handle): number => (inode as File).data.size;

export function mkdir(model: Model, path: string): void {
  const place = walk(model, path, 'never');
  if (place.inode !== undefined) throw new Errno('EEXIST');
  add(place, newDirectory(place.directory));
  place.directory.nlink++;
}

export function unlink(model: Model, path: string): void {
  const place = walk(model, path, 'never');
  if (place.inode === undefined) throw new Errno('ENOENT');
  if (place.inode.kind === 'directory') throw new Errno('EISDIR');
  if (place.slash) throw new Errno('ENOTDIR');
  place.inode.nlink--;
  drop(model, place);
}

export function rmdir(model: Model, path: string): void {
  const place = walk(model, path, 'never');
  const directory = expectDirectory(place.inode);
  if (directory.entries.size > 0) throw new Errno('ENOTEMPTY');
  directory.nlink = 0;
  place.directory.nlink--;
  drop(model, place);
}

export function rename(model: Model, from: string, to: string): void {
  const source = walk(model, from, 'never');
  const target = walk(model, to, 'never');
  const moved = source.inode;
  if (moved === undefined) throw new Errno('ENOENT');
  const moves = moved.kind === 'directory';
  if (!moves && (source.slash || target.slash)) throw new Errno('ENOTDIR');
  if (isAtOrAbove(moved, target.directory)) throw new Errno('EINVAL');
  if (isAtOrAbove(target.inode, source.directory)) throw new Errno('ENOTEMPTY');
  if (target.inode === moved) {
    if (!model.rules.renameOntoSameInodeKeepsBoth && source.name !== target.name) unlink(model, from);
    return;
  }
  if (target.inode !== undefined) replace(target, target.inode, moves);
  drop(model, source);
  add(target, moved);
  if (moved.kind !== 'directory') return;
  source.directory.nlink--;
  target.directory.nlink++;
  moved.parent = target.directory;
}

function replace(place: Place, old: Inode, byDirectory: boolean): void {
  if (byDirectory && old.kind !== 'directory') throw new Errno('ENOTDIR');
  if (!byDirectory && old.kind === 'directory') throw new Errno('EISDIR');
  if (old.kind !== 'directory') {
    old.nlink--;
    return;
  }
  if (old.entries.size > 0) throw new Errno('ENOTEMPTY');
  old.nlink = 0;
  place.directory.nlink--;
}

export function link(model: Model, from: string, to: string): void {
  const inode = existing(model, from, 'slash');
  const place = vacant(model, to);
  if (inode.kind === 'directory') throw new Errno('EPERM');
  inode.nlink++;
  add(place, inode);
}

export function symlink(model: Model, target: string, path: string): void {
  add(vacant(model, path), { kind: 'link', target, nlink: 1, mode: 0o777, mtime: 'now' });
}

export function readlink(model: Model, path: string): string {
  const inode = existing(model, path, 'slash');
  if (inode.kind !== 'link') throw new Errno('EINVAL');
  return inode.target;
}

export function readdir(model: Model, path: string): string[] {
  return [...expectDirectory(existing(model, path, 'always')).entries].map(
    ([name, { kind }]) => `${name} ${kind}`,
  );
}

export function realpath(model: Model, path: string): string {
  const { directory, name } = walk(model, path, 'always');
  existing(model, path, 'always');
  const up: string[] = name === '.' ? [] : [name];
  for (let at = directory; at !== model.root; at = at.parent) up.unshift(nameIn(at.parent, at));
  return `/${up.join('/')}`;
}

export function chmod(model: Model, path: string, mode: number): void {
  existing(model, path, 'always').mode = mode;
}

export function utimes(model: Model, path: string, mtime: number): void {
  existing(model, path, 'always').mtime = mtime;
}

/** As libuv does it: open both, then give the copy the mode of its source, then its bytes. */
export function copyFile(model: Model, from: string, to: string, exclusive: boolean): void {
  const source = open(model, from, 'r');
  const copy = writable(open(model, to, exclusive ? 'ax' : 'a'), 'EBADF');
  if (source.inode === copy) return;
  if (source.inode.kind === 'directory') throw new Errno('EISDIR');
  resize(model, copy, 0);
  copy.bytes = source.inode.bytes.slice();
  copy.data = new Set(source.inode.data);
  copy.mode = source.inode.mode;
}

function isThere(model: Model, path: string): boolean {
  try {
    existing(model, path, 'never');
    return true;
  } catch (error) {
    if (error instanceof Errno) return false;
    throw error;
  }
}

export function rm(model: Model, path: string, options: { recursive: boolean; force: boolean }): void {
  let inode: Inode;
  try {
    inode = existing(model, path, 'never');
  } catch (error) {
    if (options.force && error instanceof Errno && error.code === 'ENOENT') return;
    throw error;
  }
  if (inode.kind === 'directory' && !options.recursive) throw new Errno('ERR_FS_EISDIR');
  if (inode.kind === 'directory') {
    for (const name of inode.entries.keys()) rm(model, `${path}/${name}`, options);
    // The way led through a link in the tree itself: node:fs leaves the directory, and says nothing.
    if (!isThere(model, path)) throw new Unspecified('rm of a tree by a link that lies in it');
    rmdir(model, path);
  } else {
    unlink(model, path);
  }
}

export function stat(model: Model, path: string) {
  return statOf(existing(model, path, 'always'));
}

export function lstat(model: Model, path: string) {
  return statOf(existing(model, path, 'slash'));
}

export function isSame(model: Model, one: string, two: string): boolean {
  return existing(model, one, 'always') === existing(model, two, 'always');
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '');
}

function step(directory: Directory, name: string): Inode | undefined {
  if (name.length > nameLimit) throw new Errno('ENAMETOOLONG');
  if (name === '.') return directory;
  return name === '..' ? directory.parent : directory.entries.get(name);
}

function nameIn(parent: Directory, child: Directory): string {
  for (const [name, inode] of parent.entries) if (inode === child) return name;
  throw new Error('a directory is not in its parent');
}

function expectDirectory(inode: Inode | undefined): Directory {
  if (inode === undefined) throw new Errno('ENOENT');
  if (inode.kind !== 'directory') throw new Errno('ENOTDIR');
  return inode;
}

function writable(handle: Handle, otherwise: string): File {
  if (!handle.writes || handle.inode.kind !== 'file') throw new Errno(otherwise);
  return handle.inode;
}

function isAtOrAbove(inode: Inode | undefined, directory: Directory): boolean {
  for (let at = directory; ; at = at.parent) {
    if (at === inode) return true;
    if (at === at.parent) return false;
  }
}

export function statOf(inode: Inode) {
  const { kind, nlink, mode, mtime } = inode;
  const size = kind === 'file' ? inode.bytes.length : 0;
  return { kind, nlink, mode, mtime, size };
}

function newFile(): File {
  const common = { nlink: 1, mode: 0o666 & ~process.umask(), mtime: 'now' } as const;
  return { kind: 'file', bytes: new Uint8Array(0), data: new Set(), ...common };
}

function newDirectory(parent: Directory | undefined): Directory {
  const common = { nlink: 2, mode: 0o777 & ~process.umask(), mtime: 'now' } as const;
  const made = { kind: 'directory' as const, entries: new Map<string, Inode>(), ...common };
  const directory: Directory = Object.assign(made, { parent: parent as Directory });
  directory.parent ??= directory;
  return directory;
}

function parseFlag(flag: string) {
  const plus = flag.includes('+');
  return {
    reads: flag.startsWith('r') || plus,
    writes: !flag.startsWith('r') || plus,
    appends: flag.startsWith('a'),
    creates: !flag.startsWith('r'),
    exclusive: flag.includes('x'),
    truncates: flag.startsWith('w'),
  };
}
