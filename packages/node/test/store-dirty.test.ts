/** Which pages are dirty: each is named once, however often and in whatever order it was changed. */
import { expect, test } from 'vitest';
import { Dirty } from '../src/store/dirty.ts';

test('what was changed in several ways is taken once', () => {
  const dirty = new Dirty();
  for (const [from, count] of [
    [10, 5],
    [0, 1],
    [12, 10],
    [3, 1],
    [0, 4],
    [11, 1],
    [22, 1],
    [30, 2],
  ] as const)
    dirty.mark(7, { from, count }, 0);
  expect(dirty.take(7)).toEqual([
    { from: 0, count: 4 },
    { from: 10, count: 13 },
    { from: 30, count: 2 },
  ]);
  expect(dirty.take(7)).toBeUndefined();
});

test('all is all, and what is too much to list too', () => {
  const dirty = new Dirty();
  dirty.mark(1, { from: 3, count: 1 }, 0);
  dirty.mark(1, 'all', 0);
  dirty.mark(1, { from: 9, count: 1 }, 0);
  expect(dirty.take(1)).toBe('all');
  for (let from = 0; from < 4096; from += 2) dirty.mark(1, { from, count: 1 }, 0);
  expect(dirty.take(1)).toBe('all');
});
