/**
 * The synchronous reads of node:fs. All of them look at shared memory only: no round trip, no system call but
 * the pread of file data.
 */
import type * as nodeFs from 'node:fs';
import { FsError } from '@cluster-fs/transport';
import { allows, InodeCopy, isSymlink, readText } from '../segment/index.ts';
import { encoded, flagsOf, type Options, optionsOf, pathOf } from './arguments.ts';
import { accessMaskOf, statfsOf } from './attributes.ts';
import { type Context, inodeOf, linkInodeOf, noEntry, statsOf } from './context.ts';
import { opendirSync, readdirSync } from './directory.ts';
import { realPath, realPathByParts } from './real-path.ts';
import type { BigIntStats, Stats } from './stats.ts';
import { decoded, opensPlainly, readWholeNow } from './whole-file.ts';

export type SyncReads = Pick<
  typeof nodeFs,
  | 'accessSync'
  | 'existsSync'
  | 'lstatSync'
  | 'opendirSync'
  | 'readFileSync'
  | 'readdirSync'
  | 'readlinkSync'
  | 'realpathSync'
  | 'statSync'
  | 'statfsSync'
>;

interface StatOptions {
  readonly bigint?: boolean | undefined;
  readonly throwIfNoEntry?: boolean | undefined;
}

const noOptions: StatOptions = {};

/** The calls, bound to one mount. */
export function createSyncReads(context: Context): SyncReads {
  const realpath = (path: unknown, options?: unknown) =>
    encoded(realPathByParts(context, pathOf(path)), optionsOf(options).encoding);
  const native = (path: unknown, options?: unknown) =>
    encoded(realPath(context, pathOf(path), 'realpath'), optionsOf(options).encoding);
  const calls = {
    ...createStatCalls(context),
    accessSync: (path: unknown, mode?: unknown) => accessSync(context, path, mode),
    opendirSync: (path: unknown, options?: unknown) => opendirSync(context, path, options),
    readFileSync: (path: unknown, options?: unknown) => readFileSync(context, path, options),
    readdirSync: (path: unknown, options?: unknown) => readdirSync(context, path, options),
    readlinkSync: (path: unknown, options?: unknown) => readlinkSync(context, path, options),
    realpathSync: Object.assign(realpath, { native }),
    statfsSync: (path: unknown, options?: StatOptions) => statfsOf(context, path, options),
  };
  // Node's types are overloads over what the options say about the result; one function each cannot match
  // them.
  return calls as unknown as SyncReads;
}

/** The hottest calls: one inode copy serves them all, since none of them can run inside another. */
function createStatCalls(context: Context) {
  const { paths } = context;
  const inode = new InodeCopy();
  return {
    statSync: (path: unknown, options: StatOptions = noOptions): Stats | BigIntStats | undefined => {
      const name = pathOf(path);
      if (paths.resolve(name, 'stat', inode)) return statsOf(context, inode, options.bigint);
      return missing(name, 'stat', options);
    },
    lstatSync: (path: unknown, options: StatOptions = noOptions): Stats | BigIntStats | undefined => {
      const name = pathOf(path);
      if (paths.resolveLink(name, 'lstat', inode)) return statsOf(context, inode, options.bigint);
      return missing(name, 'lstat', options);
    },
    existsSync: (path: unknown): boolean => {
      try {
        return paths.resolve(pathOf(path), 'access', inode);
      } catch {
        // Whatever is wrong with the path, nothing is there: existsSync never throws.
        return false;
      }
    },
  };
}

function missing(path: string, syscall: string, { throwIfNoEntry }: StatOptions): undefined {
  if (throwIfNoEntry !== false) throw noEntry(syscall, path);
  return undefined;
}

/** access(2): throws unless the caller may do what `mode` names (F_OK, R_OK, W_OK, X_OK). */
export function accessSync(context: Context, path: unknown, mode: unknown): void {
  const name = pathOf(path);
  const mask = accessMaskOf(mode);
  const inode = inodeOf(context, name, 'access', new InodeCopy());
  const { credentials, readOnly } = context.backend;
  if (!allows(inode, credentials, mask)) throw new FsError('EACCES', 'access', { path: name });
  if ((mask & 2) !== 0 && readOnly) throw new FsError('EROFS', 'access', { path: name });
}

function readFileSync(context: Context, path: unknown, options: unknown): string | Buffer {
  const given = optionsOf(options, { flag: 'r' });
  const name = pathOf(path);
  if (!opensPlainly(flagsOf(given.flag))) {
    throw new FsError('ENOTSUP', 'open', { path: name, why: 'synchronous calls only read' });
  }
  return decoded(readWholeNow(context, name), given);
}

/** The target of a symlink, as it was written. */
export function readlinkSync(
  context: Context,
  path: unknown,
  options: unknown,
  name = 'path',
): string | Buffer {
  const { encoding }: Options = optionsOf(options);
  const link = pathOf(path, name);
  const inode = linkInodeOf(context, link, 'readlink', new InodeCopy());
  if (!isSymlink(inode.mode)) throw new FsError('EINVAL', 'readlink', { path: link });
  return encoded(readText(context.backend.segment, inode.ino, inode), encoding);
}
