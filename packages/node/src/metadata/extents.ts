/** The extents of a file as a blob: `extent` records as in the segment format, one behind the other. */
import { assert, type Extent } from '@cluster-fs/transport';
import { layout } from 'cluster-fs/segment';

const extentWords = layout.extent.size / 4;
const wordOf = {
  filePage: layout.extent.offset.filePage / 4,
  page: layout.extent.offset.page / 4,
  count: layout.extent.offset.count / 4,
};

/** Typed arrays and not the struct's cursor: a file that was written here and there has many extents. */
export function encodeExtents(extents: readonly Extent[]): Uint8Array | null {
  if (extents.length === 0) return null;
  const words = new Uint32Array(extents.length * extentWords);
  storeExtents(extents, words, 0);
  return new Uint8Array(words.buffer);
}

/** Writes extents into words, from one on. */
export function storeExtents(extents: readonly Extent[], words: Uint32Array, from: number): void {
  let at = from;
  for (const { filePage, page, count } of extents) {
    words[at + wordOf.filePage] = filePage;
    words[at + wordOf.page] = page;
    words[at + wordOf.count] = count;
    at += extentWords;
  }
}

/** The blob is copied: a column may lie at any address. */
export function decodeExtents(blob: Uint8Array | null): Extent[] {
  if (blob === null) return [];
  assert(blob.length % layout.extent.size === 0, 'extents in SQLite are whole records');
  const words = new Uint32Array(new Uint8Array(blob).buffer);
  return extentsIn(words, 0, words.length);
}

/** The extents in words `from` .. `end`. */
export function extentsIn(words: Uint32Array, from: number, end: number): Extent[] {
  const extents: Extent[] = [];
  for (let at = from; at < end; at += extentWords) {
    extents.push({
      filePage: words[at + wordOf.filePage] as number,
      page: words[at + wordOf.page] as number,
      count: words[at + wordOf.count] as number,
    });
  }
  return extents;
}
