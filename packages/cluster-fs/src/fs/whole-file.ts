/** Reading a file whole, by its path: readFile and readFileSync. */
import { constants } from 'node:fs';
import { FsError } from '@cluster-fs/transport';
import { allows, InodeCopy, isDirectory } from '../segment/index.ts';
import { nodeError } from './argument-errors.ts';
import type { Options } from './arguments.ts';
import { type Context, noEntry } from './context.ts';
import { Outgrown, readAt, readNow, Source } from './reading.ts';

export const limits = {
  /** What one Buffer of readFile may hold, as with node:fs. */
  bufferBytes: 2 ** 31 - 1,
  /** A name that leads to another file each time it is looked at. */
  attempts: 100,
  /** Times that a file may get other, longer content while it is read. */
  wholeAttempts: 20,
} as const;

/** Flags of open(2) that a plain reader gives; with others readFile opens a handle. */
export const opensPlainly = (flags: number): boolean =>
  (flags & ~(constants.O_SYNC | constants.O_NOATIME)) === constants.O_RDONLY;

/** A file that may be read, found by its path. */
export function sourceOf({ backend, paths }: Context, path: string): Source {
  const inode = new InodeCopy();
  if (!paths.resolve(path, 'open', inode)) throw noEntry('open', path);
  if (!allows(inode, backend.credentials, 4)) throw new FsError('EACCES', 'open', { path });
  if (isDirectory(inode.mode)) throw new FsError('EISDIR', 'read');
  return new Source(inode.ino, inode.generation);
}

/** The content of the file at `path`. Touches shared memory only. */
export function readWholeNow(context: Context, path: string): Buffer {
  for (let attempt = 1; ; attempt++) {
    const source = sourceOf(context, path);
    try {
      const target = bufferFor(context, source, { position: 0, attempt });
      return filled(target, readNow(context, source, target, 0));
    } catch (error) {
      if (!isOther(error) || attempt === limits.attempts) throw error;
    }
  }
}

/** As `readWholeNow`; a large file is copied in libuv's pool. */
export async function readWhole(context: Context, path: string, signal?: AbortSignal): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const source = sourceOf(context, path);
    try {
      const target = bufferFor(context, source, { position: 0, attempt });
      const reading = readAt(context, source, target, 0, signal);
      return filled(target, typeof reading === 'number' ? reading : await reading);
    } catch (error) {
      if (!isOther(error) || attempt === limits.attempts) throw error;
    }
  }
}

/** The content of an open file behind `position`. */
export async function readRest(
  context: Context,
  opened: Source,
  position: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const source = opened.again();
    try {
      const target = bufferFor(context, source, { position, attempt });
      return filled(target, await readAt(context, source, target, position, signal));
    } catch (error) {
      if (!(error instanceof Outgrown)) throw error;
    }
  }
}

/**
 * A buffer for all of the file behind `position`. What has other content each time is read as it comes in the
 * end, by each part of it.
 */
function bufferFor(
  { backend }: Context,
  source: Source,
  { position, attempt }: { readonly position: number; readonly attempt: number },
): Buffer {
  source.refresh(backend.segment);
  if (attempt <= limits.wholeAttempts) source.expectSize();
  const { size } = source.inode;
  if (size > limits.bufferBytes) {
    const message = `File size (${size}) is greater than 2 GiB`;
    throw nodeError(RangeError, 'ERR_FS_FILE_TOO_LARGE', message);
  }
  return Buffer.allocUnsafeSlow(Math.max(0, size - position));
}

const filled = (target: Buffer, count: number): Buffer =>
  count === target.length ? target : target.subarray(0, count);

/** The content as the caller wants it: text in an encoding, else the buffer. */
export function decoded(content: Buffer, { encoding }: Options): string | Buffer {
  return encoding === undefined || encoding === null || encoding === 'buffer'
    ? content
    : content.toString(encoding);
}

/** The file was removed while it was read, and its name may lead to another by now; or it is longer. */
const isOther = (error: unknown): boolean =>
  error instanceof Outgrown || (error instanceof FsError && error.code === 'ESTALE');
