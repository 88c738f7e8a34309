/**
 * The methods of node:fs/promises, bound to one mount. docs/caveats.md tells what differs; missing.ts what is
 * not there.
 */
import type * as nodeFs from 'node:fs';
import { constants } from 'node:fs';
import { InodeCopy } from '../segment/index.ts';
import { encoded, optionsOf, pathOf } from './arguments.ts';
import { chmod, chown, statfsOf, utimes } from './attributes.ts';
import { type Context, inodeOf, linkInodeOf, statsOf } from './context.ts';
import { cp } from './copy-tree.ts';
import { opendirSync, readdirSync } from './directory.ts';
import { appendFile, copyFile, open, readFile, truncate, writeFile } from './files.ts';
import { link, mkdir, mkdtemp, rename, rm, rmdir, symlink, unlink } from './names.ts';
import { realPath } from './real-path.ts';
import { createSparsePromises, type SparseHandle, type SparsePromises } from './sparse.ts';
import { accessSync, readlinkSync } from './sync.ts';
import { watchEvents } from './watch.ts';

type NodePromises = Pick<
  typeof nodeFs.promises,
  | 'access'
  | 'appendFile'
  | 'chmod'
  | 'chown'
  | 'constants'
  | 'copyFile'
  | 'cp'
  | 'lchown'
  | 'link'
  | 'lstat'
  | 'lutimes'
  | 'mkdir'
  | 'mkdtemp'
  | 'open'
  | 'opendir'
  | 'readFile'
  | 'readdir'
  | 'readlink'
  | 'realpath'
  | 'rename'
  | 'rm'
  | 'rmdir'
  | 'stat'
  | 'statfs'
  | 'symlink'
  | 'truncate'
  | 'unlink'
  | 'utimes'
  | 'watch'
  | 'writeFile'
>;

/** The methods of node:fs/promises, and those of `SparsePromises`, which node has not. */
export interface FilePromises extends Omit<NodePromises, 'open'>, SparsePromises {
  open(...args: Parameters<NodePromises['open']>): Promise<nodeFs.promises.FileHandle & SparseHandle>;
}

interface StatOptions {
  readonly bigint?: boolean | undefined;
}

/** Every method rejects, also for arguments that it refuses; none throws. */
export function createPromises(context: Context): FilePromises {
  const methods = {
    ...createReads(context),
    ...createSparsePromises(context),
    appendFile: (path: unknown, data: unknown, options?: unknown) => appendFile(context, path, data, options),
    chmod: (path: unknown, mode: unknown) => chmod(context, path, mode),
    chown: (path: unknown, uid: unknown, gid: unknown) => chown(context, 'chown', path, uid, gid),
    copyFile: (src: unknown, dest: unknown, mode?: unknown) => copyFile(context, src, dest, mode),
    cp: (src: unknown, dest: unknown, options?: unknown) => cp(context, src, dest, options),
    lchown: (path: unknown, uid: unknown, gid: unknown) => chown(context, 'lchown', path, uid, gid),
    link: (existingPath: unknown, newPath: unknown) => link(context, existingPath, newPath),
    lutimes: (path: unknown, atime: unknown, mtime: unknown) => utimes(context, 'lutime', path, atime, mtime),
    mkdir: (path: unknown, options?: unknown) => mkdir(context, path, options),
    mkdtemp: (prefix: unknown, options?: unknown) => mkdtemp(context, prefix, options),
    open: (path: unknown, flags?: unknown, mode?: unknown) => open(context, path, flags, mode),
    rename: (oldPath: unknown, newPath: unknown) => rename(context, oldPath, newPath),
    rm: (path: unknown, options?: unknown) => rm(context, path, options),
    rmdir: (path: unknown, options?: unknown) => rmdir(context, path, options),
    symlink: (target: unknown, path: unknown, type?: unknown) => symlink(context, target, path, type),
    truncate: (path: unknown, length?: unknown) => truncate(context, path, length),
    unlink: (path: unknown) => unlink(context, path),
    utimes: (path: unknown, atime: unknown, mtime: unknown) => utimes(context, 'utime', path, atime, mtime),
    writeFile: (path: unknown, data: unknown, options?: unknown) => writeFile(context, path, data, options),
    constants,
  };
  // Node's types are overloads over what the options say about the result; one function each cannot match
  // them.
  return methods as unknown as FilePromises;
}

/** What is answered from shared memory, though by a promise. */
function createReads(context: Context) {
  /** `read` as a method that rejects instead of throwing, and lets the event loop turn. */
  const method =
    <A extends unknown[], R>(read: (...args: A) => R | Promise<R>) =>
    async (...args: A): Promise<R> => {
      const pause = context.breathe();
      if (pause !== undefined) await pause;
      return await read(...args);
    };
  return {
    access: method((path: unknown, mode?: unknown) => accessSync(context, path, mode)),
    lstat: method((path: unknown, options: StatOptions = {}) => {
      const inode = linkInodeOf(context, pathOf(path), 'lstat', new InodeCopy());
      return statsOf(context, inode, options.bigint);
    }),
    opendir: method((path: unknown, options?: unknown) => opendirSync(context, path, options)),
    readFile: method((path: unknown, options?: unknown) => readFile(context, path, options)),
    readdir: method((path: unknown, options?: unknown) => readdirSync(context, path, options)),
    readlink: method((path: unknown, options?: unknown) => readlinkSync(context, path, options, 'oldPath')),
    realpath: method((path: unknown, options?: unknown) => {
      const { encoding } = optionsOf(options);
      return encoded(realPath(context, pathOf(path), 'realpath'), encoding);
    }),
    stat: method((path: unknown, options: StatOptions = {}) => {
      const inode = inodeOf(context, pathOf(path), 'stat', new InodeCopy());
      return statsOf(context, inode, options.bigint);
    }),
    statfs: method((path: unknown, options?: StatOptions) => statfsOf(context, path, options)),
    watch: (path: unknown, options?: unknown) => watchEvents(context, path, options),
  };
}
