/** The methods of node:fs/promises that make, remove and rename names. */
import { FsError } from '@cluster-fs/transport';
import { InodeCopy, isDirectory } from '../segment/index.ts';
import { nodeError } from './argument-errors.ts';
import { booleanOf, encoded, integerOf, modeOf, objectOf, optionsOf, pathOf } from './arguments.ts';
import { assertWritable, type Context, inodeOf, linkInodeOf } from './context.ts';
import { systemError } from './system-error.ts';

/** Resolves to the first directory made, with `recursive`, or undefined when none was. */
export async function mkdir(context: Context, path: unknown, options: unknown): Promise<string | undefined> {
  const plain = typeof options === 'number' || typeof options === 'string';
  const given: { recursive?: unknown; mode?: unknown } = plain ? { mode: options } : (options ?? {});
  const name = pathOf(path);
  const recursive = booleanOf(given.recursive ?? false, 'options.recursive');
  const mode = modeOf(given.mode, 0o777) & 0o7777 & ~context.umask;
  assertWritable(context, 'mkdir', name);
  const { first } = await context.requests.request('mkdir', { path: name, mode, recursive });
  return first;
}

export async function rmdir(context: Context, path: unknown, options: unknown): Promise<void> {
  const name = pathOf(path);
  const { recursive } = removeOptionsOf(options);
  if (recursive && isDirectory(inodeOf(context, name, 'stat', new InodeCopy()).mode)) {
    await removeTree(context, name);
    return;
  }
  assertWritable(context, 'rmdir', name);
  await context.requests.request('rmdir', { path: name });
}

export async function unlink(context: Context, path: unknown): Promise<void> {
  const name = pathOf(path);
  assertWritable(context, 'unlink', name);
  await context.requests.request('unlink', { path: name });
}

export async function rename(context: Context, oldPath: unknown, newPath: unknown): Promise<void> {
  const from = pathOf(oldPath, 'oldPath');
  const to = pathOf(newPath, 'newPath');
  assertWritable(context, 'rename', from, to);
  await context.requests.request('rename', { from, to });
}

export async function link(context: Context, existingPath: unknown, newPath: unknown): Promise<void> {
  const from = pathOf(existingPath, 'existingPath');
  const to = pathOf(newPath, 'newPath');
  assertWritable(context, 'link', from, to);
  await context.requests.request('link', { from, to });
}

const symlinkTypes: readonly unknown[] = ['dir', 'file', 'junction'];

/** The type is checked and ignored, as on every system but Windows. */
export async function symlink(
  context: Context,
  target: unknown,
  path: unknown,
  type: unknown,
): Promise<void> {
  const to = pathOf(target, 'target');
  const name = pathOf(path);
  if (typeof type === 'string' && !symlinkTypes.includes(type)) {
    const message = `Symlink type must be one of "dir", "file", or "junction". Received "${type}"`;
    throw nodeError(Error, 'ERR_FS_INVALID_SYMLINK_TYPE', message);
  }
  assertWritable(context, 'symlink', to, name);
  await context.requests.request('symlink', { target: to, path: name });
}

/** Retries are not needed here, so `maxRetries` and `retryDelay` are checked and ignored. */
export async function rm(context: Context, path: unknown, options: unknown): Promise<void> {
  const name = pathOf(path);
  const { recursive, force } = removeOptionsOf(options);
  const inode = new InodeCopy();
  try {
    linkInodeOf(context, name, 'lstat', inode);
  } catch (error) {
    if (force && error instanceof FsError && error.code === 'ENOENT') return;
    throw error;
  }
  if (!isDirectory(inode.mode)) {
    await gone(unlink(context, name));
    return;
  }
  if (!recursive) {
    throw systemError('ERR_FS_EISDIR', {
      code: 'EISDIR',
      message: 'is a directory',
      path: name,
      syscall: 'rm',
    });
  }
  await removeTree(context, name);
}

async function removeTree(context: Context, path: string): Promise<void> {
  assertWritable(context, 'rm', path);
  await gone(context.requests.request('remove', { path }));
}

/** Somebody else may have removed it first: then it is removed. */
async function gone(removal: Promise<unknown>): Promise<void> {
  try {
    await removal;
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== 'ENOENT') throw error;
  }
}

function removeOptionsOf(options: unknown): { recursive: boolean; force: boolean } {
  const { recursive = false, force = false, retryDelay = 100, maxRetries = 0 } = objectOf(options);
  booleanOf(recursive, 'options.recursive');
  integerOf(retryDelay, 'options.retryDelay', { min: 0, max: 2 ** 31 - 1 });
  integerOf(maxRetries, 'options.maxRetries', { min: 0, max: 2 ** 32 - 1 });
  return { recursive: recursive === true, force: booleanOf(force, 'options.force') };
}

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const suffixLength = 6;
/** As glibc: with 62^6 names, a hundred that are all taken mean that something else is wrong. */
const suffixAttempts = 100;

/** Makes a directory that was not there, readable by the caller alone, and resolves to its path. */
export async function mkdtemp(context: Context, prefix: unknown, options: unknown): Promise<string | Buffer> {
  const { encoding } = optionsOf(options);
  const start = pathOf(prefix, 'prefix');
  const mode = 0o700 & ~context.umask;
  for (let attempt = 1; ; attempt++) {
    const path = start + randomSuffix();
    try {
      assertWritable(context, 'mkdtemp', path);
      await context.requests.request('mkdir', { path, mode, recursive: false });
      return encoded(path, encoding);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      if (error.code === 'EEXIST' && attempt < suffixAttempts) continue;
      throw new FsError(error.code, 'mkdtemp', { path, cause: error });
    }
  }
}

const randomSuffix = (): string =>
  Array.from(
    process.getBuiltinModule('node:crypto').randomBytes(suffixLength),
    (byte) => letters[byte % letters.length],
  ).join('');
