/** Listing directories: readdir in all its forms, and Dir. */
import { posix } from 'node:path';
import { FsError } from '@cluster-fs/transport';
import {
  allows,
  type DirectoryEntry,
  fileType,
  InodeCopy,
  isDirectory,
  listDirectory,
} from '../segment/index.ts';
import { nodeError } from './argument-errors.ts';
import { booleanOf, encoded, integerOf, type Options, optionsOf, pathOf } from './arguments.ts';
import { type Context, inodeOf } from './context.ts';
import { Dirent } from './dirent.ts';

type Listed = Dirent | Dirent<Buffer> | string | Buffer;

/** The entries of the directory at `path`. */
export function entriesOf(context: Context, path: string, syscall: string): DirectoryEntry[] {
  const { backend, paths } = context;
  const inode = new InodeCopy();
  for (;;) {
    inodeOf(context, path, syscall, inode);
    if (!isDirectory(inode.mode)) throw new FsError('ENOTDIR', syscall, { path });
    if (!allows(inode, backend.credentials, 4)) throw new FsError('EACCES', syscall, { path });
    const entries = tryList(context, inode.ino);
    // The inode may have become another directory while its blocks were read; then the path leads elsewhere
    // too.
    const { ino, generation } = inode;
    if (entries !== undefined && paths.resolve(path, syscall, inode)) {
      if (inode.ino === ino && inode.generation === generation) return entries;
    }
  }
}

/** Undefined when the directory is gone. */
function tryList({ backend }: Context, ino: number): DirectoryEntry[] | undefined {
  try {
    return listDirectory(backend.segment, ino);
  } catch (error) {
    if (error instanceof FsError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * fs.readdirSync. As with node:fs, `recursive` enters links to directories unless `withFileTypes` is given.
 */
export function readdirSync(context: Context, path: unknown, options?: unknown): Listed[] {
  const given = optionsOf(options);
  const from = pathOf(path);
  if (given.recursive !== undefined && given.recursive !== null)
    booleanOf(given.recursive, 'options.recursive');
  if (given.recursive === true) return listTree(context, from, given);
  const entries = entriesOf(context, from, 'scandir');
  return entries.map((entry) => listed(entry, from, given));
}

const listed = (
  { name, type }: DirectoryEntry,
  parent: string,
  { encoding, withFileTypes }: Options,
): Listed => (withFileTypes ? direntOf(name, parent, type, encoding) : encoded(name, encoding));

const direntOf = (name: string, parent: string, type: number, encoding: Options['encoding']) =>
  new Dirent(encoded(name, encoding) as string, parent, type);

function listTree(context: Context, root: string, options: Options): Listed[] {
  const found: Listed[] = [];
  const directories = [root];
  for (let i = 0; i < directories.length; i++) {
    const directory = directories[i] as string;
    for (const entry of entriesOf(context, directory, 'scandir')) {
      const path = posix.join(directory, entry.name);
      if (options.withFileTypes) found.push(listed(entry, directory, options));
      else found.push(encoded(posix.relative(root, path), options.encoding));
      if (
        isDirectory(entry.type) ||
        (!options.withFileTypes && leadsToDirectory(context, path, entry.type))
      ) {
        directories.push(path);
      }
    }
  }
  return found;
}

function leadsToDirectory({ paths }: Context, path: string, type: number): boolean {
  if (type !== fileType.symlink) return false;
  const inode = new InodeCopy();
  try {
    return paths.resolve(path, 'stat', inode) && isDirectory(inode.mode);
  } catch (error) {
    if (error instanceof FsError) return false;
    throw error;
  }
}

/** fs.opendirSync: the listing is that of the moment it is opened. */
export function opendirSync(context: Context, path: unknown, options?: unknown): Dir {
  const from = pathOf(path);
  const given = optionsOf(options);
  if (given.bufferSize !== undefined) {
    integerOf(given.bufferSize, 'options.bufferSize', { min: 1, max: 2 ** 32 - 1 });
  }
  return new Dir(context, from, given);
}

const closedError = () => nodeError(Error, 'ERR_DIR_CLOSED', 'Directory handle was closed');

type ReadCallback = (error: Error | null, entry: Dirent | null) => void;

/** fs.Dir. A directory below, with `recursive`, is listed when it is reached. */
export class Dir {
  readonly path: string;
  readonly #context: Context;
  readonly #options: Options;
  readonly #waiting: Dirent[] = [];
  #next = 0;
  #closed = false;

  constructor(context: Context, path: string, options: Options) {
    this.#context = context;
    this.#options = options;
    this.path = path;
    this.#list(path, 'opendir');
  }

  /** The next entry; null when there is no more. */
  readSync(): Dirent | null {
    if (this.#closed) throw closedError();
    const entry = this.#waiting[this.#next++];
    if (entry === undefined) return null;
    if (this.#options.recursive === true && entry.isDirectory()) {
      this.#list(posix.join(entry.parentPath, String(entry.name)), 'opendir');
    }
    return entry;
  }

  read(): Promise<Dirent | null>;
  read(callback: ReadCallback): void;
  read(callback?: ReadCallback): Promise<Dirent | null> | undefined {
    if (callback === undefined) return this.#read();
    if (this.#closed) throw closedError();
    deliver(() => this.readSync(), callback);
    return undefined;
  }

  closeSync(): void {
    if (this.#closed) throw closedError();
    this.#closed = true;
  }

  close(): Promise<void>;
  close(callback: (error: Error | null) => void): void;
  close(callback?: (error: Error | null) => void): Promise<void> | undefined {
    if (callback === undefined) return this.#close();
    deliver(() => this.closeSync(), callback);
    return undefined;
  }

  async *entries(): AsyncGenerator<Dirent, undefined> {
    try {
      for (let entry = await this.read(); entry !== null; entry = await this.read()) yield entry;
    } finally {
      this.closeSync();
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<Dirent, undefined> {
    return this.entries();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
  }

  async #read(): Promise<Dirent | null> {
    const pause = this.#context.breathe();
    if (pause !== undefined) await pause;
    return this.readSync();
  }

  async #close(): Promise<void> {
    this.closeSync();
  }

  #list(path: string, syscall: string): void {
    const { encoding } = this.#options;
    for (const { name, type } of entriesOf(this.#context, path, syscall)) {
      this.#waiting.push(direntOf(name, path, type, encoding));
    }
  }
}

function deliver<T>(work: () => T, callback: (error: Error | null, result: T) => void): void {
  let result: T;
  try {
    result = work();
  } catch (error) {
    process.nextTick(callback, error);
    return;
  }
  process.nextTick(callback, null, result);
}
