import { expect, test } from 'vitest';
import { limits, noPause, type Pace, paceAfter } from '../src/spinner.ts';

const inVain = { caught: false, microseconds: limits.lookUs };
const caught = { caught: true, microseconds: 30 };
const taken = { caught: true, microseconds: limits.crowdedUs + 1 };

/** The paces after each of these looks, a second apart. */
function paces(...looks: { caught: boolean; microseconds: number }[]): Pace[] {
  const all: Pace[] = [];
  for (const [i, look] of looks.entries()) all.push(paceAfter(all.at(-1) ?? noPause, look, i * 1000));
  return all;
}

test('a thread looks for every message while they come soon', () => {
  expect(paces(caught, caught)).toEqual([noPause, noPause]);
});

test('looks in vain become rare, up to a limit', () => {
  const messages = paces(...Array(9).fill(inVain)).map((pace) => pace.messages);
  expect(messages).toEqual([1, 3, 7, 15, 31, 63, 64, 64, 64]);
});

test('one message that comes soon makes it look for every message again', () => {
  expect(paces(inVain, inVain, caught).at(-1)).toEqual(noPause);
});

test('a processor that others want is left to them, each time for longer', () => {
  const [first, second, third, ...more] = paces(...Array(12).fill(taken));
  expect(first).toEqual({ messages: 0, untilMs: 50, crowdMs: 50 });
  expect(second).toEqual({ messages: 0, untilMs: 1100, crowdMs: 100 });
  expect(third).toEqual({ messages: 0, untilMs: 2200, crowdMs: 200 });
  expect(more.at(-1)).toEqual({ messages: 0, untilMs: 11_000 + 1600, crowdMs: 1600 });
});

test('a processor that others let go is not left to them for longer the next time', () => {
  expect(paces(taken, taken, caught, taken).at(-1)?.crowdMs).toBe(50);
});
