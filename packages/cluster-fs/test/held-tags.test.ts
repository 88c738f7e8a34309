/** STags at a node that was given them: when one is asked for, and by which a file is named. */
import { HeldTags, type TagRequest } from 'cluster-fs/coherence';
import { expect, test } from 'vitest';

const ino = 7;
const session = 1;

function held() {
  const asked: TagRequest[] = [];
  const told: string[] = [];
  let nextStag = 100;
  const tags = new HeldTags<number>({
    newMap: <T>() => new Map<number, T>(),
    session: () => session,
    said: () => ({ posted: 0, acknowledged: 0 }),
    isWelcome: () => true,
    generationOf: () => 1,
    ask: (what) => {
      asked.push(what);
      return Promise.resolve({ stag: nextStag++, session });
    },
    tell: (name, stag) => told.push(`${name} ${stag}`),
  });
  return { tags, asked, told };
}

test('who may store may read, and is not given that as well', async () => {
  const { tags, asked } = held();
  await tags.open(ino, 'rw');
  await tags.open(ino, 'rw');
  await tags.open(ino, 'r');
  expect(asked).toHaveLength(1);
  expect(tags.isOpen(ino, 'r')).toBe(true);
});

test('of a file that had another home meanwhile a right is asked for anew', async () => {
  const { tags, asked, told } = held();
  await tags.open(ino, 'rw');
  tags.left(ino);
  expect(tags.isOpen(ino, 'rw')).toBe(false);
  // What was asked there by the first is answered all the same.
  expect(tags.of(ino, 1)).toBe(100);
  await tags.open(ino, 'rw');
  expect(asked).toHaveLength(2);
  expect(tags.of(ino, 1)).toBe(101);
  tags.giveBack(ino);
  expect(told).toEqual(['tagClose 100', 'tagClose 101']);
});

test('also one that was asked for when the file left', async () => {
  const { tags, asked } = held();
  const opening = tags.open(ino, 'rw');
  tags.left(ino);
  await opening;
  expect(asked).toHaveLength(2);
  expect(tags.isOpen(ino, 'rw')).toBe(true);
});
