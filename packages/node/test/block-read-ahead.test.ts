import { expect, test } from 'vitest';
import { ReadAhead } from '../src/cluster/read-ahead.ts';

/** The blocks that are asked for, each touch of one that is not here and its read-ahead, in order. */
function asked(touches: Iterable<number>, ahead = new ReadAhead(), ino = 1): number[][] {
  return Array.from(touches, (index) => {
    const { from, end } = ahead.touched(ino, index);
    return Array.from({ length: end - from }, (_, i) => from + i);
  });
}

test('one touch asks for nothing more, and neither do touches without order', () => {
  expect(asked([7, 100, 3, 50, 7]).flat()).toEqual([]);
});

test('touches in order ask for more and more, each block once, up to a limit', () => {
  const blocks = asked(Array.from({ length: 1000 }, (_, i) => i)).flat();
  expect(blocks).toEqual(Array.from({ length: blocks.length }, (_, i) => i + 1));
  expect(blocks.at(-1)).toBeGreaterThan(999 + 16);
  expect(blocks.at(-1)).toBeLessThanOrEqual(999 + 64);
});

test('who waits only for what is not on its way finds half of it there each time', () => {
  const ahead = new ReadAhead();
  const lengths: number[] = [];
  let next = 0;
  for (let touches = 0; touches < 12; touches++) {
    const { from, end } = ahead.touched(1, next);
    lengths.push(end - from);
    next = Math.max(next + 1, end);
  }
  expect(lengths.slice(1, 8)).toEqual([2, 4, 8, 16, 32, 64, 64]);
});

test('files do not disturb each other, and what is forgotten begins anew', () => {
  const ahead = new ReadAhead();
  asked([0, 1, 2, 3], ahead, 1);
  expect(asked([900, 5], ahead, 2).flat()).toEqual([]);
  expect(asked([4, 5, 6], ahead, 1).flat()).not.toEqual([]);
  ahead.forget(1);
  expect(asked([7], ahead, 1).flat()).toEqual([]);
});

test('no file has more blocks than may be', () => {
  const last = 2 ** 28 - 1;
  const blocks = asked(Array.from({ length: 10 }, (_, i) => last - 9 + i)).flat();
  expect(blocks.at(-1)).toBe(last);
});
