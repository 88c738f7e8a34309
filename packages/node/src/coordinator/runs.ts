/**
 * Arithmetic on runs of pages and on extents, the same for every change of a layout. Nothing here has a side
 * effect.
 */
import type { Extent, Hole, Run } from '@cluster-fs/transport';

export const pageCountOf = (runs: readonly Run[]): number => runs.reduce((sum, r) => sum + r.count, 0);

/** The part of `extents` that lies in file pages `from` .. `from + count`. */
export function clip(extents: readonly Extent[], from: number, count: number): Extent[] {
  const end = from + count;
  const clipped: Extent[] = [];
  for (const e of extents) {
    const start = Math.max(e.filePage, from);
    const stop = Math.min(e.filePage + e.count, end);
    if (start < stop)
      clipped.push({ filePage: start, page: e.page + start - e.filePage, count: stop - start });
  }
  return clipped;
}

/** The parts of `extents` that lie in any of these file pages. Requires file order of both. */
export function clipAll(extents: readonly Extent[], ranges: readonly Hole[]): Extent[] {
  const clipped: Extent[] = [];
  let first = 0;
  for (const { filePage, count } of ranges) {
    const isBefore = (e: Extent | undefined): boolean => e !== undefined && e.filePage + e.count <= filePage;
    while (isBefore(extents[first])) first++;
    for (let i = first; ; i++) {
      const e = extents[i];
      if (e === undefined || e.filePage >= filePage + count) break;
      clipped.push(...clip([e], filePage, count));
    }
  }
  return clipped;
}

/** The part of `extents` that does not lie in file pages `from` .. `from + count`. */
export const without = (extents: readonly Extent[], from: number, count: number): Extent[] => [
  ...clip(extents, 0, from),
  ...clip(extents, from + count, Number.MAX_SAFE_INTEGER / 2),
];

/** Joins extents that are neighbours both in the file and in the segment. Requires file order. */
export function coalesce(extents: readonly Extent[]): Extent[] {
  const joined: Extent[] = [];
  for (const e of extents) {
    const last = joined.at(-1);
    if (
      last !== undefined &&
      last.filePage + last.count === e.filePage &&
      last.page + last.count === e.page
    ) {
      joined[joined.length - 1] = { ...last, count: last.count + e.count };
    } else joined.push(e);
  }
  return joined;
}

/** `extents` with file pages `from` .. `from + count` replaced by `replacement`. */
export function splice(
  extents: readonly Extent[],
  from: number,
  count: number,
  replacement: readonly Extent[],
): Extent[] {
  const before = clip(extents, 0, from);
  const after = clip(extents, from + count, Number.MAX_SAFE_INTEGER - from - count);
  return coalesce([...before, ...replacement, ...after]);
}

/** Lays `runs` out over consecutive file pages from `filePage` on. */
export function layOut(runs: readonly Run[], filePage: number): Extent[] {
  let next = filePage;
  return coalesce(
    runs.map(({ page, count }) => {
      const e = { filePage: next, page, count };
      next += count;
      return e;
    }),
  );
}

/** One step of a move: pages from `from` on are now at `to`. */
export interface Moved {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** `extents` after a move, by the identity of the pages; pages that did not move stay. */
export function substitute(extents: readonly Extent[], moved: readonly Moved[]): Extent[] {
  const steps = [...moved].sort((a, b) => a.from - b.from);
  return coalesce(extents.flatMap((e) => substituteOne(e, steps)));
}

/** Requires: steps in order of `from`, which do not overlap. */
function substituteOne(e: Extent, steps: readonly Moved[]): Extent[] {
  const parts: Extent[] = [];
  const end = e.page + e.count;
  let page = e.page;
  const part = (until: number, at: number): void => {
    if (until > page) parts.push({ filePage: e.filePage + page - e.page, page: at, count: until - page });
    page = Math.max(page, until);
  };
  for (let i = firstBehind(steps, e.page); i < steps.length; i++) {
    const { from, to, count } = steps[i] as Moved;
    if (from >= end) break;
    part(from, page);
    const until = Math.min(from + count, end);
    part(until, to + page - from);
  }
  part(end, page);
  return parts;
}

/** The first step that ends behind `page`. */
function firstBehind(steps: readonly Moved[], page: number): number {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const { from, count } = steps[middle] as Moved;
    if (from + count <= page) low = middle + 1;
    else high = middle;
  }
  return low;
}

const byPage = (runs: readonly Run[]): readonly Run[] =>
  runs.length < 2 ? runs : [...runs].sort((a, b) => a.page - b.page);

/** Whether two lists of runs share a page. */
export function overlap(a: readonly Run[], b: readonly Run[]): boolean {
  const left = byPage(a);
  const right = byPage(b);
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    const x = left[i] as Run;
    const y = right[j] as Run;
    if (x.page < y.page + y.count && y.page < x.page + x.count) return true;
    if (x.page + x.count <= y.page) i++;
    else j++;
  }
  return false;
}

/** The pages of `runs` that are not in `minus`, in order of their pages. */
export function subtract(runs: readonly Run[], minus: readonly Run[]): Run[] {
  const cuts = byPage(minus);
  const left: Run[] = [];
  let j = 0;
  for (const { page, count } of byPage(runs)) {
    const end = page + count;
    let at = page;
    while (j > 0 && (cuts[j - 1] as Run).page + (cuts[j - 1] as Run).count > page) j--;
    for (; j < cuts.length && (cuts[j] as Run).page < end; j++) {
      const cut = cuts[j] as Run;
      if (cut.page > at) left.push({ page: at, count: cut.page - at });
      at = Math.max(at, cut.page + cut.count);
    }
    if (at < end) left.push({ page: at, count: end - at });
  }
  return left;
}

/**
 * The pages of `before` that `after` does not name. Both are of one file, in file order: nearly always next
 * to nothing has changed, so what both begin and end with is left out before anything is sorted.
 */
export function pagesLeft(before: readonly Extent[], after: readonly Extent[]): Run[] {
  const shortest = Math.min(before.length, after.length);
  let first = 0;
  while (first < shortest && isSame(before[first], after[first])) first++;
  let last = 0;
  while (last < shortest - first && isSame(before.at(-1 - last), after.at(-1 - last))) last++;
  return subtract(before.slice(first, before.length - last), after.slice(first, after.length - last));
}

const isSame = (a: Extent | undefined, b: Extent | undefined): boolean =>
  a?.filePage === b?.filePage && a?.page === b?.page && a?.count === b?.count;

/** Extents of two lists that share no file page, as one list in file order. */
export const merge = (a: readonly Extent[], b: readonly Extent[]): Extent[] =>
  coalesce([...a, ...b].sort((x, y) => x.filePage - y.filePage));

/** Whether two lists name the same pages for the same file pages. Requires: both are coalesced. */
export const sameExtents = (a: readonly Extent[], b: readonly Extent[]): boolean =>
  a.length === b.length && a.every((e, i) => isSame(e, b[i]));
