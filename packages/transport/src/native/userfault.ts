/**
 * userfaultfd(2), ioctl_userfaultfd(2): page faults of this or another process, handed to user space.
 *
 * Addresses are those of the process that created the userfaultfd; ranges are whole pages, else EINVAL. ESRCH
 * when that process is gone. EAGAIN while it moves a mapping and the remap event was not read yet: read it
 * and try again.
 */
import { readlinkSync } from 'node:fs';
import { codeOfErrno, FsError } from '../errors.ts';
import { addon, checked, unlessBusy } from './binding.ts';

export interface Userfault {
  /** Non-blocking; readable when there are events. When its last copy is closed, whoever waits goes on. */
  readonly fd: number;
  /**
   * Faults inside system calls are handed over too; otherwise such a call fails with EFAULT. Needs privilege.
   */
  readonly kernelFaults: boolean;
  /** UFFD_FEATURE_* bits that the kernel has, more than are asked for here. */
  readonly features: number;
}

const notRegistered = -2; // ENOENT

/** In the order of the addon's; `kernelFaults` of each. */
const ways = [true, true, false] as const;

/**
 * A userfaultfd of this process: by the system call where faults of the kernel are allowed, else through
 * /dev/userfaultfd, else for faults of user space alone. `remapEvents` (default: false) reports what
 * `moveMapping` does. EPERM or ENOSYS where there is none (seccomp, an old kernel), EINVAL where it cannot
 * write-protect shared memory (before Linux 5.19).
 */
export function createUserfault({ remapEvents = false }: { remapEvents?: boolean } = {}): Userfault {
  const features = new Float64Array(1);
  let result = 0;
  for (const [way, kernelFaults] of ways.entries()) {
    result = addon.createUserfault(way, remapEvents, features);
    if (result >= 0) return { fd: result, kernelFaults, features: features[0] ?? 0 };
  }
  throw new FsError(codeOfErrno(-result), 'userfaultfd');
}

/** proc(5), /proc/self/fd: whether an open descriptor is a userfaultfd, of this or another process. */
export const isUserfault = (fd: number): boolean =>
  readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[userfaultfd]';

/** Which touches wait: of a page that is absent, a store into a protected one, of one that is not mapped. */
export interface RegisterMode {
  readonly missing?: boolean;
  readonly writeProtect?: boolean;
  readonly minor?: boolean;
}

/**
 * UFFDIO_REGISTER. EPERM for a mapping of a read-only descriptor, EBUSY when another userfaultfd has the
 * range, ENOMEM when the process is gone, EINVAL without any mode and where nothing is mapped.
 */
export function registerUserfault(fd: number, address: number, length: number, mode: RegisterMode): void {
  const { missing = false, writeProtect = false, minor = false } = mode;
  checked(addon.registerUserfault(fd, address, length, missing, writeProtect, minor), 'ioctl');
}

/** UFFDIO_UNREGISTER: whoever waits in the range goes on. */
export const unregisterUserfault = (fd: number, address: number, length: number): void => {
  checked(addon.unregisterUserfault(fd, address, length), 'ioctl');
};

/**
 * UFFDIO_WRITEPROTECT: stores into the range wait (on), also into pages that are absent yet; or go on, and
 * whoever waits is woken (off). ENOENT where nothing is registered for it.
 */
export const writeProtectUserfault = (fd: number, address: number, length: number, on: boolean): void => {
  checked(addon.writeProtectUserfault(fd, address, length, on), 'ioctl');
};

/** As `writeProtectUserfault`, on; false, and nothing done to be relied on, where it would be ENOENT. */
export function protectRegistered(fd: number, address: number, length: number): boolean {
  const result = addon.writeProtectUserfault(fd, address, length, true);
  return result !== notRegistered && checked(result, 'ioctl') === 0;
}

/** UFFDIO_WAKE: whoever waits in the range tries again, also when its mapping was replaced. */
export const wakeUserfault = (fd: number, address: number, length: number): void => {
  checked(addon.wakeUserfault(fd, address, length), 'ioctl');
};

export interface UserfaultCopy {
  /** In the process of the userfaultfd. */
  readonly address: number;
  /** In this process. */
  readonly source: number;
  readonly length: number;
  /** Default: false. Stores into the new pages wait. */
  readonly writeProtect?: boolean;
  /** Default: true. Whoever waits for the new pages goes on. */
  readonly wake?: boolean;
}

/**
 * UFFDIO_COPY: fills absent pages; how many bytes. It stops at the first page that it cannot fill. Called
 * again with the rest it tells why: 0 when that page is present already (EEXIST; nobody who waits there is
 * woken), else an error. ENOMEM when tmpfs is full, ENOENT where nothing is registered, EFAULT for a source
 * that cannot be read, ENOSPC when the process is gone.
 */
export const copyUserfault = (
  fd: number,
  { address, source, length, writeProtect = false, wake = true }: UserfaultCopy,
): number => checked(addon.copyUserfault(fd, address, source, length, writeProtect, wake), 'ioctl');

/**
 * UFFDIO_CONTINUE: maps pages that the file has already, in a range registered for `minor`; how many bytes,
 * as for `copyUserfault`. EFAULT for a page that the file lacks.
 */
export const continueUserfault = (fd: number, address: number, length: number): number =>
  checked(addon.continueUserfault(fd, address, length), 'ioctl');

/** UFFDIO_ZEROPAGE: fills absent pages with zeros; how many bytes, as for `copyUserfault`. */
export const zeroUserfault = (fd: number, address: number, length: number): number =>
  checked(addon.zeroUserfault(fd, address, length), 'ioctl');

/**
 * UFFDIO_POISON: from here on a touch of these absent pages is SIGBUS; how many bytes, as for
 * `copyUserfault`. EINVAL before Linux 6.6.
 */
export const poisonUserfault = (fd: number, address: number, length: number): number =>
  checked(addon.poisonUserfault(fd, address, length), 'ioctl');

export type UserfaultEvent =
  | {
      readonly type: 'fault';
      /** Its page. */
      readonly address: number;
      readonly write: boolean;
      readonly writeProtect: boolean;
      readonly minor: boolean;
      readonly threadId: number;
    }
  | { readonly type: 'remap'; readonly from: number; readonly to: number; readonly length: number }
  | { readonly type: 'remove' | 'unmap'; readonly start: number; readonly end: number };

/** linux/userfaultfd.h: UFFD_EVENT_* and UFFD_PAGEFAULT_FLAG_*. */
const events = { fault: 0x12, remap: 0x14, remove: 0x15 } as const;
const faultFlags = { write: 1, writeProtect: 2, minor: 4 } as const;
const columns = 4;

/** What the last call has read. */
const mostEvents = 256;
const rows = new Float64Array(mostEvents * columns);

/**
 * read(2): what happened since the last call, at most `max` (1 to 256) events; empty when nothing did. EINVAL
 * for a descriptor that is no userfaultfd.
 */
export function readUserfaultEvents(fd: number, max = mostEvents): UserfaultEvent[] {
  const room = max === mostEvents ? rows : rows.subarray(0, max * columns);
  const count = unlessBusy(addon.readUserfaultEvents(fd, room), 'read') ?? 0;
  const found: UserfaultEvent[] = [];
  for (let at = 0; at < count * columns; at += columns) found.push(eventAt(at));
  return found;
}

function eventAt(at: number): UserfaultEvent {
  const [event = 0, a = 0, b = 0, c = 0] = [rows[at], rows[at + 1], rows[at + 2], rows[at + 3]];
  switch (event) {
    case events.fault:
      return {
        type: 'fault',
        address: a,
        write: (b & faultFlags.write) !== 0,
        writeProtect: (b & faultFlags.writeProtect) !== 0,
        minor: (b & faultFlags.minor) !== 0,
        threadId: c,
      };
    case events.remap:
      return { type: 'remap', from: a, to: b, length: c };
    default:
      return { type: event === events.remove ? 'remove' : 'unmap', start: a, end: b };
  }
}
