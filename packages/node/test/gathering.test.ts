/** When a round of syncs begins: not for the first alone of many who were answered together. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Gathering } from '../src/store/gathering.ts';

/** One whose time stands still: only what is asked, and the turns of the event loop, decide. */
const timeless = () => new Gathering(() => 0);

/** After a round of three files. */
function afterThree(gathering = timeless()): Gathering {
  gathering.asked([1, 2, 3]);
  gathering.begins();
  gathering.ended(new Set([1, 2, 3]));
  return gathering;
}

/** How many turns it takes until it is time. */
async function turnsOf(gathering: Gathering, during: (turns: number) => void = () => undefined) {
  let isTime = false;
  const waiting = gathering.isTime().then(() => {
    isTime = true;
  });
  await undefined;
  await undefined;
  let turns = 0;
  for (; !isTime; turns++) {
    during(turns);
    await turn();
  }
  await waiting;
  return turns;
}

test('who is alone waits for nobody', async () => {
  const gathering = timeless();
  for (let round = 0; round < 3; round++) {
    gathering.asked([1]);
    expect(await turnsOf(gathering)).toBe(0);
    gathering.begins();
    gathering.ended(new Set([1]));
  }
});

test('the first of several waits until they have asked', async () => {
  const gathering = afterThree();
  gathering.asked([1]);
  const asks: Record<number, () => void> = {
    0: () => gathering.changed(),
    1: () => gathering.asked([2]),
    2: () => gathering.asked([3]),
  };
  expect(await turnsOf(gathering, (turns) => asks[turns]?.())).toBe(3);
});

test('nor longer than requests come', async () => {
  const gathering = afterThree();
  gathering.asked([1]);
  const turns = await turnsOf(gathering, (turn) => {
    if (turn === 0) gathering.asked([2]);
  });
  expect(turns).toBeGreaterThan(0);
  expect(turns).toBeLessThan(4);
});

test('who waits while a round runs is one of those who are waited for', async () => {
  const gathering = timeless();
  gathering.asked([1]);
  gathering.begins();
  gathering.asked([2]);
  gathering.ended(new Set([1]));
  expect(await turnsOf(gathering, (turn) => turn === 0 && gathering.asked([1]))).toBe(1);
});

test('and not for ever, whatever comes', async () => {
  let nowMs = 0;
  const gathering = afterThree(new Gathering(() => nowMs));
  gathering.asked([1]);
  const turns = await turnsOf(gathering, () => {
    gathering.changed();
    nowMs += 0.25;
  });
  expect(turns).toBe(4);
});

test('who asks again while his round runs is still alone', async () => {
  const gathering = timeless();
  gathering.asked([1]);
  gathering.begins();
  gathering.asked([1]);
  gathering.ended(new Set([1]));
  expect(await turnsOf(gathering)).toBe(0);
});
