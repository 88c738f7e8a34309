/** Calls on files of a disk, in libuv's pool unless they are short, with our errors. */
import { fdatasync, fdatasyncSync, read, readSync, write, writeSync } from 'node:fs';
import { type ErrorCode, FsError } from '@cluster-fs/transport';

type Done = (error: NodeJS.ErrnoException | null, count: number) => void;

const call = (syscall: string, path: string, start: (done: Done) => void): Promise<number> =>
  new Promise((resolve, reject) => {
    start((error, count) => {
      if (error === null) resolve(count);
      else reject(new FsError((error.code ?? 'EIO') as ErrorCode, syscall, { path, cause: error }));
    });
  });

export async function writeAll(fd: number, bytes: Uint8Array, offset: number, path: string): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const at = done;
    done += await call('write', path, (end) => write(fd, bytes, at, bytes.length - at, offset + at, end));
  }
}

/** How many bytes there were: fewer than asked for only at the end of the file. */
export async function readAll(fd: number, into: Uint8Array, offset: number, path: string): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const at = done;
    const count = await call('read', path, (end) => read(fd, into, at, into.length - at, offset + at, end));
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** As `readAll`, at once: for a few pages of tmpfs, which take less time than a way to the pool. */
export function readAllNow(fd: number, into: Uint8Array, offset: number, path: string): void {
  if (readSync(fd, into, 0, into.length, offset) !== into.length)
    throw new FsError('EIO', 'read', { path, why: 'shorter than it should be' });
}

/** As `writeAll`, at once. */
export function writeAllNow(fd: number, bytes: Uint8Array, offset: number, path: string): void {
  if (writeSync(fd, bytes, 0, bytes.length, offset) !== bytes.length)
    throw new FsError('EIO', 'write', { path, why: 'written in part' });
}

export async function dataSync(fd: number, path: string): Promise<void> {
  await call('fdatasync', path, (end) => fdatasync(fd, (error) => end(error, 0)));
}

export function dataSyncNow(fd: number, path: string): void {
  try {
    fdatasyncSync(fd);
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    throw new FsError(code as ErrorCode, 'fdatasync', { path, cause });
  }
}
