/** How far is read ahead of touches that go on in order, and that it ends. */
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { View } from '../src/coordinator/session.ts';
import { piecePages } from '../src/store/page-buffer.ts';
import { blockPages, pieceOf, ReadAhead, type Stream, streamAfter } from '../src/store/read-ahead.ts';
import type { Range } from '../src/store/stored.ts';

const most = 2048;

test('touches here and there bring their blocks in, and nothing more', () => {
  let stream: Stream | undefined;
  for (const block of [160, 0, 64, 48, 32, 16, 16, 1600]) {
    stream = streamAfter(stream, block, most);
    const after = block + blockPages;
    expect(stream).toEqual({ start: block, next: after, end: after, mark: undefined });
  }
});

test('touches in order read ahead twice as far as they have come, up to a limit', () => {
  let stream = streamAfter(undefined, 160, most);
  const ahead: number[] = [];
  while (ahead.length < 9) {
    const block = stream.end;
    stream = streamAfter(stream, block, most);
    expect(stream.start).toBe(160);
    ahead.push(stream.end - block - blockPages);
    stream = { ...stream, next: stream.end };
  }
  expect(ahead).toEqual([32, 128, 416, 1280, 2048, 2048, 2048, 2048, 2048]);
});

test('a touch of what is on its way moves the end, and nothing is read twice', () => {
  const before = { start: 0, next: 1024, end: 2048, mark: 1536 };
  const end = 800 + blockPages + 1600;
  expect(streamAfter(before, 800, most)).toEqual({ start: 0, next: 1024, end, mark: 1712 });
  expect(streamAfter(before, 16, most)).toEqual(before);
});

test('pieces grow with what is to be read', () => {
  const pieceTo = (end: number) => pieceOf({ start: 0, next: 16, end, mark: undefined });
  expect([32, 48, 256, 4096].map((end) => pieceTo(end).count)).toEqual([16, 16, 64, piecePages]);
  const last = { start: 0, next: 2040, end: 2048, mark: undefined };
  expect(pieceOf(last)).toEqual({ from: 2040, count: 8 });
});

test('the block at the mark is left out, and its touch moves the end before the reader is there', () => {
  const stream = { start: 0, next: 1024, end: 2048, mark: 1152 };
  expect(pieceOf(stream)).toEqual({ from: 1024, count: 128 });
  expect(pieceOf({ ...stream, next: 1152 })).toEqual({ from: 1168, count: piecePages });
  const after = streamAfter({ ...stream, next: 2048 }, 1152, most);
  expect(after).toEqual({ start: 0, next: 2048, end: 1168 + most, mark: 2624 });
});

/** A view of a file, and what is asked to be brought in for it. */
function reader(options: { pages?: number; goesOn?: boolean; hasRoom?: boolean } = {}) {
  const { pages = 8192, goesOn = true, hasRoom = true } = options;
  const view = { from: 0, pages } as View;
  const brought: Range[] = [];
  const here = new Set<number>();
  let under = 0;
  let mostUnder = 0;
  const ahead = new ReadAhead({
    async bring(_, piece) {
      brought.push(piece);
      for (let i = 0; i < piece.count; i++) here.add(piece.from + i);
      mostUnder = Math.max(mostUnder, ++under);
      await setImmediate();
      under--;
      return goesOn;
    },
    hasRoom: () => hasRoom,
    mostPages: () => most,
  });
  const settled = async (): Promise<void> => {
    do await setImmediate();
    while (under > 0);
  };
  const touch = (block: number): Promise<void> => {
    ahead.touched(view, block);
    ahead.pump();
    return settled();
  };
  return { touch, brought, here, mostUnder: () => mostUnder };
}

test('all that is to be read comes once, in order, two pieces at a time', async () => {
  const { touch, brought, mostUnder } = reader();
  await touch(0);
  expect(brought).toEqual([]);
  let next = 32;
  for (const block of [16, 64, 208, 640, 1936]) {
    await touch(block);
    next = Math.max(next, block + blockPages);
    const last = brought.at(-1) as Range;
    expect(last.from + last.count).toBe(block + blockPages + Math.min(most, 2 * block));
  }
  for (const [i, { from, count }] of brought.entries()) {
    expect(from).toBeGreaterThanOrEqual(
      i === 0 ? 32 : (brought[i - 1]?.from ?? 0) + (brought[i - 1]?.count ?? 0),
    );
    expect(count).toBeGreaterThan(0);
  }
  expect(mostUnder()).toBe(2);
});

test('who touches in order never comes to the end of what was read ahead, once there is a mark', async () => {
  const { touch, here, brought } = reader();
  const touched: number[] = [];
  for (let block = 0; block < 8192; block += blockPages) {
    if (here.has(block)) continue;
    touched.push(block);
    const last = brought.at(-1);
    const end = last === undefined ? 0 : last.from + last.count;
    if (touched.length > 4 && end < 8192) expect(block + blockPages).toBeLessThan(end);
    await touch(block);
  }
  expect(touched.length).toBeLessThan(20);
});

test('it ends with the view', async () => {
  const { touch, brought } = reader({ pages: 50 });
  for (const block of [0, 16, 32, 48]) await touch(block);
  expect(brought).toEqual([
    { from: 32, count: 16 },
    { from: 48, count: 2 },
  ]);
});

test('it stops without room, and when something does not come', async () => {
  const full = reader({ hasRoom: false });
  for (const block of [0, 16, 32]) await full.touch(block);
  expect(full.brought).toEqual([]);
  const failing = reader({ goesOn: false });
  for (const block of [0, 16]) await failing.touch(block);
  expect(failing.brought.length).toBeLessThanOrEqual(2);
});
