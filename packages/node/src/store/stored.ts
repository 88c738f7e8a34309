/**
 * Where the content of one file lies in the store, and how that changes. Arithmetic without side effects.
 *
 * INVARIANT: the extents of a file are in order, share no file page, and each has a sum for every page.
 */
import type { Run } from '@cluster-fs/transport';
import { subtract } from '../coordinator/runs.ts';

/** A run of file pages in a run of places. */
export interface StoredExtent {
  readonly filePage: number;
  readonly count: number;
  readonly place: number;
  /** xxHash64 of each page. */
  readonly sums: BigUint64Array;
}

/** File pages. */
export interface Range {
  readonly from: number;
  readonly count: number;
}

export const wholeFile: Range = { from: 0, count: 2 ** 32 };

/** Pages of one extent at most: what is rewritten when one page of it changes stays small. */
export const extentPages = 256;

const asRuns = (ranges: readonly Range[]): Run[] => ranges.map(({ from, count }) => ({ page: from, count }));

/** The parts of `e` that are in `ranges`, or with `outside` those that are not. */
function parts(e: StoredExtent, ranges: readonly Range[], { outside }: { outside: boolean }): StoredExtent[] {
  const own = [{ page: e.filePage, count: e.count }];
  const out = subtract(own, asRuns(ranges));
  return (outside ? out : subtract(own, out)).map(({ page, count }) => {
    const skip = page - e.filePage;
    return { filePage: page, count, place: e.place + skip, sums: e.sums.slice(skip, skip + count) };
  });
}

/** What becomes of a file's extents: rows that go, rows that come, places that nobody names any more. */
export interface StoredChange {
  readonly remove: readonly number[];
  readonly put: readonly StoredExtent[];
  readonly freed: readonly Run[];
}

/**
 * The change from `before` when the pages of `rewritten` are now in `written` (or zeros, where that has
 * none), and nothing outside of `kept` is part of the file any more.
 */
export function changeStored(
  before: readonly StoredExtent[],
  {
    rewritten,
    written,
    kept,
  }: { rewritten: readonly Range[]; written: readonly StoredExtent[]; kept: readonly Range[] },
): StoredChange {
  const remove: number[] = [];
  const put: StoredExtent[] = [...written];
  const freed: Run[] = [];
  for (const e of before) {
    const left = parts(e, kept, { outside: false }).flatMap((part) =>
      parts(part, rewritten, { outside: true }),
    );
    if (left.length === 1 && left[0]?.count === e.count) continue;
    remove.push(e.filePage);
    put.push(...left);
    const own = [{ page: e.place, count: e.count }];
    freed.push(
      ...subtract(
        own,
        left.map(({ place, count }) => ({ page: place, count })),
      ),
    );
  }
  return { remove, put, freed };
}

/** What is stored after that change, in order. */
export function afterChange(
  before: readonly StoredExtent[],
  { remove, put }: StoredChange,
): readonly StoredExtent[] {
  const removed = new Set(remove);
  const left = before.filter(({ filePage }) => !removed.has(filePage));
  return [...left, ...put].sort((a, b) => a.filePage - b.filePage);
}
