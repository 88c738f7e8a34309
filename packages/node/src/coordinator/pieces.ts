/** A range of a file as ranges of `data`. */
import type { Extent } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';

export interface Piece {
  /** In the range. */
  readonly at: number;
  /** In `data`. */
  readonly from: number;
  readonly length: number;
}

/** Where the bytes from `offset` on lie; what is a hole is left out. */
export function piecesOf(extents: readonly Extent[], offset: number, length: number): Piece[] {
  const end = offset + length;
  const pieces: Piece[] = [];
  for (const { filePage, page, count } of extents) {
    const start = Math.max(filePage * pageSize, offset);
    const stop = Math.min((filePage + count) * pageSize, end);
    const from = page * pageSize + start - filePage * pageSize;
    if (start < stop) pieces.push({ at: start - offset, from, length: stop - start });
  }
  return pieces;
}
