/**
 * Copies of memory. The promise ones run on the libuv pool, off the event loop; their ranges must stay
 * mapped, and the descriptor open, until the promise settles. They are for the node process: in a client, the
 * application's own calls may hold every thread of the pool.
 */
import { addon, checked } from './binding.ts';

/** Requires: both ranges are mapped. They may overlap. */
export interface MemoryCopy {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/** memmove(3) on a pool thread. */
export const copyMemory = async ({ from, to, length }: MemoryCopy): Promise<void> => {
  checked(await addon.copyMemory(from, to, length), 'memmove');
};

/** memmove(3), at once. */
export const copyMemorySync = ({ from, to, length }: MemoryCopy): void => {
  checked(addon.copyMemorySync(from, to, length), 'memmove');
};

export interface MemoryWrite {
  readonly fd: number;
  /** In the file. */
  readonly offset: number;
  readonly address: number;
  readonly length: number;
}

/**
 * pwrite(2) of a range of memory, all of it, on a pool thread. On tmpfs, fresh pages are taken without
 * zeroing them first, and ENOSPC says that it is full, where a store would be SIGBUS; what was written until
 * then stays. EFAULT where nothing is mapped.
 */
export const writeMemory = async ({ fd, offset, address, length }: MemoryWrite): Promise<void> => {
  checked(await addon.writeMemory(fd, offset, address, length), 'write');
};

/** As `writeMemory`, at once. */
export const writeMemorySync = ({ fd, offset, address, length }: MemoryWrite): void => {
  checked(addon.writeMemorySync(fd, offset, address, length), 'write');
};

export interface WritePreparation extends MemoryWrite {
  /** Where the same bytes of the file are mapped to write: they are made present there too. */
  readonly window?: number;
}

/**
 * fallocate(2) of the pages that a write will fill, and madvise(2) MADV_POPULATE_READ of what it will read,
 * on a pool thread: the write itself is then a copy and nothing else. With `window` that copy may be a
 * memmove: MADV_POPULATE_WRITE. ENOSPC when the file system is full; what was allocated until then may stay.
 */
export const prepareWrite = async (preparation: WritePreparation): Promise<void> => {
  const { fd, offset, address, length, window = 0 } = preparation;
  checked(await addon.prepareWrite(fd, offset, address, length, window), 'fallocate');
};

/** As `prepareWrite`, at once. */
export const prepareWriteSync = (preparation: WritePreparation): void => {
  const { fd, offset, address, length, window = 0 } = preparation;
  checked(addon.prepareWriteSync(fd, offset, address, length, window), 'fallocate');
};
