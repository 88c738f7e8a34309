/** Where content lies in a store: the arithmetic of extents, of free places, and of what is dirty. */
import type { Run } from '@cluster-fs/transport';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Dirty } from '../src/store/dirty.ts';
import { PageBuffer } from '../src/store/page-buffer.ts';
import { Places } from '../src/store/places.ts';
import { changeStored, type Range, type StoredExtent } from '../src/store/stored.ts';

const filePages = 40;
const ranges = fc
  .array(fc.record({ from: fc.nat(filePages - 1), count: fc.integer({ min: 1, max: 15 }) }), { maxLength: 4 })
  .map((list) => list.map(({ from, count }) => ({ from, count: Math.min(count, filePages - from) })));

const pagesOf = (list: readonly Range[]): Set<number> =>
  new Set(list.flatMap(({ from, count }) => Array.from({ length: count }, (_, i) => from + i)));

const placesIn = (runs: readonly Run[]): number[] =>
  runs.flatMap(({ page, count }) => Array.from({ length: count }, (_, i) => page + i));

/** Consecutive pages as ranges. */
function rangesOf(pages: Iterable<number>): Range[] {
  const found: { from: number; count: number }[] = [];
  for (const page of [...pages].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last !== undefined && last.from + last.count === page) last.count++;
    else found.push({ from: page, count: 1 });
  }
  return found;
}

interface Stored {
  readonly place: number;
  readonly sum: bigint;
}

/** Page by page what a table of extents says; fails when a page is named twice. */
function flatten(extents: Iterable<StoredExtent>): Map<number, Stored> {
  const pages = new Map<number, Stored>();
  for (const { filePage, count, place, sums } of extents) {
    expect(sums).toHaveLength(count);
    for (const [i, sum] of sums.entries()) {
      expect(pages.has(filePage + i), `page ${filePage + i} is named once`).toBe(false);
      pages.set(filePage + i, { place: place + i, sum });
    }
  }
  return pages;
}

/** One sync: pages that were looked at, which of them have content, and what is part of the file. */
const step = fc.record({
  rewritten: ranges,
  hasContent: fc.array(fc.boolean(), { minLength: filePages, maxLength: filePages }),
  kept: fc.oneof(fc.constant([{ from: 0, count: filePages }]), ranges),
});

describe('what is stored of a file', () => {
  test('is as a map of pages says, through any syncs, and no place is lost or named twice', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const table = new Map<number, StoredExtent>();
        const model = new Map<number, Stored>();
        const places = new Places([]);
        let nextSum = 1n;
        for (const { rewritten, hasContent, kept } of steps) {
          const isKept = pagesOf(kept);
          const looked = pagesOf(rewritten);
          const content = [...looked].filter((page) => isKept.has(page) && hasContent[page]);
          const written = rangesOf(content).map(({ from, count }): StoredExtent => {
            const sums = BigUint64Array.from({ length: count }, () => nextSum++);
            return { filePage: from, count, place: places.take(count).page, sums };
          });
          const change = changeStored([...table.values()], { rewritten, written, kept });

          for (const page of [...model.keys()]) if (!isKept.has(page) || looked.has(page)) model.delete(page);
          for (const [page, stored] of flatten(written)) model.set(page, stored);
          for (const filePage of change.remove) expect(table.delete(filePage)).toBe(true);
          for (const e of change.put) {
            expect(table.has(e.filePage), 'a row that stays is not put again').toBe(false);
            table.set(e.filePage, e);
          }
          places.release(change.freed);

          expect(flatten(table.values())).toEqual(model);
          const named = [...model.values()].map(({ place }) => place);
          expect(new Set(named).size).toBe(named.length);
          expect(places.end - 1 - places.freeCount).toBe(named.length);
        }
      }),
    );
  });

  test('keeps the rows that nothing of the change touches', () => {
    const untouched = { filePage: 0, count: 4, place: 1, sums: BigUint64Array.of(1n, 2n, 3n, 4n) };
    const cut = { filePage: 10, count: 4, place: 5, sums: BigUint64Array.of(5n, 6n, 7n, 8n) };
    const change = changeStored([untouched, cut], {
      rewritten: [{ from: 11, count: 2 }],
      written: [{ filePage: 11, count: 1, place: 9, sums: BigUint64Array.of(9n) }],
      kept: [{ from: 0, count: 20 }],
    });
    expect(change).toEqual({
      remove: [10],
      put: [
        { filePage: 11, count: 1, place: 9, sums: BigUint64Array.of(9n) },
        { filePage: 10, count: 1, place: 5, sums: BigUint64Array.of(5n) },
        { filePage: 13, count: 1, place: 8, sums: BigUint64Array.of(8n) },
      ],
      freed: [{ page: 6, count: 2 }],
    });
  });

  test('is found for pages of a range, with its sums', () => {
    const pages = new PageBuffer();
    const stored = [
      { filePage: 10, count: 4, place: 5, sums: BigUint64Array.of(5n, 6n, 7n, 8n) },
      { filePage: 15, count: 1, place: 3, sums: BigUint64Array.of(9n) },
    ];
    const asked = [
      { filePage: 8, page: 0, count: 4 },
      { filePage: 13, page: 100, count: 3 },
    ];
    const placesOf = ({ places, count }: PageBuffer): number[] => [...places.subarray(0, count)];
    pages.describe({ from: 8, count: 9 }, stored, asked);
    expect(placesOf(pages)).toEqual([0, 0, 5, 6, 0, 8, 0, 3, 0]);
    expect([2, 3, 5, 7].map((i) => pages.sums[i])).toEqual([5n, 6n, 8n, 9n]);
    const now = new PageBuffer();
    now.describe(
      { from: 10, count: 6 },
      [{ filePage: 10, count: 4, place: 25, sums: BigUint64Array.of(5n, 1n, 7n, 8n) }],
      [{ filePage: 10, page: 0, count: 6 }],
    );
    const same = [10, 11, 12, 13, 14, 15].filter((page) => pages.saysTheSame(now, page));
    expect(same, 'wherever it lies, unless it was not asked for').toEqual([10, 13, 14]);
    pages.describe({ from: 0, count: 3 }, [], [{ filePage: 0, page: 0, count: 3 }]);
    expect(placesOf(pages), 'nothing is left of before').toEqual([0, 0, 0]);
  });
});

describe('places', () => {
  test('are of one at a time; what is released is used again, and the end comes back', () => {
    const action = fc.oneof(
      fc.record({ take: fc.integer({ min: 1, max: 20 }) }),
      fc.record({ release: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const places = new Places([]);
        const taken: Run[] = [];
        for (const each of actions) {
          if ('take' in each) {
            const run = places.take(each.take);
            expect(run.count).toBe(each.take);
            taken.push(run);
          } else {
            const picked = each.release.flatMap((n) => taken.splice(n % (taken.length || 1), 1));
            places.release(picked);
          }
          const used = placesIn(taken);
          expect(new Set(used).size, 'no place is of two').toBe(used.length);
          expect(used.includes(0), 'the header').toBe(false);
          expect(places.end).toBe(Math.max(0, ...used) + 1);
          expect(places.freeCount).toBe(places.end - 1 - used.length);
        }
        places.release(taken);
        expect([places.end, places.freeCount]).toEqual([1, 0]);
      }),
    );
  });

  test('between those that a start finds in use are free', () => {
    const places = new Places([
      { page: 3, count: 2 },
      { page: 9, count: 2 },
      { page: 12, count: 1 },
    ]);
    expect([places.end, places.freeCount]).toEqual([13, 7]);
    expect(places.take(4)).toEqual({ page: 5, count: 4 });
    expect(places.take(3)).toEqual({ page: 13, count: 3 });
    expect(places.take(2)).toEqual({ page: 1, count: 2 });
    expect(places.take(1)).toEqual({ page: 11, count: 1 });
    expect(places.freeCount).toBe(0);
  });

  test('are released once', () => {
    const places = new Places([]);
    places.take(4);
    places.take(1);
    places.release([{ page: 1, count: 2 }]);
    expect(() => places.release([{ page: 2, count: 2 }])).toThrow(/released once/);
    expect(places.take(2)).toEqual({ page: 1, count: 2 });
  });
});

describe('what is dirty', () => {
  test('has at least the pages that were marked since it was taken', () => {
    const mark = fc.record({ ino: fc.integer({ min: 1, max: 3 }), ranges });
    fc.assert(
      fc.property(
        fc.array(fc.oneof(mark, fc.record({ take: fc.integer({ min: 1, max: 3 }) }))),
        (actions) => {
          const dirty = new Dirty();
          const model = new Map<number, Set<number>>();
          for (const each of actions) {
            if ('take' in each) {
              const taken = dirty.take(each.take);
              const expected = model.get(each.take);
              expect(taken === 'all' ? taken : taken && pagesOf(taken)).toEqual(expected);
              model.delete(each.take);
            } else {
              for (const range of each.ranges) {
                expect(dirty.mark(each.ino, range, 0)).toBe(!model.has(each.ino));
                model.set(each.ino, new Set([...(model.get(each.ino) ?? []), ...pagesOf([range])]));
              }
            }
            expect(dirty.size).toBe(model.size);
            expect(new Set(dirty.inos())).toEqual(new Set(model.keys()));
          }
        },
      ),
    );
  });

  test('is as old as its oldest change, and new again after it was taken', () => {
    const dirty = new Dirty();
    expect(dirty.oldestMs).toBeUndefined();
    dirty.mark(1, { from: 0, count: 1 }, 100);
    dirty.mark(2, 'all', 200);
    dirty.mark(1, { from: 5, count: 1 }, 300);
    expect(dirty.oldestMs).toBe(100);
    expect(dirty.inos(200)).toEqual([1]);
    dirty.take(1);
    dirty.mark(1, { from: 0, count: 1 }, 400);
    expect([dirty.oldestMs, dirty.inos(201), dirty.has(1)]).toEqual([200, [2], true]);
  });

  test('is all of a file once it has too many ranges, or is all of it anyway', () => {
    const dirty = new Dirty();
    for (let i = 0; i < 3000; i++) dirty.mark(1, { from: i * 2, count: 1 }, 0);
    expect(dirty.take(1)).toBe('all');
    dirty.mark(1, 'all', 0);
    dirty.mark(1, { from: 3, count: 1 }, 0);
    expect(dirty.take(1)).toBe('all');
    for (let i = 0; i < 3000; i++) dirty.mark(1, { from: i, count: 1 }, 0);
    expect(dirty.take(1)).toEqual([{ from: 0, count: 3000 }]);
  });
});
