/** cp: copies files, links and whole trees, with the options and the errors of node's. */
import { posix } from 'node:path';
import { FsError } from '@cluster-fs/transport';
import { InodeCopy, isDirectory, isSymlink, readText } from '../segment/index.ts';
import { invalidType, nodeError, outOfRange } from './argument-errors.ts';
import { booleanOf, objectOf, pathOf } from './arguments.ts';
import { accessMaskOf, setAttributes } from './attributes.ts';
import { type Context, inodeOf, linkInodeOf } from './context.ts';
import { entriesOf } from './directory.ts';
import { copyFile } from './files.ts';
import { mkdir, symlink, unlink } from './names.ts';
import { systemError } from './system-error.ts';

type Filter = (source: string, destination: string) => boolean | Promise<boolean>;

interface CopyOptions {
  readonly dereference: boolean;
  readonly errorOnExist: boolean;
  readonly force: boolean;
  readonly preserveTimestamps: boolean;
  readonly recursive: boolean;
  readonly verbatimSymlinks: boolean;
  readonly mode: number;
  readonly filter: Filter | undefined;
}

interface Job {
  readonly context: Context;
  readonly options: CopyOptions;
}

/** One thing to copy, as it was looked at: `to` is undefined when nothing is there yet. */
interface Pair {
  readonly src: string;
  readonly dest: string;
  readonly from: InodeCopy;
  readonly to: InodeCopy | undefined;
}

/** fs.promises.cp */
export async function cp(context: Context, src: unknown, dest: unknown, options: unknown): Promise<void> {
  const job: Job = { context, options: copyOptionsOf(options) };
  const pair = await examine(job, pathOf(src, 'src'), pathOf(dest, 'dest'));
  if (pair === undefined) return;
  assertNotBelowItself(context, pair);
  const parent = posix.dirname(pair.dest);
  if (lookAt(context, parent, 'stat') === undefined) await mkdir(context, parent, { recursive: true });
  await copyPair(job, pair);
}

function copyOptionsOf(options: unknown): CopyOptions {
  const given = objectOf(options);
  const flag = (name: string, fallback: boolean) => booleanOf(given[name] ?? fallback, `options.${name}`);
  const dereference = flag('dereference', false);
  const errorOnExist = flag('errorOnExist', false);
  const force = flag('force', true);
  const preserveTimestamps = flag('preserveTimestamps', false);
  const recursive = flag('recursive', false);
  const verbatimSymlinks = flag('verbatimSymlinks', false);
  const mode = copyModeOf(given.mode);
  if (dereference && verbatimSymlinks) {
    const message = 'Option "dereference" cannot be used in combination with option "verbatimSymlinks"';
    throw nodeError(TypeError, 'ERR_INCOMPATIBLE_OPTION_PAIR', message);
  }
  const { filter } = given;
  if (filter !== undefined && typeof filter !== 'function')
    throw invalidType('options.filter', 'of type function', filter);
  return {
    dereference,
    errorOnExist,
    force,
    preserveTimestamps,
    recursive,
    verbatimSymlinks,
    mode,
    filter: filter as Filter | undefined,
  };
}

function copyModeOf(mode: unknown): number {
  if (typeof mode === 'number' && (mode < 0 || mode > 7)) throw outOfRange('mode', '>= 0 && <= 7', mode);
  return accessMaskOf(mode);
}

/** Looks at both ends and refuses what can never be copied; undefined when the filter skips it. */
async function examine({ context, options }: Job, src: string, dest: string): Promise<Pair | undefined> {
  if (options.filter !== undefined && !(await options.filter(src, dest))) return undefined;
  const find = options.dereference ? inodeOf : linkInodeOf;
  const syscall = options.dereference ? 'stat' : 'lstat';
  const from = find(context, src, syscall, new InodeCopy());
  const to = lookAt(context, dest, syscall);
  const refuse = (
    code: Parameters<typeof systemError>[0],
    errno: 'EINVAL' | 'EISDIR' | 'ENOTDIR',
    message: string,
  ) => systemError(code, { code: errno, message, path: dest, syscall: 'cp' });
  if (to !== undefined) {
    if (to.ino === from.ino) throw refuse('ERR_FS_CP_EINVAL', 'EINVAL', 'src and dest cannot be the same');
    if (isDirectory(from.mode) && !isDirectory(to.mode)) {
      const message = `cannot overwrite non-directory ${dest} with directory ${src}`;
      throw refuse('ERR_FS_CP_DIR_TO_NON_DIR', 'EISDIR', message);
    }
    if (!isDirectory(from.mode) && isDirectory(to.mode)) {
      const message = `cannot overwrite directory ${dest} with non-directory ${src}`;
      throw refuse('ERR_FS_CP_NON_DIR_TO_DIR', 'ENOTDIR', message);
    }
  }
  if (isDirectory(from.mode) && isInside(src, dest)) throw intoItself(src, dest, dest);
  return { src, dest, from, to };
}

const intoItself = (src: string, dest: string, path: string) =>
  systemError('ERR_FS_CP_EINVAL', {
    code: 'EINVAL',
    message: `cannot copy ${src} to a subdirectory of self ${dest}`,
    path,
    syscall: 'cp',
  });

/** The inode at `path`, or undefined when there is none. */
function lookAt(context: Context, path: string, syscall: 'stat' | 'lstat'): InodeCopy | undefined {
  const find = syscall === 'stat' ? inodeOf : linkInodeOf;
  try {
    return find(context, path, syscall, new InodeCopy());
  } catch (error) {
    if (error instanceof FsError && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const resolved = (path: string): string => posix.resolve('/', path);
const namesOf = (path: string): string[] =>
  resolved(path)
    .split('/')
    .filter((name) => name !== '');

/** Whether `path` is `directory` or below it, by its names alone. */
function isInside(directory: string, path: string): boolean {
  const names = namesOf(path);
  return namesOf(directory).every((name, i) => names[i] === name);
}

/**
 * A destination can also get below the source by a link on its way: look at each directory up to the root.
 */
function assertNotBelowItself(context: Context, { src, dest, from }: Pair): void {
  const srcParent = posix.dirname(resolved(src));
  let parent = posix.dirname(resolved(dest));
  while (parent !== srcParent && parent !== '/') {
    const inode = lookAt(context, parent, 'stat');
    if (inode === undefined) return;
    if (inode.ino === from.ino) throw intoItself(src, parent, parent);
    parent = posix.dirname(parent);
  }
}

async function copyPair(job: Job, pair: Pair): Promise<void> {
  const { src, from } = pair;
  if (isSymlink(from.mode)) {
    await copyLink(job, pair);
  } else if (!isDirectory(from.mode)) {
    await copyOneFile(job, pair);
  } else if (job.options.recursive) {
    await copyDirectory(job, pair);
  } else {
    const message = `${src} is a directory (not copied)`;
    throw systemError('ERR_FS_EISDIR', { code: 'EISDIR', message, path: src, syscall: 'cp' });
  }
}

async function copyDirectory(job: Job, { src, dest, from, to }: Pair): Promise<void> {
  const { context } = job;
  if (to === undefined) await mkdir(context, dest, undefined);
  for (const { name } of entriesOf(context, src, 'opendir')) {
    const pair = await examine(job, posix.join(src, name), posix.join(dest, name));
    if (pair !== undefined) await copyPair(job, pair);
  }
  if (to === undefined) await setMode(context, dest, from.mode);
}

const setMode = (context: Context, path: string, mode: number): Promise<void> =>
  setAttributes(context, path, { syscall: 'chmod', follow: true }, { mode: mode & 0o7777 });

async function copyOneFile({ context, options }: Job, { src, dest, from, to }: Pair): Promise<void> {
  if (to !== undefined) {
    if (!options.force && !options.errorOnExist) return;
    if (!options.force) {
      const message = `${dest} already exists`;
      throw systemError('ERR_FS_CP_EEXIST', { code: 'EEXIST', message, path: dest, syscall: 'cp' });
    }
    await unlink(context, dest);
  }
  // The copy has the mode of its source from the start.
  await copyFile(context, src, dest, options.mode);
  if (!options.preserveTimestamps) return;
  const { atimeMs, mtimeMs } = from;
  await setAttributes(context, dest, { syscall: 'utime', follow: true }, { atimeMs, mtimeMs });
}

async function copyLink({ context, options }: Job, { src, dest, from, to }: Pair): Promise<void> {
  const text = readText(context.backend.segment, from.ino, new InodeCopy());
  const target =
    options.verbatimSymlinks || posix.isAbsolute(text) ? text : posix.resolve('/', posix.dirname(src), text);
  if (to !== undefined && isSymlink(to.mode)) {
    const old = posix.resolve(
      '/',
      posix.dirname(dest),
      readText(context.backend.segment, to.ino, new InodeCopy()),
    );
    if (isInside(target, old)) throw intoItself(target, old, dest);
    if (isDirectory(inodeOf(context, src, 'stat', new InodeCopy()).mode) && isInside(old, target)) {
      const message = `cannot overwrite ${old} with ${target}`;
      const info = { code: 'EINVAL', message, path: dest, syscall: 'cp' } as const;
      throw systemError('ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY', info);
    }
    await unlink(context, dest);
  }
  await symlink(context, target, dest, undefined);
}
