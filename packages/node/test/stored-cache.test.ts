/** The cache says what the table says, whatever changes in between. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StoredCache } from '../src/metadata/stored-cache.ts';
import { extentPages, type StoredExtent } from '../src/store/stored.ts';

const filePages = 4 * extentPages;

type Table = Map<number, Map<number, StoredExtent>>;

const step = fc.oneof(
  fc.record({
    type: fc.constant('put' as const),
    ino: fc.nat(2),
    filePage: fc.nat(filePages - 1),
    count: fc.integer({ min: 1, max: extentPages }),
  }),
  fc.record({ type: fc.constant('forget' as const), ino: fc.nat(2) }),
  fc.record({
    type: fc.constant('ask' as const),
    ino: fc.nat(2),
    filePage: fc.nat(filePages),
    count: fc.integer({ min: 1, max: filePages }),
  }),
);

test('agrees with the table', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const table: Table = new Map();
      const within = (ino: number, from: number, end: number): StoredExtent[] =>
        [...(table.get(ino)?.values() ?? [])]
          .filter((e) => e.filePage < end && e.filePage + e.count > from)
          .sort((a, b) => a.filePage - b.filePage);
      const cache = new StoredCache(within);
      for (const { ino, ...each } of steps) {
        if (each.type === 'ask') {
          const end = each.filePage + each.count;
          expect(cache.within(ino, each.filePage, end)).toEqual(within(ino, each.filePage, end));
        } else if (each.type === 'forget') {
          cache.changed({ type: 'forgetStored', ino });
          table.delete(ino);
        } else {
          const { filePage, count } = each;
          const file = table.get(ino) ?? new Map<number, StoredExtent>();
          table.set(ino, file);
          for (const { filePage: gone } of within(ino, filePage, filePage + count)) {
            cache.changed({ type: 'deleteStored', ino, filePage: gone });
            file.delete(gone);
          }
          const extent = { filePage, count, place: filePage + 1, sums: new BigUint64Array(count) };
          cache.changed({ type: 'putStored', ino, extent });
          file.set(filePage, extent);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('keeps no more than its share, and is right all the same', () => {
  const asked: number[] = [];
  const cache = new StoredCache((ino) => {
    asked.push(ino);
    return [{ filePage: 0, count: 1, place: 1, sums: new BigUint64Array([BigInt(ino)]) }];
  });
  for (let ino = 1; ino <= 3000; ino++) cache.within(ino, 0, 1);
  cache.within(3000, 0, 1);
  expect(asked).toHaveLength(3000);
  expect(cache.within(1, 0, 1)[0]?.sums[0]).toBe(1n);
  expect(asked).toHaveLength(3001);
});
