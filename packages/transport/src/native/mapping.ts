/** Memory mappings. Addresses are plain numbers (47 bits), lengths are bytes. Who maps unmaps. */
import { FsError } from '../errors.ts';
import { call, checked, loadBinary } from './binding.ts';

/** Bytes of a page: 4096. */
export const pageSize: number = call('pageSize');

export type Protection = 'none' | 'read' | 'read-write';
const protections = { none: 0, read: 1, 'read-write': 3 } as const;
const flags = {
  shared: 0x01,
  private: 0x02,
  fixed: 0x10,
  anonymous: 0x20,
  noReserve: 0x4000,
  populate: 0x8000,
} as const;

const noDescriptor = -1;

/** mmap(2): a range of addresses that nothing is mapped to and nobody else gets; a touch is SIGSEGV. */
export const reserveAddressRange = (length: number): number =>
  checked(
    call(
      'map',
      0,
      length,
      protections.none,
      flags.private | flags.anonymous | flags.noReserve,
      noDescriptor,
      0,
    ),
    'mmap',
  );

export interface FileMapping {
  readonly fd: number;
  /** On a page. */
  readonly offset: number;
  readonly length: number;
  readonly protection: Protection;
  /** Maps over whatever is at this address, in one step (MAP_FIXED); without it the kernel chooses. */
  readonly address?: number;
  /** Makes all pages present at once. */
  readonly populate?: boolean;
}

/** mmap(2), MAP_SHARED: the pages of a file. EACCES when the descriptor does not allow the protection. */
export function mapFile({ fd, offset, length, protection, address, populate = false }: FileMapping): number {
  const how = flags.shared | (address === undefined ? 0 : flags.fixed) | (populate ? flags.populate : 0);
  return checked(call('map', address ?? 0, length, protections[protection], how, fd, offset), 'mmap');
}

export interface AnonymousMapping {
  readonly address: number;
  readonly length: number;
  readonly protection: Protection;
}

/**
 * mmap(2), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED: memory of this process that reads as zeros, over a range.
 */
export const mapAnonymous = ({ address, length, protection }: AnonymousMapping): number =>
  checked(
    call(
      'map',
      address,
      length,
      protections[protection],
      flags.private | flags.anonymous | flags.noReserve | flags.fixed,
      noDescriptor,
      0,
    ),
    'mmap',
  );

/** mremap(2), MREMAP_FIXED: moves a mapping over another, in one step. */
export const moveMapping = ({ from, to, length }: { from: number; to: number; length: number }): number =>
  checked(call('moveMapping', from, length, to), 'mremap');

/** mprotect(2). */
export const protectMapping = (address: number, length: number, protection: Protection): void => {
  checked(call('protect', address, length, protections[protection]), 'mprotect');
};

const advices = {
  normal: 0,
  random: 1,
  sequential: 2,
  'will-need': 3,
  'dont-need': 4,
  'huge-page': 14,
  'no-huge-page': 15,
  'dont-dump': 16,
  'populate-read': 22,
  'populate-write': 23,
} as const;

/** madvise(2). */
export const adviseMapping = (address: number, length: number, advice: keyof typeof advices): void => {
  checked(call('advise', address, length, advices[advice]), 'madvise');
};

/** msync(2), MS_SYNC. */
export const syncMapping = (address: number, length: number): void => {
  checked(call('syncMapping', address, length), 'msync');
};

/** munmap(2). Requires: no array is over the range any more. */
export const unmap = (address: number, length: number): void => {
  checked(call('unmap', address, length), 'munmap');
};

const refused = 'this runtime does not allow buffers over outside memory (a V8 memory cage)';

type MakeBuffer<T> = (address: number, length: number) => T;

/** What only V8's own interface can do; undefined when it was not built for this Node. */
const v8Buffers = loadBinary('v8_buffer') as
  | { arrayBufferAt: MakeBuffer<ArrayBuffer>; sharedArrayBufferAt: MakeBuffer<SharedArrayBuffer> }
  | undefined;

/**
 * An ArrayBuffer over memory that stays the caller's: it does not keep the mapping, and collecting it unmaps
 * nothing. Make one per mapping and hand out typed arrays on it. ENOTSUP where the runtime forbids external
 * buffers.
 */
export function arrayBufferAt(address: number, length: number): ArrayBuffer {
  if (v8Buffers !== undefined) return v8Buffers.arrayBufferAt(address, length);
  const buffer: unknown = call('arrayBufferAt', address, length);
  if (typeof buffer === 'number')
    throw new FsError('ENOTSUP', 'napi_create_external_arraybuffer', { why: refused });
  return buffer as ArrayBuffer;
}

/**
 * Takes the memory away from an ArrayBuffer: its length is 0 from here, and so is that of every array on it.
 */
export const detachArrayBuffer = (buffer: ArrayBuffer): void => {
  checked(call('detachArrayBuffer', buffer), 'napi_detach_arraybuffer');
};

/**
 * A SharedArrayBuffer over memory that stays the caller's. It cannot be detached, and other threads may have
 * it: the addresses must stay mapped to something for as long as the process lives. ENOTSUP where it was not
 * built.
 */
export function sharedArrayBufferAt(address: number, length: number): SharedArrayBuffer {
  if (v8Buffers !== undefined) return v8Buffers.sharedArrayBufferAt(address, length);
  throw new FsError('ENOTSUP', 'mmap', {
    why: 'SharedArrayBuffer over mapped memory was not built for this Node',
  });
}

/** Where the memory of a typed array is. */
export const addressOf = (view: ArrayBufferView): number => call('addressOf', view);
