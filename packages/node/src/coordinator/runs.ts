/**
 * Arithmetic on runs of pages and on extents, the same for every change of a layout. Nothing here has a side
 * effect.
 */
import type { Extent, Run } from '@cluster-fs/transport';

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
  let result: Extent[] = [...extents];
  for (const { from, to, count } of moved) {
    result = result.flatMap((e) => {
      const start = Math.max(e.page, from);
      const stop = Math.min(e.page + e.count, from + count);
      if (start >= stop) return [e];
      const parts: Extent[] = [];
      if (e.page < start) parts.push({ ...e, count: start - e.page });
      parts.push({ filePage: e.filePage + start - e.page, page: to + start - from, count: stop - start });
      if (stop < e.page + e.count) {
        parts.push({ filePage: e.filePage + stop - e.page, page: stop, count: e.page + e.count - stop });
      }
      return parts;
    });
  }
  return coalesce(result);
}

/** Whether two lists of runs share a page. */
export const overlap = (a: readonly Run[], b: readonly Run[]): boolean =>
  a.some((x) => b.some((y) => x.page < y.page + y.count && y.page < x.page + x.count));

/** The pages of `runs` that are not in `minus`. */
export function subtract(runs: readonly Run[], minus: readonly Run[]): Run[] {
  let left: Run[] = runs.map(({ page, count }) => ({ page, count }));
  for (const m of minus) {
    left = left.flatMap((r) => {
      const start = Math.max(r.page, m.page);
      const stop = Math.min(r.page + r.count, m.page + m.count);
      if (start >= stop) return [r];
      const parts: Run[] = [];
      if (r.page < start) parts.push({ page: r.page, count: start - r.page });
      if (stop < r.page + r.count) parts.push({ page: stop, count: r.page + r.count - stop });
      return parts;
    });
  }
  return left;
}
