/** What is dirty against a set of pages. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Dirty } from '../src/store/dirty.ts';

const range = fc.record({ from: fc.nat(60), count: fc.integer({ min: 1, max: 20 }) });

test('what is taken is each page that was marked, once and in order', () => {
  fc.assert(
    fc.property(fc.array(range, { minLength: 1, maxLength: 20 }), (marks) => {
      const dirty = new Dirty();
      const pages = new Set<number>();
      for (const mark of marks) {
        dirty.mark(1, mark, 0);
        for (let page = mark.from; page < mark.from + mark.count; page++) pages.add(page);
      }
      const taken = dirty.take(1);
      if (taken === undefined || taken === 'all') throw new Error('ranges were marked');
      const found = taken.flatMap(({ from, count }) => Array.from({ length: count }, (_, i) => from + i));
      expect(found).toEqual([...pages].sort((a, b) => a - b));
      expect(dirty.take(1)).toBeUndefined();
    }),
  );
});

test('more ranges than are worth a list are the whole file', () => {
  const dirty = new Dirty();
  for (let i = 0; i < 2000; i++) dirty.mark(1, { from: 2 * i, count: 1 }, 0);
  expect(dirty.take(1)).toBe('all');
});

test('an inode is as old as its first mark since it was clean', () => {
  const dirty = new Dirty();
  dirty.mark(1, { from: 0, count: 1 }, 10);
  dirty.mark(2, 'all', 20);
  dirty.mark(1, { from: 5, count: 1 }, 30);
  expect(dirty.oldestMs).toBe(10);
  expect(dirty.inos(20)).toEqual([1]);
  dirty.take(1);
  expect(dirty.oldestMs).toBe(20);
});
