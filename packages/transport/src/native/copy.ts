/**
 * Copies of memory, off the event loop on the libuv pool, or at once. Both addresses must stay mapped
 * meanwhile.
 */
import { call, checked } from './binding.ts';

export interface MemoryCopy {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/** memcpy(3) on a pool thread. */
export const copyMemory = async ({ from, to, length }: MemoryCopy): Promise<void> => {
  checked(await call('copyMemory', from, to, length, false), 'memcpy');
};

/** memcpy(3). */
export const copyMemorySync = ({ from, to, length }: MemoryCopy): void => {
  checked(call('copyMemory', from, to, length, true), 'memcpy');
};

export interface MemoryWrite {
  readonly fd: number;
  readonly offset: number;
  readonly address: number;
  readonly length: number;
}

/**
 * pwrite(2) from memory into a file, on a pool thread. On tmpfs, fresh pages are not zeroed first; ENOSPC
 * when full.
 */
export const writeMemory = async ({ fd, offset, address, length }: MemoryWrite): Promise<void> => {
  checked(await call('writeMemory', fd, offset, address, length, false), 'write');
};

/** pwrite(2) from memory into a file. */
export const writeMemorySync = ({ fd, offset, address, length }: MemoryWrite): void => {
  checked(call('writeMemory', fd, offset, address, length, true), 'write');
};
