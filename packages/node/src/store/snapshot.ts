/**
 * Copying the changed pages of a file to free places, while it is in use.
 *
 * Pages are read while the layout of the file is held, some MiB at a time, so that nobody waits long. What is
 * changed between two of these times is read again, and the last time takes all that is left: what has been
 * copied then is the file at that moment.
 */
import type { Extent, Run } from '@cluster-fs/transport';
import { InodeCopy, isFile, pageSize, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { clip, pageCountOf, subtract } from '../coordinator/runs.ts';
import { readAll, readAllNow } from './file-calls.ts';
import { Slab, slabBytes } from './slab.ts';
import type { StoreFile } from './store-file.ts';
import {
  afterChange,
  changeStored,
  extentPages,
  type Range,
  type StoredExtent,
  wholeFile,
} from './stored.ts';
import { sumsOf } from './sum.ts';
import type { WriteBack } from './write-back.ts';

export interface Snapshot {
  readonly ino: number;
  readonly generation: number;
  readonly size: number;
  readonly mtimeMs: number;
  /** Where the file had pages. */
  readonly extents: readonly Extent[];
  /** What was looked at: in `written`, or as it was stored, or zeros. */
  readonly ranges: readonly Range[];
  readonly written: readonly StoredExtent[];
  /** The bytes of what was written, when they are few: for the redo log. */
  readonly pieces: readonly WrittenPiece[];
}

export interface WrittenPiece {
  readonly place: number;
  readonly bytes: Buffer;
}

/** What a round writes at most for the redo log to take it: one flush of the disk instead of two. */
export const redoPages = 16;

/** Read while the layout is held: about a millisecond. */
const holdPages = 1024;
/**
 * After how many parts a file is held until all is read: when as much was read as was dirty, and as much
 * again, it is being stored into faster than it is read.
 */
const patienceFor = (dirtyPages: number): number => 2 * Math.ceil(dirtyPages / holdPages) + 8;

/** A part of a file, as it was while its layout was held. */
interface Part {
  readonly facts: Pick<Snapshot, 'generation' | 'size' | 'mtimeMs' | 'extents'>;
  /** The pages that were read, and their bytes. */
  readonly now: readonly Extent[];
  readonly bytes: readonly Buffer[];
  /** File pages that are known now: those, and holes between them. */
  readonly read: readonly Range[];
  /** What is stored of the file, where it may be the same. */
  readonly known: readonly StoredExtent[];
  /** Pages that are still to be read. */
  readonly left: number;
}

/**
 * Undefined when there is nothing to write: the file is clean, or gone. Requires: the inode is kept alive.
 */
export async function takeSnapshot(
  c: Coordinator,
  writeBack: WriteBack,
  ino: number,
): Promise<Snapshot | undefined> {
  const { dirty, file } = writeBack;
  const sinceMs = c.now();
  let seen: readonly Range[] = [];
  /** Of the part that is on its way: not dirty any more, and not written yet. */
  let underWay: readonly Range[] = [];
  let written: readonly StoredExtent[] = [];
  const pieces: WrittenPiece[] = [];
  let patience = Number.POSITIVE_INFINITY;
  try {
    for (let times = 0; ; times++) {
      const mayHold = times > patience;
      const part = await c.gate.exclusive(ino, () => {
        const read = () => readPart(c, writeBack, { ino, mayHold });
        // Of a file that is about to be this node's, what is here is read, and read again when it comes anew.
        return c.blocks?.isOwn(ino) === false ? read() : c.holding(ino, 'read', read);
      });
      if (part === undefined) {
        file.release(placesOf(written));
        return undefined;
      }
      underWay = part.read;
      if (times === 0) patience = patienceFor(pageCountOf(part.now) + part.left);
      const { ranges, stored } = await writePart(writeBack, part, pieces);
      const change = changeStored(written, { rewritten: part.read, written: stored, kept: [wholeFile] });
      written = afterChange(written, change);
      file.release(change.freed);
      // What was changed and is now as it is stored needs no new place: the one that it had is gone again.
      seen = [...withoutRanges(seen, part.read), ...ranges];
      if (part.left === 0) return { ino, ...part.facts, ranges: seen, written, pieces };
    }
  } catch (error) {
    file.release(placesOf(written));
    for (const range of [...seen, ...underWay]) dirty.mark(ino, range, sinceMs);
    throw error;
  }
}

export const placesOf = (stored: readonly StoredExtent[]): Run[] =>
  stored.map(({ place, count }) => ({ page: place, count }));

/**
 * Reads changed pages. What does not fit into one part stays dirty. Requires: the layout held. Undefined when
 * the file is clean or gone.
 */
async function readPart(
  c: Coordinator,
  { dirty, isMappedToWrite, stored }: WriteBack,
  { ino, mayHold }: { ino: number; mayHold: boolean },
): Promise<Part | undefined> {
  const inode = new InodeCopy();
  const taken = dirty.take(ino);
  if (taken === undefined || !readInode(c.segment, ino, inode) || !isFile(inode.mode)) return undefined;
  const { generation, size, mtimeMs } = inode;
  const extents = c.extents(ino);
  // Who stores through a view does not say where: what is the same as what is stored needs no place.
  const known = taken === 'all' || isMappedToWrite(ino) ? stored(ino) : [];
  const wanted = taken === 'all' ? [wholeFile] : taken;
  const inFile = wanted.flatMap(({ from, count }) => clip(extents, from, count));
  // An absent page is as it is stored.
  const absent = c.pager?.absentOf(inFile) ?? [];
  const pages = absent.length === 0 ? inFile : without(inFile, absent);
  const [now, later] = mayHold ? [pages, []] : firstPages(pages, holdPages);
  for (const { filePage, count } of later) dirty.mark(ino, { from: filePage, count }, c.now());
  const left = pageCountOf(later);
  try {
    const bytes: Buffer[] = [];
    for (const { page, count } of now) {
      const isFew = count <= redoPages;
      const buffer = isFew ? fewPages.take(count * pageSize) : Buffer.allocUnsafeSlow(count * pageSize);
      if (isFew) readAllNow(c.data.fd, buffer, page * pageSize, c.data.path);
      else await readAll(c.data.fd, buffer, page * pageSize, c.data.path);
      bytes.push(buffer);
    }
    const asRange = ({ filePage, count }: Extent): Range => ({ from: filePage, count });
    const read = left === 0 ? withoutRanges(wanted, absent.map(asRange)) : now.map(asRange);
    return { facts: { generation, size, mtimeMs, extents }, now, bytes, read, known, left };
  } catch (error) {
    for (const range of wanted) dirty.mark(ino, range, c.now());
    throw error;
  }
}

/** The extents, or parts of them, whose pages are not in `absent`. */
export function without(extents: readonly Extent[], absent: readonly Extent[]): Extent[] {
  return extents.flatMap(({ filePage, page, count }) =>
    subtract([{ page, count }], absent).map((run) => ({ filePage: filePage + run.page - page, ...run })),
  );
}

/** Requires: `ranges` share no page, nor do `minus`. */
const withoutRanges = (ranges: readonly Range[], minus: readonly Range[]): Range[] =>
  subtract(asRuns(ranges), asRuns(minus)).map(({ page, count }) => ({ from: page, count }));

const asRuns = (ranges: readonly Range[]): Run[] => ranges.map(({ from, count }) => ({ page: from, count }));

/** The first `limit` pages, and the others. */
function firstPages(extents: readonly Extent[], limit: number): [Extent[], Extent[]] {
  const first: Extent[] = [];
  const rest: Extent[] = [];
  let left = limit;
  for (const e of extents) {
    const count = Math.min(e.count, left);
    left -= count;
    if (count > 0) first.push({ ...e, count });
    if (count < e.count)
      rest.push({ filePage: e.filePage + count, page: e.page + count, count: e.count - count });
  }
  return [first, rest];
}

const zeros = Buffer.alloc(pageSize);

/** Of small rounds. */
const fewPages = new Slab();

/** One page on its way to the store. */
interface ChangedPage {
  readonly filePage: number;
  readonly bytes: Buffer;
  readonly sum: bigint;
}

/** Writes what has changed to free places. */
async function writePart(
  { file }: WriteBack,
  { now, bytes, read, known }: Part,
  pieces: WrittenPiece[],
): Promise<{ ranges: Range[]; stored: StoredExtent[] }> {
  const changed: ChangedPage[] = [];
  const same: Run[] = [];
  for (const [i, { filePage, count }] of now.entries()) {
    const pages = bytes[i] as Buffer;
    const sums = sumsOf(pages);
    for (let n = 0; n < count; n++) {
      const page = pages.subarray(n * pageSize, (n + 1) * pageSize);
      const sum = sums[n] as bigint;
      if (knownSum(known, filePage + n) === sum) same.push({ page: filePage + n, count: 1 });
      else if (!page.equals(zeros)) changed.push({ filePage: filePage + n, bytes: page, sum });
    }
  }
  const stored: StoredExtent[] = [];
  try {
    for (const group of consecutive(changed)) stored.push(await writeGroup(file, group, pieces));
  } catch (error) {
    file.release(placesOf(stored));
    throw error;
  }
  const ranges = subtract(asRuns(read), same).map(({ page, count }) => ({ from: page, count }));
  return { ranges, stored };
}

export function knownSum(known: readonly StoredExtent[], filePage: number): bigint | undefined {
  let low = 0;
  let high = known.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const e = known[middle] as StoredExtent;
    if (e.filePage + e.count <= filePage) low = middle + 1;
    else high = middle;
  }
  const e = known[low];
  return e === undefined || filePage < e.filePage ? undefined : e.sums[filePage - e.filePage];
}

/** Neighbours in the file, no more than an extent holds. */
function consecutive(pages: readonly ChangedPage[]): ChangedPage[][] {
  const groups: ChangedPage[][] = [];
  for (const page of pages) {
    const last = groups.at(-1);
    const fits = last !== undefined && last.length < extentPages;
    if (fits && (last.at(-1) as ChangedPage).filePage + 1 === page.filePage) last.push(page);
    else groups.push([page]);
  }
  return groups;
}

async function writeGroup(
  file: StoreFile,
  group: readonly ChangedPage[],
  pieces: WrittenPiece[],
): Promise<StoredExtent> {
  const count = group.length;
  const { page: place } = file.places.take(count);
  const sums = BigUint64Array.from(group, ({ sum }) => sum);
  try {
    const bytes = sideBySide(group) ?? Buffer.concat(group.map((page) => page.bytes));
    await file.write(place, bytes);
    // More than that is flushed to the data file itself, and needs no redo.
    if (count <= redoPages && pieces.length < redoPages) pieces.push({ place, bytes: kept(bytes) });
  } catch (error) {
    file.release([{ page: place, count }]);
    throw error;
  }
  return { filePage: (group[0] as ChangedPage).filePage, count, place, sums };
}

/** The bytes of pages that lie one behind the other in memory too, as those do that were read at once. */
function sideBySide(group: readonly ChangedPage[]): Buffer | undefined {
  const { buffer, byteOffset } = (group[0] as ChangedPage).bytes;
  const follows = group.every(
    ({ bytes }, i) => bytes.buffer === buffer && bytes.byteOffset === byteOffset + i * pageSize,
  );
  return follows ? Buffer.from(buffer, byteOffset, group.length * pageSize) : undefined;
}

/** What waits for SQLite must not keep the memory of a large read. */
const kept = (bytes: Buffer): Buffer => (bytes.buffer.byteLength > slabBytes ? Buffer.from(bytes) : bytes);
