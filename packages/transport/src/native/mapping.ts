/**
 * Memory mappings. Addresses are plain numbers (47 bits); addresses, offsets and lengths are bytes. Who maps
 * unmaps.
 */
import { addon, checked, positionOf } from './binding.ts';

/** Bytes of a page: sysconf(3), _SC_PAGESIZE; 4096 on x86-64. */
export const pageSize: number = addon.pageSize();

const protections = ['none', 'read', 'read-write'] as const;
/** mmap(2): what a touch may do. Any other is SIGSEGV. */
export type Protection = (typeof protections)[number];

const bitsOf = (protection: Protection): number => positionOf(protections, protection, 'protection');

/**
 * mmap(2), PROT_NONE: a range of addresses that nothing is mapped to and nobody else gets; a touch is
 * SIGSEGV. It takes no memory. ENOMEM when no range is that long, EINVAL for 0.
 */
export const reserveAddressRange = (length: number): number => checked(addon.reserve(length), 'mmap');

export interface FileMapping {
  readonly fd: number;
  /** On a page. */
  readonly offset: number;
  readonly length: number;
  readonly protection: Protection;
  /** Maps over whatever is at this page, in one step (MAP_FIXED); without it the kernel chooses. */
  readonly address?: number;
  /** Makes all pages present at once (MAP_POPULATE). Default: each at its first touch. */
  readonly populate?: boolean;
}

/**
 * mmap(2), MAP_SHARED: the pages of a file; where they are. A touch past the end of the file is SIGBUS.
 * EACCES when the descriptor does not allow the protection, EPERM when a seal forbids it, EINVAL for an
 * offset that is not on a page, and with `address` for anything but whole pages.
 */
export function mapFile({ fd, offset, length, protection, address, populate = false }: FileMapping): number {
  const fixed = address !== undefined;
  const at = address ?? 0;
  return checked(addon.mapFile(fd, offset, length, bitsOf(protection), populate, fixed, at), 'mmap');
}

export interface AnonymousMapping {
  /** On a page. */
  readonly address: number;
  /** Whole pages. */
  readonly length: number;
  readonly protection: Protection;
}

/**
 * mmap(2), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE: memory of this process that reads as
 * zeros, over whatever is there, in one step; returns `address`. EINVAL for anything but whole pages.
 */
export const mapAnonymous = ({ address, length, protection }: AnonymousMapping): number =>
  checked(addon.mapAnonymous(address, length, bitsOf(protection)), 'mmap');

/**
 * mremap(2), MREMAP_MAYMOVE | MREMAP_FIXED: moves a mapping, with its registration at a userfaultfd, over
 * another in one step; returns `to`. With remap events it waits until the event is read, by another thread.
 * EFAULT when nothing is mapped at `from`, EINVAL for anything but whole pages and for ranges that overlap.
 */
export const moveMapping = ({ from, to, length }: { from: number; to: number; length: number }): number =>
  checked(addon.moveMapping(from, to, length), 'mremap');

/**
 * mprotect(2). EACCES when the descriptor that was mapped does not allow it, ENOMEM where nothing is mapped,
 * EINVAL for anything but whole pages.
 */
export const protectMapping = (address: number, length: number, protection: Protection): void => {
  checked(addon.protectMapping(address, length, bitsOf(protection)), 'mprotect');
};

const advices = [
  'normal',
  'random',
  'sequential',
  'will-need',
  'dont-need',
  'huge-page',
  'no-huge-page',
  'dont-dump',
  'populate-read',
  'populate-write',
] as const;
export type Advice = (typeof advices)[number];

/**
 * madvise(2). 'populate-read' and 'populate-write' make pages present and tell with EFAULT or ENOMEM when
 * that fails, where a touch would be SIGBUS. EINVAL for anything but whole pages and for advice that the
 * kernel does not know, ENOMEM where nothing is mapped.
 */
export const adviseMapping = (address: number, length: number, advice: Advice): void => {
  checked(addon.adviseMapping(address, length, positionOf(advices, advice, 'advice')), 'madvise');
};

/**
 * msync(2), MS_SYNC: waits until stores are in the file. EINVAL off a page, ENOMEM where nothing is mapped.
 */
export const syncMapping = (address: number, length: number): void => {
  checked(addon.syncMapping(address, length), 'msync');
};

/**
 * munmap(2). Requires: no array is over the range any more; a touch is SIGSEGV, or another mapping's bytes.
 * EINVAL off a page and for length 0; nothing mapped there is no error.
 */
export const unmap = (address: number, length: number): void => {
  checked(addon.unmap(address, length), 'munmap');
};
