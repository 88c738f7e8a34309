/**
 * Reading what is in a file, without asking anybody.
 *
 * A reader notes where the bytes lie, copies them with pread, and then looks whether the layout is still what
 * it noted. When it is not, the pages may have become another file's while they were copied, so the copy is
 * thrown away and made again. Stores into pages in place do not move the layout: a reader may see such a
 * write half done, as on any shared file.
 * INVARIANT: no byte of another file is ever returned, nor one that was copied when the lease of the file's
 * home was over (docs/coherence.md).
 * A file of which every part changes faster than it can be read whole is read in parts, each true for itself.
 */
import type { Extent } from '@cluster-fs/transport';
import { FsError } from '@cluster-fs/transport';
import {
  absentRuns,
  counter,
  homeIn,
  InodeCopy,
  isDirectory,
  isHeldAt,
  pageSize,
  readExtents,
  readInode,
  type Segment,
  unchanged,
} from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import type { Context } from './context.ts';
import { limits as copyLimits, type Piece, readPieces, readPiecesNow } from './data-file.ts';

export const limits = {
  /** Times that a range is read whole before it is read in parts. */
  wholeAttempts: 4,
  /**
   * What is read in one go then. It takes a fraction of a millisecond, in which few writers move a layout
   * twice.
   */
  partBytes: 256 * 1024,
  /** Times that a part is read. */
  partAttempts: 1000,
} as const;

/** A file to read from: which inode, and where it lay when it was last looked at. */
export class Source {
  readonly ino: number;
  readonly generation: number;
  readonly inode = new InodeCopy();
  extents: readonly Extent[] = [];
  #evictions = 0;
  #segment: Segment | undefined;
  /** What a buffer for the whole of it was made for. */
  #sizedFor: { readonly layoutVersion: number; readonly size: number } | undefined;

  constructor(ino: number, generation: number) {
    this.ino = ino;
    this.generation = generation;
  }

  /** Looks where the file lies now. Throws ESTALE when the inode is gone, EISDIR when it is a directory. */
  refresh(segment: Segment): void {
    this.#evictions = counter(segment, 'evictions');
    if (segment === this.#segment && unchanged(segment, this.inode)) return;
    this.extents = readExtents(segment, this.ino, this.inode);
    if (this.inode.generation !== this.generation) throw staleError();
    if (isDirectory(this.inode.mode)) throw new FsError('EISDIR', 'read');
    this.#segment = segment;
    const { layoutVersion, size } = this.#sizedFor ?? this.inode;
    if (this.inode.size > size && this.inode.layoutVersion !== layoutVersion) throw new Outgrown();
  }

  /** From here on it is read for a buffer of the size that it has now: see `Outgrown`. */
  expectSize(): void {
    const { layoutVersion, size } = this.inode;
    this.#sizedFor = { layoutVersion, size };
  }

  /** The same file, to look by itself where it lies. */
  again(): Source {
    const source = new Source(this.ino, this.generation);
    source.#sizedFor = this.#sizedFor;
    return source;
  }

  /**
   * Whether the bytes still lie where `refresh` saw them. Growth within the last page and new times do not
   * matter.
   */
  stands(segment: Segment): boolean {
    if (segment !== this.#segment || !isHeld(segment, this)) return false;
    // A page may have become a hole while it was copied.
    if (counter(segment, 'evictions') !== this.#evictions) return false;
    if (unchanged(segment, this.inode)) return true;
    const { generation, layoutVersion } = this.inode;
    const now = new InodeCopy();
    return (
      readInode(segment, this.ino, now) &&
      now.generation === generation &&
      now.layoutVersion === layoutVersion
    );
  }
}

/**
 * Somebody reads a file whole, and it has got other content since its buffer was made, which does not go into
 * it: the beginning of one content, in the length of another, is neither.
 */
export class Outgrown extends Error {}

const staleError = () => new FsError('ESTALE', 'read', { why: 'the inode is gone' });

/** The pieces of `data` that hold `length` bytes of a file from `position` on. */
export function piecesOf(extents: readonly Extent[], position: number, length: number): Piece[] {
  const pieces: Piece[] = [];
  const end = position + length;
  let next = position;
  for (let i = firstOver(extents, position); i < extents.length && next < end; i++) {
    const { filePage, page, count } = extents[i] as Extent;
    const start = Math.max(filePage * pageSize, position);
    const stop = Math.min((filePage + count) * pageSize, end);
    if (start >= end) break;
    if (start > next) pieces.push({ at: next - position, from: undefined, length: start - next });
    const from = page * pageSize + start - filePage * pageSize;
    pieces.push({ at: start - position, from, length: stop - start });
    next = stop;
  }
  if (next < end) pieces.push({ at: next - position, from: undefined, length: end - next });
  return pieces;
}

/** Index of the first extent that ends behind `position`. */
function firstOver(extents: readonly Extent[], position: number): number {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { filePage, count } = extents[middle] as Extent;
    if ((filePage + count) * pageSize <= position) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Fills `target` from `position` on, and tells how many bytes there were. */
export function readNow(context: Context, source: Source, target: Uint8Array, position: number): number {
  for (let attempt = 0; attempt < limits.wholeAttempts; attempt++) {
    const count = tryNow(context, source, target, position);
    if (count !== undefined) return count;
  }
  return readInParts(context, source, target, position);
}

/** As `readNow`: at once when there is little to copy, else in libuv's pool. */
export function readAt(
  context: Context,
  source: Source,
  target: Uint8Array,
  position: number,
  signal?: AbortSignal,
): number | Promise<number> {
  const { backend } = context;
  const renewed = backend.access.renewed();
  if (renewed !== undefined) {
    return renewed.then(() => {
      backend.assertUsable('read');
      return readAt(context, source, target, position, signal);
    });
  }
  source.refresh(backend.segment);
  const count = available(source, target, position);
  const isThere = absentPages(context, source, position, count) === undefined;
  if (isThere && count <= copyLimits.immediateBytes) {
    return readNow(context, source, target, position);
  }
  // Of its own: another read may look again where the file lies while this one copies.
  return readLater(context, source.again(), target, position, signal);
}

async function readLater(
  context: Context,
  source: Source,
  target: Uint8Array,
  position: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { backend } = context;
  const check = () => {
    throwIfAborted(signal);
    backend.assertUsable('read');
  };
  for (let attempt = 0; attempt < limits.wholeAttempts; attempt++) {
    const renewed = backend.access.renewed();
    if (renewed !== undefined) await renewed;
    source.refresh(backend.segment);
    const count = available(source, target, position);
    const absent = absentPages(context, source, position, count);
    if (absent !== undefined) {
      await backend.fetchPages(source.ino, absent);
      continue;
    }
    await readPieces(backend, piecesOf(source.extents, position, count), target, check);
    if (source.stands(backend.segment)) return count;
  }
  return readInParts(context, source, target, position);
}

/**
 * Whether this host may use what it has of the file. A node that stands still does not know that it may not
 * any more, so everybody looks.
 */
function isHeld(segment: Segment, { ino }: { readonly ino: number }): boolean {
  if (!segment.paged) return true;
  return isHeldAt(segment, homeIn(segment, ino), process.hrtime.bigint());
}

/**
 * File pages of a range, from the first that is absent to the last; undefined when all are there. Without a
 * lease all are to be asked for.
 */
function absentPages(
  { backend }: Pick<Context, 'backend'>,
  source: Source,
  position: number,
  length: number,
): { from: number; count: number } | undefined {
  const { segment } = backend;
  const { extents } = source;
  if (!isHeld(segment, source)) {
    const first = Math.floor(position / pageSize);
    return { from: first, count: Math.ceil((position + length) / pageSize) - first };
  }
  if (!segment.paged || counter(segment, 'absentPages') === 0) return undefined;
  let from = Number.POSITIVE_INFINITY;
  let end = 0;
  for (const { at, from: offset, length: bytes } of piecesOf(extents, position, length)) {
    if (offset === undefined) continue;
    const first = Math.floor(offset / pageSize);
    const runs = absentRuns(segment, { page: first, count: Math.ceil((offset + bytes) / pageSize) - first });
    const toFile = Math.floor((position + at) / pageSize) - first;
    for (const { page, count } of runs) {
      from = Math.min(from, page + toFile);
      end = Math.max(end, page + toFile + count);
    }
  }
  return end === 0 ? undefined : { from, count: end - from };
}

const available = ({ inode }: Source, target: Uint8Array, position: number): number =>
  Math.max(0, Math.min(target.length, inode.size - position));

/** One attempt; undefined when the layout moved meanwhile, or pages had to be brought in. */
function tryNow(
  { backend }: Context,
  source: Source,
  target: Uint8Array,
  position: number,
): number | undefined {
  source.refresh(backend.segment);
  const count = available(source, target, position);
  const absent = absentPages({ backend }, source, position, count);
  if (absent !== undefined) {
    backend.fetchPagesNow(source.ino, absent);
    // They may have gone again: looked at once more.
    return undefined;
  }
  if (count > 0) readPiecesNow(backend, piecesOf(source.extents, position, count), target);
  return source.stands(backend.segment) ? count : undefined;
}

function readInParts(context: Context, source: Source, target: Uint8Array, position: number): number {
  let done = 0;
  while (done < target.length) {
    const part = target.subarray(done, done + limits.partBytes);
    const count = readPart(context, source, part, position + done);
    done += count;
    if (count < part.length) break;
  }
  return done;
}

function readPart(context: Context, source: Source, part: Uint8Array, position: number): number {
  for (let attempt = 0; attempt < limits.partAttempts; attempt++) {
    const count = tryNow(context, source, part, position);
    if (count !== undefined) return count;
  }
  throw new FsError('EAGAIN', 'read', { why: 'the file moves faster than it can be read' });
}
