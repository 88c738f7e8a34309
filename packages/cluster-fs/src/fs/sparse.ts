/**
 * Holes in files: fallocate(2), and SEEK_DATA and SEEK_HOLE of lseek(2). node:fs has none of these.
 *
 * Where the holes are is in shared memory, so looking for them asks nobody. A page is data or hole as a
 * whole; one that was allocated counts as data, also while nothing but zeros is in it.
 */
import { type Extent, FsError } from '@cluster-fs/transport';
import { InodeCopy, pageSize } from '../segment/index.ts';
import { booleanOf, integerOf, objectOf, pathOf } from './arguments.ts';
import { assertWritable, type Context, inodeOf } from './context.ts';
import type { Source } from './reading.ts';
import { sourceOf } from './whole-file.ts';

export const limits = {
  /** What one request changes at most: the node takes memory for it, and serves nobody else meanwhile. */
  rangeBytes: 64 * 2 ** 20,
} as const;

/** What a range of a file is to become. */
export type RangeMode = 'allocate' | 'punch' | 'zero';

export interface RangeOptions {
  /** Leaves the size as it is; what lies behind the end is left out then. Default false. */
  readonly keepSize?: boolean;
}

/** What an open file has beyond the FileHandle of node. */
export interface SparseHandle {
  /**
   * Makes a hole: the range reads as zeros and its whole pages are free. The size stays.
   *
   * @throws FsError EBADF, EINVAL, EBUSY (a pinned client maps it to write)
   */
  punchHole(offset: number, length: number): Promise<void>;
  /**
   * Fills the range with zeros and pages: later writes there do not fail with ENOSPC. Grows the file. When it
   * fails with ENOSPC, what comes before a multiple of 64 MiB may be done.
   *
   * @throws FsError EBADF, EINVAL, EFBIG, ENOSPC, EBUSY (a pinned client maps it to write)
   */
  zeroRange(offset: number, length: number, options?: RangeOptions): Promise<void>;
  /**
   * Gives the range pages where it has none; the bytes stay. Grows the file. As to ENOSPC see `zeroRange`.
   *
   * @throws FsError EBADF, EINVAL, EFBIG, ENOSPC
   */
  allocate(offset: number, length: number, options?: RangeOptions): Promise<void>;
  /** The first byte at or behind `offset` that is in a page. ENXIO when there is none. Asks nobody. */
  seekData(offset: number): Promise<number>;
  /**
   * The first byte at or behind `offset` that is in a hole; the end of the file counts as one. ENXIO behind
   * it. Asks nobody.
   */
  seekHole(offset: number): Promise<number>;
}

/** The same by path. */
export interface SparsePromises {
  punchHole(path: string, offset: number, length: number): Promise<void>;
  zeroRange(path: string, offset: number, length: number, options?: RangeOptions): Promise<void>;
  allocate(path: string, offset: number, length: number, options?: RangeOptions): Promise<void>;
  seekData(path: string, offset: number): Promise<number>;
  seekHole(path: string, offset: number): Promise<number>;
}

interface Range {
  readonly offset: number;
  readonly length: number;
  readonly keepSize: boolean;
}

/** The arguments of punchHole, zeroRange and allocate. EINVAL for what is no range, as in fallocate(2). */
export function rangeOf(offset: unknown, length: unknown, options?: unknown): Range {
  const range = { offset: integerOf(offset, 'offset'), length: integerOf(length, 'length') };
  const keepSize = booleanOf(objectOf(options ?? {}).keepSize ?? false, 'options.keepSize');
  if (range.offset < 0 || range.length <= 0) throw new FsError('EINVAL', 'fallocate');
  if (!Number.isSafeInteger(range.offset + range.length)) throw new FsError('EFBIG', 'fallocate');
  return { ...range, keepSize };
}

/** Changes a range of a file of `size` bytes, a part at a time when it is long. */
export async function changeRange(
  { backend, requests }: Context,
  file: { readonly path: string } | { readonly handle: number },
  mode: RangeMode,
  { offset, length, keepSize, size }: Range & { readonly size: number },
): Promise<void> {
  const end = offset + length;
  const stays = keepSize || mode === 'punch';
  if (!stays && end > backend.segment.pageCount * pageSize) {
    throw new FsError('EFBIG', 'fallocate', { why: 'larger than the segment' });
  }
  // The file has nothing behind its last page that could change.
  const limit = stays ? Math.min(end, Math.ceil(size / pageSize) * pageSize) : end;
  let at = offset;
  do {
    const next = Math.min(end, at - (at % pageSize) + limits.rangeBytes);
    await requests.request('fallocate', { ...file, mode, keepSize, offset: at, length: next - at });
    at = next;
  } while (at < limit);
}

/** The methods by path, as `fs.promises` has them. */
export function createSparsePromises(context: Context): SparsePromises {
  const change = async (path: unknown, mode: RangeMode, range: Range): Promise<void> => {
    const name = pathOf(path);
    assertWritable(context, 'fallocate', name);
    const { size } = inodeOf(context, name, 'fallocate', new InodeCopy());
    await changeRange(context, { path: name }, mode, { ...range, size });
  };
  const seek = async (path: unknown, offset: unknown, what: 'data' | 'hole'): Promise<number> => {
    const name = pathOf(path);
    return seekNow(context, sourceOf(context, name), integerOf(offset, 'offset'), what);
  };
  return {
    punchHole: async (path, offset, length) => change(path, 'punch', rangeOf(offset, length)),
    zeroRange: async (path, offset, length, options) =>
      change(path, 'zero', rangeOf(offset, length, options)),
    allocate: async (path, offset, length, options) =>
      change(path, 'allocate', rangeOf(offset, length, options)),
    seekData: (path, offset) => seek(path, offset, 'data'),
    seekHole: (path, offset) => seek(path, offset, 'hole'),
  };
}

/** lseek(2) with SEEK_DATA or SEEK_HOLE, but that no position moves. */
export function seekNow({ backend }: Context, source: Source, offset: number, what: 'data' | 'hole'): number {
  backend.assertUsable('lseek');
  source.refresh(backend.segment);
  const { size } = source.inode;
  const found = what === 'data' ? nextData(source.extents, offset) : nextHole(source.extents, offset);
  if (offset < 0 || offset >= size || (what === 'data' && found >= size)) throw new FsError('ENXIO', 'lseek');
  return Math.min(found, size);
}

/** The first byte at or behind `offset` in an extent; Infinity when there is none. */
export function nextData(extents: readonly Extent[], offset: number): number {
  const next = extents.find(({ filePage, count }) => (filePage + count) * pageSize > offset);
  return next === undefined ? Number.POSITIVE_INFINITY : Math.max(offset, next.filePage * pageSize);
}

/** The first byte at or behind `offset` in no extent; the end of the file is the caller's. */
export function nextHole(extents: readonly Extent[], offset: number): number {
  let at = offset;
  for (const { filePage, count } of extents) {
    const end = (filePage + count) * pageSize;
    if (end <= at) continue;
    if (filePage * pageSize > at) break;
    at = end;
  }
  return at;
}
