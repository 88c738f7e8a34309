/** Who goes first, and who stays. */
import { expect, test } from 'vitest';
import { EvictionLine } from '../src/store/eviction-line.ts';

/** Evicts so many, in order; what went. */
function evict(line: EvictionLine, count: number, pages = 1): number[] {
  const { cold, hot } = line.inOrder();
  const going = [...cold, ...hot].slice(0, count);
  for (const chunk of going) line.evicted(chunk, pages);
  return going;
}

test('what comes once goes in the order in which it came, or was touched last', () => {
  const line = new EvictionLine(100);
  for (const chunk of [1, 2, 3, 1]) line.touched(chunk);
  expect(evict(line, 3)).toEqual([2, 3, 1]);
  expect([1, 2, 3].some((chunk) => line.has(chunk))).toBe(false);
});

test('what is wanted again stays while other things pass', () => {
  const line = new EvictionLine(1000);
  line.touched(1);
  evict(line, 1);
  line.touched(1);
  for (let chunk = 100; chunk < 106; chunk++) {
    line.touched(chunk);
    expect(evict(line, 1)).toEqual([chunk]);
  }
  expect(line.inOrder()).toEqual({ cold: [], hot: [1] });
});

test('what is hot and not wanted again is cold in time', () => {
  const line = new EvictionLine(1000);
  line.touched(1);
  evict(line, 1);
  line.touched(1);
  for (let chunk = 100; chunk < 107; chunk++) {
    line.touched(chunk);
    evict(line, 1);
  }
  expect(line.inOrder()).toEqual({ cold: [1], hot: [] });
});

test('what went so long ago that memory was filled half meanwhile is new', () => {
  const line = new EvictionLine(100);
  line.touched(1);
  evict(line, 1, 10);
  for (const chunk of [2, 3, 4, 5, 6]) {
    line.touched(chunk);
    evict(line, 1, 10);
  }
  line.touched(1);
  line.touched(6);
  expect(line.inOrder()).toEqual({ cold: [1], hot: [6] });
});

test('what is gone for another reason is not remembered', () => {
  const line = new EvictionLine(100);
  line.touched(1);
  line.gone(1);
  line.touched(1);
  expect(line.inOrder()).toEqual({ cold: [1], hot: [] });
});
