/** Calls on files of a disk, in libuv's pool, with our errors. */
import { fdatasync, read, write } from 'node:fs';
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

export async function dataSync(fd: number, path: string): Promise<void> {
  await call('fdatasync', path, (end) => fdatasync(fd, (error) => end(error, 0)));
}
