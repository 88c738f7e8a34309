/** The books of books.mjs are found wrong when they are: what the tests of hosts go by. */
import { expect, test } from 'vitest';
import { editionOf, findings, ledgerBytes, type Pages, pathOf, wordsOf } from './books.mjs';

const pages: Pages = {
  name: 'clerk',
  index: 0,
  counts: wordsOf(0).map(() => 5),
  synced: wordsOf(0).map(() => 3),
  files: [
    { answered: 2, asked: 2 },
    { answered: 1, asked: 2 },
    { answered: 0, asked: 0 },
  ],
};

interface Changed {
  /** What the first word has. */
  readonly word?: number;
  /** It was killed, and may have added once more to each. */
  readonly isKilled?: boolean;
  readonly lostBlocks?: number;
  readonly mayLose?: boolean;
  /** What the first two files have. */
  readonly editions?: readonly [number, number];
  readonly damage?: (content: Buffer) => Buffer;
}

function look(changed: Changed): string[] {
  const { word = 5, isKilled = false, lostBlocks = 0, mayLose = false, editions = [2, 2], damage } = changed;
  const words = new Int32Array(ledgerBytes / 4);
  for (const at of wordsOf(0)) words[at] = 5;
  words[wordsOf(0)[0] ?? 0] = word;
  const contents = new Map(
    [...editions, 0].map((edition, i) => [pathOf('clerk', i), editionOf('clerk', i, edition)]),
  );
  const contentOf = (path: string): Buffer => {
    const content = contents.get(path) ?? Buffer.alloc(0);
    return path === pathOf('clerk', 0) ? (damage?.(content) ?? content) : content;
  };
  const last = isKilled
    ? { ...pages, counts: pages.counts.map((count) => count + 1), told: pages.counts }
    : pages;
  return findings([{ pages: last, mayLose }], { words, lostBlocks, contentOf });
}

const flip = (content: Buffer): Buffer => {
  const last = content.length - 1;
  content[last] = (content[last] ?? 0) ^ 1;
  return content;
};

test.each<[string, Changed]>([
  ['everything is there', {}],
  ['what was not answered is not there', { editions: [2, 1] }],
  ['what was not synced is lost, and counted', { word: 3, mayLose: true, lostBlocks: 1 }],
  ['one that was killed has not added once more', { isKilled: true, mayLose: true }],
  ['one that was killed has added once more', { word: 6, isKilled: true, mayLose: true }],
])('nothing is wrong when %s', (_, changed) => {
  expect(look(changed)).toEqual([]);
});

test.each<[string, Changed]>([
  ['an increment is lost', { word: 4 }],
  ['there is one too many', { word: 6, mayLose: true, lostBlocks: 1 }],
  ['what was synced is lost', { word: 2, mayLose: true, lostBlocks: 1 }],
  ['what is lost is not counted', { word: 3, mayLose: true }],
  [
    'what one that was killed had told of is lost, and not counted',
    { word: 4, isKilled: true, mayLose: true },
  ],
  ['what was answered is not there', { editions: [1, 2] }],
  ['there is what nobody wrote', { editions: [2, 3] }],
  ['a byte is wrong', { damage: flip }],
  ['a file is too short', { damage: (content) => content.subarray(0, -4) }],
])('it is found that %s', (_, changed) => {
  expect(look(changed)).not.toEqual([]);
});
