import { expect, test } from 'vitest';
import { BlockBuffers } from '../src/cluster/block-buffers.ts';

const [blockBytes, pageBytes] = [65_536, 4096];

test.each([
  ['a block', blockBytes],
  ['the last one of a file', blockBytes - pageBytes],
  ['a small file', pageBytes],
  ['nothing', 0],
])('memory of %s is used again when it was given back, and not before', (_, length) => {
  const buffers = new BlockBuffers();
  const [first, second] = [buffers.take(length), buffers.take(length)];
  expect([first.length, second.length]).toEqual([length, length]);
  expect(first.buffer).not.toBe(second.buffer);
  buffers.give(first);
  expect(buffers.take(length).buffer).toBe(first.buffer);
  expect(buffers.take(length).buffer).not.toBe(first.buffer);
});

test('what was taken for less serves for more of the same kind, and small ones are none of the large', () => {
  const buffers = new BlockBuffers();
  buffers.give(buffers.take(pageBytes));
  const large = buffers.take(blockBytes - pageBytes);
  buffers.give(large);
  expect(buffers.take(blockBytes)).toHaveLength(blockBytes);
  expect(buffers.take(2 * pageBytes)).toHaveLength(2 * pageBytes);
});

test('no more is kept than may be, and nothing that was not taken', () => {
  const buffers = new BlockBuffers();
  const taken = Array.from({ length: 65 }, () => buffers.take(blockBytes));
  buffers.give(Buffer.alloc(100));
  for (const each of taken) buffers.give(each);
  const known = new Set(taken.map(({ buffer }) => buffer));
  const again = Array.from({ length: 65 }, () => buffers.take(blockBytes));
  expect(again.filter(({ buffer }) => known.has(buffer))).toHaveLength(64);
});
