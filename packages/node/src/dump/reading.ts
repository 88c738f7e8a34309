/**
 * Reading a file for a dump: attributes, holes and bytes that belong together. A file that is replaced
 * meanwhile is taken as it was; of what is stored in place meanwhile some may be in, as for any reader.
 */
import type { Stats } from 'node:fs';
import type { ClusterFs, Extent } from 'cluster-fs';
import type { Piece } from './format.ts';
import { openStill, type Still } from './still.ts';

const pageSize = 4096;
/** Read at once: a view costs more than these bytes. */
const smallBytes = 2 ** 20;
const chunkBytes = 2 ** 20;
/** How often a file is looked at that changes between two looks; then all of it counts as data. */
const mostLooks = 10;

export interface Reading {
  readonly stats: Stats;
  readonly size: number;
  /** Where the file has pages, within its size. Undefined when it has no holes. */
  readonly pieces: readonly Piece[] | undefined;
  /** The bytes of the pieces, or of the whole file. */
  chunks(): AsyncGenerator<Buffer>;
  close(): Promise<void> | void;
}

/**
 * Undefined when there is no file at the path (any more).
 *
 * @throws FsError EACCES, EIO
 */
export async function openReading(fs: ClusterFs, path: string): Promise<Reading | undefined> {
  for (let look = 1; ; look++) {
    const stats = fs.lstatSync(path, { throwIfNoEntry: false });
    if (stats?.isFile() !== true) return undefined;
    const source = await sourceOf(fs, path, stats);
    if (source === undefined) continue;
    const { size, close } = source;
    const extents = isSparse(stats) ? extentsOf(fs, path) : undefined;
    const isSettled = size === stats.size && isSame(stats, fs.lstatSync(path, { throwIfNoEntry: false }));
    if (!isSettled && look < mostLooks) {
      await close();
      continue;
    }
    const pieces = isSettled && extents !== undefined ? piecesOf(extents, size) : undefined;
    const parts = pieces ?? [{ offset: 0, length: size }];
    return { stats, size, pieces, close, chunks: () => chunksOf(source, parts) };
  }
}

/** Undefined when the file went just now. */
async function sourceOf(fs: ClusterFs, path: string, { size }: Stats): Promise<Still | undefined> {
  try {
    if (size <= smallBytes) {
      const bytes = await fs.promises.readFile(path);
      const read = (offset: number, length: number) =>
        Promise.resolve(bytes.subarray(offset, offset + length));
      return { size: bytes.length, read, close: () => undefined };
    }
    return await openStill(fs, path);
  } catch (error) {
    // What is there instead, if anything, is seen at the next look.
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function extentsOf(fs: ClusterFs, path: string): readonly Extent[] | undefined {
  try {
    return fs.extents(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

const missing = ['ENOENT', 'ENOTDIR', 'EISDIR', 'EINVAL'];

/** It is not there any more, or is another thing. */
export const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && missing.includes(String(error.code));

const isSparse = ({ size, blocks }: Stats): boolean => blocks * 512 < size;

/** Whatever changes pages or size of a file also changes one of these. */
const isSame = (a: Stats, b: Stats | undefined): boolean =>
  b !== undefined && a.ino === b.ino && a.ctimeMs === b.ctimeMs && a.birthtimeMs === b.birthtimeMs;

function piecesOf(extents: readonly Extent[], size: number): Piece[] {
  const pieces: { offset: number; length: number }[] = [];
  for (const { filePage, count } of extents) {
    const offset = filePage * pageSize;
    const length = Math.min(count * pageSize, size - offset);
    const last = pieces.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += length;
    else if (length > 0) pieces.push({ offset, length });
  }
  return pieces;
}

async function* chunksOf({ read }: Still, pieces: readonly Piece[]): AsyncGenerator<Buffer> {
  for (const { offset, length } of pieces)
    for (let at = offset; at < offset + length; at += chunkBytes)
      yield await read(at, Math.min(chunkBytes, offset + length - at));
}
