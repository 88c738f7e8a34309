import type { Extent } from '@cluster-fs/transport';
import { expect, test } from 'vitest';
import { hasSamePages } from '../src/coordinator/only-moved.ts';

const extents = (...all: readonly [filePage: number, page: number, count: number][]): Extent[] =>
  all.map(([filePage, page, count]) => ({ filePage, page, count }));

test('the same pages lie elsewhere, in more pieces or fewer', () => {
  const whole = extents([0, 100, 8], [16, 300, 4]);
  expect(hasSamePages(whole, extents([0, 500, 8], [16, 600, 4]))).toBe(true);
  expect(hasSamePages(whole, extents([0, 500, 3], [3, 40, 5], [16, 600, 1], [17, 20, 3]))).toBe(true);
  expect(hasSamePages(extents(), extents())).toBe(true);
});

test('a hole more, a hole less, a hole elsewhere', () => {
  const whole = extents([0, 100, 8], [16, 300, 4]);
  expect(hasSamePages(whole, extents([0, 100, 8]))).toBe(false);
  expect(hasSamePages(whole, extents([0, 100, 20]))).toBe(false);
  expect(hasSamePages(whole, extents([0, 100, 8], [17, 300, 3]))).toBe(false);
  expect(hasSamePages(whole, extents([0, 100, 7], [16, 300, 4]))).toBe(false);
});
