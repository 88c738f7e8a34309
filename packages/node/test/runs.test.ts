/** The laws of runs and extents, against sets of pages: the simplest thing that is surely right. */
import type { Extent, Run } from '@cluster-fs/transport';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  clip,
  clipAll,
  coalesce,
  layOut,
  type Moved,
  merge,
  overlap,
  pageCountOf,
  pagesLeft,
  splice,
  substitute,
  subtract,
} from '../src/coordinator/runs.ts';

/** Disjoint runs in any order: pieces of the pages 0 .. 200. */
const runs: fc.Arbitrary<Run[]> = fc
  .array(fc.tuple(fc.nat(6), fc.integer({ min: 1, max: 9 })), { maxLength: 12 })
  .chain((pieces) => {
    let page = 0;
    const placed = pieces.map(([gap, count]) => {
      const run = { page: page + gap, count };
      page += gap + count;
      return run;
    });
    return fc.shuffledSubarray(placed);
  });

/** Extents in file order, with holes, each on pages of its own. */
const extents: fc.Arbitrary<Extent[]> = fc
  .tuple(runs, fc.array(fc.nat(4), { minLength: 12, maxLength: 12 }))
  .map(([places, gaps]) => {
    let filePage = 0;
    return places.map(({ page, count }, i) => {
      const extent = { filePage: filePage + (gaps[i] ?? 0), page, count };
      filePage = extent.filePage + count;
      return extent;
    });
  });

const range = fc.record({ from: fc.nat(80), count: fc.nat(60) });

const pagesOf = (list: readonly Run[]): Set<number> =>
  new Set(list.flatMap(({ page, count }) => Array.from({ length: count }, (_, i) => page + i)));
/** Which page of the segment each page of the file lies in. */
const layoutOf = (list: readonly Extent[]): Map<number, number> =>
  new Map(
    list.flatMap(({ filePage, page, count }) =>
      Array.from({ length: count }, (_, i) => [filePage + i, page + i] as const),
    ),
  );
const overlapInFile = (e: Extent, list: readonly Extent[]): boolean =>
  clip(list, e.filePage, e.count).length > 0;
const sorted = (map: ReadonlyMap<number, number>) => [...map].sort(([a], [b]) => a - b);

function expectInOrder(list: readonly Extent[]): void {
  for (const [i, extent] of list.entries()) {
    expect(extent.count).toBeGreaterThan(0);
    const before = list[i - 1];
    if (before !== undefined) expect(before.filePage + before.count).toBeLessThanOrEqual(extent.filePage);
  }
}

describe('runs', () => {
  test('subtract leaves the pages that are in the one and not in the other', () => {
    fc.assert(
      fc.property(runs, runs, (list, minus) => {
        const left = subtract(list, minus);
        const gone = pagesOf(minus);
        expect(pagesOf(left)).toEqual(new Set([...pagesOf(list)].filter((page) => !gone.has(page))));
        expect(pageCountOf(left)).toBe(pagesOf(left).size);
        expect(left.every(({ count }) => count > 0)).toBe(true);
      }),
    );
  });

  test('pagesLeft is what subtract says, of a file before and after', () => {
    /** Some extents go, some move, some come: what they are then, in file order. */
    const change = fc.tuple(extents, extents, fc.array(fc.boolean(), { minLength: 24, maxLength: 24 }));
    fc.assert(
      fc.property(change, ([before, others, keep]) => {
        const kept = before.filter((_, i) => keep[i]);
        const moved = others.map((e) => ({ ...e, page: e.page + 300 }));
        const added = moved.filter((e, i) => keep[12 + i] && !overlapInFile(e, kept));
        const after = merge(kept, added);
        expect(pagesOf(pagesLeft(before, after))).toEqual(pagesOf(subtract(before, after)));
      }),
    );
  });

  test('subtract takes away what overlaps itself, too', () => {
    expect(
      subtract(
        [{ page: 0, count: 10 }],
        [
          { page: 2, count: 3 },
          { page: 2, count: 1 },
          { page: 4, count: 2 },
        ],
      ),
    ).toEqual([
      { page: 0, count: 2 },
      { page: 6, count: 4 },
    ]);
  });

  test('overlap tells whether they share a page', () => {
    fc.assert(
      fc.property(runs, runs, (a, b) => {
        const pages = pagesOf(b);
        expect(overlap(a, b)).toBe([...pagesOf(a)].some((page) => pages.has(page)));
        expect(overlap(b, a)).toBe(overlap(a, b));
        expect(overlap(a, a)).toBe(a.length > 0);
      }),
    );
  });
});

describe('extents', () => {
  test('clip keeps the pages of a range, where they are', () => {
    fc.assert(
      fc.property(extents, range, (list, { from, count }) => {
        const kept = [...layoutOf(list)].filter(([page]) => page >= from && page < from + count);
        const clipped = clip(list, from, count);
        expect(layoutOf(clipped)).toEqual(new Map(kept));
        expectInOrder(clipped);
      }),
    );
  });

  test('clipAll is clip of one range after the other', () => {
    fc.assert(
      fc.property(extents, extents, (list, ranges) => {
        const clipped = ranges.flatMap(({ filePage, count }) => clip(list, filePage, count));
        expect(clipAll(list, ranges)).toEqual(clipped);
      }),
    );
  });

  test('coalesce joins neighbours and changes nothing else', () => {
    fc.assert(
      fc.property(extents, (list) => {
        const pieces = list.flatMap(({ filePage, page, count }) =>
          Array.from({ length: count }, (_, i) => ({ filePage: filePage + i, page: page + i, count: 1 })),
        );
        const joined = coalesce(pieces);
        expect(sorted(layoutOf(joined))).toEqual(sorted(layoutOf(list)));
        expect(coalesce(joined)).toEqual(joined);
        for (const [i, e] of joined.entries()) {
          const next = joined[i + 1];
          const neighbours =
            next !== undefined && e.filePage + e.count === next.filePage && e.page + e.count === next.page;
          expect(neighbours).toBe(false);
        }
      }),
    );
  });

  test('splice replaces a range and leaves the rest', () => {
    fc.assert(
      fc.property(extents, range, fc.boolean(), (list, { from, count }, fill) => {
        const replacement = fill && count > 0 ? [{ filePage: from, page: 1000, count }] : [];
        const expected = new Map([...layoutOf(list)].filter(([page]) => page < from || page >= from + count));
        for (const [filePage, page] of layoutOf(replacement)) expected.set(filePage, page);
        const spliced = splice(list, from, count, replacement);
        expect(sorted(layoutOf(spliced))).toEqual(sorted(expected));
        expectInOrder(spliced);
      }),
    );
  });

  test('layOut puts runs one behind the other in the file', () => {
    fc.assert(
      fc.property(runs, fc.nat(50), (list, filePage) => {
        const laid = layOut(list, filePage);
        const pages = list.flatMap(({ page, count }) => Array.from({ length: count }, (_, i) => page + i));
        expect(sorted(layoutOf(laid))).toEqual(pages.map((page, i) => [filePage + i, page]));
      }),
    );
  });

  test('substitute moves pages by what they are, and no others', () => {
    fc.assert(
      fc.property(extents, runs, fc.nat(500), (list, leaving, to) => {
        let next = 1000 + to;
        const moved: Moved[] = leaving.map(({ page, count }) => {
          const step = { from: page, to: next, count };
          next += count + 1;
          return step;
        });
        const where = new Map(
          moved.flatMap(({ from, to: at, count }) =>
            Array.from({ length: count }, (_, i) => [from + i, at + i] as const),
          ),
        );
        const expected = new Map(
          [...layoutOf(list)].map(([filePage, page]) => [filePage, where.get(page) ?? page]),
        );
        const substituted = substitute(list, moved);
        expect(sorted(layoutOf(substituted))).toEqual(sorted(expected));
        expectInOrder(substituted);
        const back = substitute(
          substituted,
          moved.map(({ from, to: at, count }) => ({ from: at, to: from, count })),
        );
        expect(sorted(layoutOf(back))).toEqual(sorted(layoutOf(list)));
      }),
    );
  });

  test('merge brings two that share no page of the file into one order', () => {
    fc.assert(
      fc.property(extents, range, (list, { from, count }) => {
        const inside = clip(list, from, count);
        const outside = splice(list, from, count, []);
        expect(sorted(layoutOf(merge(outside, inside)))).toEqual(sorted(layoutOf(list)));
        expectInOrder(merge(inside, outside));
      }),
    );
  });

  test('a file of a hundred thousand pieces is no trouble', () => {
    const list = Array.from({ length: 100_000 }, (_, i) => ({ filePage: i, page: i * 2, count: 1 }));
    const moved = list.map(({ page }, i) => ({ from: page, to: 500_000 + i, count: 1 }));
    expect(substitute(list, moved)).toEqual([{ filePage: 0, page: 500_000, count: 100_000 }]);
    expect(subtract(list, list)).toEqual([]);
    expect(
      overlap(
        list,
        list.map(({ page }) => ({ page: page + 1, count: 1 })),
      ),
    ).toBe(false);
  });
});
