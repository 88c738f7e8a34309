/**
 * Holes in files of tmpfs. It can neither zero a range nor count allocated pages of zeros as data, so zeros
 * are written there, by a descriptor of its own: neither O_APPEND nor the position of the handle matters.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { FsError, native } from '@cluster-fs/transport';
import type { SparseCalls } from './command.ts';

export const linuxSparse: SparseCalls = {
  punchHole: async ({ fd }, offset, length) => punch(fd, offset, length),
  async zeroRange({ fd }, offset, length) {
    punch(fd, offset, length);
    await store(fd, offset, Buffer.alloc(length));
  },
  async allocate({ fd }, offset, length) {
    // Refuses what no call on a range may do, and changes nothing that is kept.
    if (offset < 0 || length <= 0) throw new FsError('EINVAL', 'fallocate');
    native.allocateRange(fd, offset, length);
    await again(fd, async (file) => {
      const bytes = Buffer.alloc(length);
      await file.read(bytes, 0, length, offset);
      await file.write(bytes, 0, length, offset);
    });
  },
  seek: ({ fd }, offset, what) =>
    again(fd, async (file) => {
      const seek = what === 'data' ? native.seekData : native.seekHole;
      const found = offset < 0 ? undefined : seek(file.fd, offset);
      if (found === undefined) throw new FsError('ENXIO', 'lseek');
      return found;
    }),
};

function punch(fd: number, offset: number, length: number): void {
  // The addon takes no negative numbers.
  if (offset < 0) throw new FsError('EINVAL', 'fallocate');
  native.punchHole(fd, offset, length);
}

const store = (fd: number, offset: number, bytes: Buffer): Promise<void> =>
  again(fd, async (file) => {
    await file.write(bytes, 0, bytes.length, offset);
  });

/** The same file by another descriptor. */
async function again<T>(fd: number, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(`/proc/self/fd/${fd}`, 'r+');
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}
