/** Copies within a file. */
import { addon, checked } from './binding.ts';

/** Offsets and a length in bytes. Requires: the ranges do not overlap. */
export interface FileCopy {
  readonly fd: number;
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/**
 * pread(2) and pwrite(2) of a range, all of it, on a thread of the libuv pool. On tmpfs, fresh pages are
 * taken without zeroing them first, and ENOSPC says that it is full, where a store would be SIGBUS; what was
 * written until then stays. EIO where the file ends before the source does. The descriptor must stay open
 * until the promise settles. For the node process: in a client, the application's own calls may hold every
 * thread of the pool.
 */
export const copyInFile = async ({ fd, from, to, length }: FileCopy): Promise<void> => {
  checked(await addon.copyInFile(fd, from, to, length), 'copy');
};

/** As `copyInFile`, at once. */
export const copyInFileSync = ({ fd, from, to, length }: FileCopy): void => {
  checked(addon.copyInFileSync(fd, from, to, length), 'copy');
};
