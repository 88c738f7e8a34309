/** userfaultfd(2), ioctl_userfaultfd(2): page faults of this or another process, handed to user space. */
import { codeOfErrno, FsError } from '../errors.ts';
import { call, checked, unlessBusy } from './binding.ts';

export interface Userfault {
  readonly fd: number;
  /**
   * Faults inside system calls are handed over too; otherwise such a call fails with EFAULT. Needs privilege.
   */
  readonly kernelFaults: boolean;
}

const ways = [
  { how: 0, kernelFaults: true },
  { how: 1, kernelFaults: true },
  { how: 2, kernelFaults: false },
] as const;

/**
 * A userfaultfd of this process: with faults of the kernel where we may have that (privilege,
 * /dev/userfaultfd), else for faults of user space alone. ENOSYS or EPERM where there is none (an old kernel,
 * seccomp).
 */
export function createUserfault({ remapEvents = false }: { remapEvents?: boolean } = {}): Userfault {
  let result = 0;
  for (const { how, kernelFaults } of ways) {
    result = call('createUserfault', how, remapEvents);
    if (result >= 0) return { fd: result, kernelFaults };
  }
  throw new FsError(codeOfErrno(-result), 'userfaultfd');
}

export interface RegisterMode {
  readonly missing?: boolean;
  readonly writeProtect?: boolean;
  readonly minor?: boolean;
}

/**
 * UFFDIO_REGISTER. EPERM for a mapping of a read-only descriptor, ESRCH or ENOMEM when the process is gone.
 */
export function registerUserfault(fd: number, address: number, length: number, mode: RegisterMode): void {
  const bits =
    (mode.missing === true ? 1 : 0) | (mode.writeProtect === true ? 2 : 0) | (mode.minor === true ? 4 : 0);
  checked(call('registerUserfault', fd, address, length, bits), 'ioctl');
}

/** UFFDIO_UNREGISTER: whoever waits in the range goes on. */
export const unregisterUserfault = (fd: number, address: number, length: number): void => {
  checked(call('unregisterUserfault', fd, address, length), 'ioctl');
};

/** UFFDIO_WRITEPROTECT: stores into the range wait (on), or go on and whoever waits is woken (off). */
export const writeProtectUserfault = (fd: number, address: number, length: number, on: boolean): void => {
  checked(call('writeProtectUserfault', fd, address, length, on), 'ioctl');
};

/** UFFDIO_WAKE: whoever waits in the range tries again, also when its mapping was replaced. */
export const wakeUserfault = (fd: number, address: number, length: number): void => {
  checked(call('wakeUserfault', fd, address, length), 'ioctl');
};

export interface UserfaultCopy {
  readonly address: number;
  /** Address in this process. */
  readonly source: number;
  readonly length: number;
  readonly writeProtect?: boolean;
  readonly wake?: boolean;
}

/**
 * UFFDIO_COPY: fills absent pages; how many bytes. EEXIST when the first is present, ENOMEM when tmpfs is
 * full.
 */
export const copyUserfault = (
  fd: number,
  { address, source, length, writeProtect = false, wake = true }: UserfaultCopy,
): number => checked(call('copyUserfault', fd, address, source, length, writeProtect, wake), 'ioctl');

/** UFFDIO_CONTINUE: maps pages that are in the page cache already; how many bytes. */
export const continueUserfault = (fd: number, address: number, length: number): number =>
  checked(call('continueUserfault', fd, address, length), 'ioctl');

/** UFFDIO_ZEROPAGE; how many bytes. */
export const zeroUserfault = (fd: number, address: number, length: number): number =>
  checked(call('zeroUserfault', fd, address, length), 'ioctl');

export type UserfaultEvent =
  | {
      readonly type: 'fault';
      readonly address: number;
      readonly write: boolean;
      readonly writeProtect: boolean;
      readonly minor: boolean;
      readonly threadId: number;
    }
  | { readonly type: 'remap'; readonly from: number; readonly to: number; readonly length: number }
  | { readonly type: 'fork' | 'remove' | 'unmap'; readonly start: number; readonly end: number };

const eventTypes = { fault: 0x12, fork: 0x13, remap: 0x14, remove: 0x15 } as const;

/** read(2): what happened since the last call; empty when nothing did. */
export function readUserfaultEvents(fd: number, max = 64): UserfaultEvent[] {
  const rows = new Float64Array(max * 4);
  const count = unlessBusy(call('readUserfaultEvents', fd, new Uint8Array(rows.buffer)), 'read') ?? 0;
  return Array.from({ length: count }, (_, i) => {
    const [event = 0, a = 0, b = 0, c = 0] = rows.subarray(i * 4, i * 4 + 4);
    if (event === eventTypes.fault) {
      return {
        type: 'fault',
        address: a,
        write: (b & 1) !== 0,
        writeProtect: (b & 2) !== 0,
        minor: (b & 4) !== 0,
        threadId: c,
      };
    }
    if (event === eventTypes.remap) return { type: 'remap', from: a, to: b, length: c };
    return {
      type: event === eventTypes.fork ? 'fork' : event === eventTypes.remove ? 'remove' : 'unmap',
      start: a,
      end: b,
    };
  });
}
