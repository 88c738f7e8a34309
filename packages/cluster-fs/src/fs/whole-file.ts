/** Reading a file whole, by its path: readFile and readFileSync. */
import { constants } from 'node:fs';
import { FsError } from '@cluster-fs/transport';
import { allows, InodeCopy, isDirectory } from '../segment/index.ts';
import { nodeError } from './argument-errors.ts';
import type { Options } from './arguments.ts';
import { type Context, noEntry } from './context.ts';
import { readAt, readNow, Source } from './reading.ts';

export const limits = {
  /** What one Buffer of readFile may hold, as with node:fs. */
  bufferBytes: 2 ** 31 - 1,
  /** A name that leads to another file each time it is looked at. */
  attempts: 100,
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
      const target = bufferFor(context, source, 0);
      const count = readNow(context, source, target, 0);
      return count === target.length ? target : target.subarray(0, count);
    } catch (error) {
      if (!isGone(error) || attempt === limits.attempts) throw error;
    }
  }
}

/** As `readWholeNow`; a large file is copied in libuv's pool. */
export async function readWhole(context: Context, path: string, signal?: AbortSignal): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const source = sourceOf(context, path);
    try {
      const target = bufferFor(context, source, 0);
      const reading = readAt(context, source, target, 0, signal);
      const count = typeof reading === 'number' ? reading : await reading;
      return count === target.length ? target : target.subarray(0, count);
    } catch (error) {
      if (!isGone(error) || attempt === limits.attempts) throw error;
    }
  }
}

/** A buffer for all of the file behind `position`. */
export function bufferFor({ backend }: Context, source: Source, position: number): Buffer {
  source.refresh(backend.segment);
  const { size } = source.inode;
  if (size > limits.bufferBytes) {
    const message = `File size (${size}) is greater than 2 GiB`;
    throw nodeError(RangeError, 'ERR_FS_FILE_TOO_LARGE', message);
  }
  return Buffer.allocUnsafeSlow(Math.max(0, size - position));
}

/** The content as the caller wants it: text in an encoding, else the buffer. */
export function decoded(content: Buffer, { encoding }: Options): string | Buffer {
  return encoding === undefined || encoding === null || encoding === 'buffer'
    ? content
    : content.toString(encoding);
}

/** The file was removed while it was read; its name may lead to another by now. */
const isGone = (error: unknown): boolean => error instanceof FsError && error.code === 'ESTALE';
