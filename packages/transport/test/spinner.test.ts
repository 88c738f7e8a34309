import { expect, test } from 'vitest';
import { limits, noPause, type Pace, paceAfter, Spinner } from '../src/spinner.ts';

const inVain = { caught: false, microseconds: limits.lookUs };
const caught = { caught: true, microseconds: 30 };
const taken = { caught: true, microseconds: limits.crowdedUs + 1 };

/** The paces after each of these looks, each made as soon as the last pause was over. */
function paces(...looks: { caught: boolean; microseconds: number }[]): Pace[] {
  const all: Pace[] = [];
  for (const look of looks) {
    const before = all.at(-1) ?? noPause;
    all.push(paceAfter(before, look, before.untilMs + 1));
  }
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
  const pauses = paces(...Array(10).fill(taken)).map(({ crowdMs }) => crowdMs);
  expect(pauses).toEqual([10, 20, 40, 80, 160, 320, 640, 1280, 1280, 1280]);
  expect(paceAfter(noPause, taken, 500)).toEqual({ messages: 0, untilMs: 510, crowdMs: 10 });
});

test('some quick looks in between do not make it forget the others', () => {
  expect(paces(taken, taken, caught, inVain, taken).at(-1)?.crowdMs).toBe(40);
});

test('a processor that was free for a while is left to others for a moment only', () => {
  const [, pace = noPause] = paces(taken, taken);
  expect(paceAfter(pace, taken, pace.untilMs + limits.sameCrowdMs).crowdMs).toBe(10);
});

test('it does not look for more where many messages come at once', async () => {
  const looks: number[] = [];
  const spinner = new Spinner({
    next: (microseconds) => {
      looks.push(microseconds);
      return undefined;
    },
    close: () => undefined,
  });
  const turn = async (messages: number): Promise<number | undefined> => {
    for (let i = 0; i < messages; i++) spinner.expectOneOfMany();
    await undefined;
    return looks.at(-1);
  };
  expect(await turn(limits.ofTurn)).toBe(limits.lookUs);
  expect(await turn(limits.ofTurn + 20)).toBe(0);
  expect(await turn(1)).toBe(limits.lookUs);
  // Once in each turn, and once more to look no more.
  expect(looks).toEqual([limits.lookUs, limits.lookUs, 0, limits.lookUs]);
});
