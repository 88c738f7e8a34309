/** Which syncs are foreseen. */
import { expect, test } from 'vitest';
import { SyncHabits } from '../src/store/sync-habit.ts';

const ino = 7;

/** What `wrote` says of each write (w), between syncs (s). */
function foreseen(steps: string, habits = new SyncHabits()): boolean[] {
  const said: boolean[] = [];
  for (const step of steps) {
    if (step === 'w') said.push(habits.wrote(ino));
    else habits.synced(ino);
  }
  return said;
}

test('after two writes that were each followed by a sync', () => {
  expect(foreseen('swswsww')).toEqual([false, false, true, false]);
});

test('not of a file that is never synced, or synced without writes', () => {
  expect(foreseen('wwww')).toEqual([false, false, false, false]);
  expect(foreseen('sssssw')).toEqual([false]);
});

test('no more after two writes without a sync, and again after two with', () => {
  expect(foreseen('swswswwswsw')).toEqual([false, false, true, false, false, true]);
});

test('a file that is gone is forgotten, and so is the first of very many', () => {
  const habits = new SyncHabits();
  foreseen('swsws', habits);
  habits.forget(ino);
  expect(foreseen('w', habits)).toEqual([false]);
  foreseen('swsws', habits);
  for (let other = 100; other < 100 + 1024; other++) habits.synced(other);
  expect(foreseen('w', habits)).toEqual([false]);
});
