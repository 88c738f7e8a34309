/** What a node that stops waits for: its home, longer than its clients. */
import type { PeerLink } from '@cluster-fs/transport/peer';
import { type BlockId, defaultLease, Holder, type HolderFrame } from 'cluster-fs/coherence';
import { expect, test } from 'vitest';
import { giveUpBlocks } from '../src/cluster/giving-up.ts';

const clientMs = 50;
const session = 7;
const bytes = Buffer.from('stored');
const link = { queuedBytes: 0 } as PeerLink;
const nothing = (): void => undefined;

/** A node that has some blocks to store into, and what it says to their home. */
function holderOf(blocks: readonly BlockId[], { drop }: { drop(block: BlockId): void }) {
  const said: HolderFrame<Buffer>[] = [];
  const memory = { protect: nothing, install: nothing, allow: nothing, wake: nothing, fail: nothing };
  const holder = new Holder<Buffer>(
    {
      nowMs: () => performance.now(),
      send: (frame) => said.push(frame),
      memory: { ...memory, drop, lose: nothing, read: () => bytes },
    },
    { times: defaultLease },
  );
  holder.linkUp();
  holder.receive({ kind: 'welcome', hello: 1, session, received: 0 });
  for (const block of blocks) holder.adopt(block, 'E', session);
  return { holder, said };
}

const evictions = (said: readonly HolderFrame<Buffer>[]): number =>
  said.filter((frame) => frame.kind === 'message').length;

test('the home is asked at once for what is on its way, and may take its time', async () => {
  const { holder, said } = holderOf([1, 2, 3], { drop: (block) => queueMicrotask(() => done(block)) });
  const done = (block: BlockId): void => holder.done(block, bytes);
  const begun = performance.now();
  let isOver = false;
  const ending = giveUpBlocks(holder, () => link, clientMs).then(() => {
    isOver = true;
  });
  await expect.poll(() => said.at(-1)?.kind).toBe('ping');
  expect(evictions(said)).toBe(3);
  const pings = said.filter(({ kind }) => kind === 'ping').length;
  await expect.poll(() => performance.now() - begun, { timeout: 5000 }).toBeGreaterThan(10 * clientMs);
  expect([...holder.unsaved()]).toEqual([1, 2, 3]);
  expect(isOver).toBe(false);
  // Asked once for each time that something went.
  expect(said.filter(({ kind }) => kind === 'ping').length - pings).toBeLessThanOrEqual(2);
  holder.receive({ kind: 'pong', session, sentMs: performance.now(), received: 3 });
  await ending;
  expect([...holder.unsaved()]).toEqual([]);
});

test('a client that is in the way does not cut short what is on its way', async () => {
  const { holder, said } = holderOf([1, 2], {
    drop: (block) => queueMicrotask(() => block === 2 && holder.done(block, bytes)),
  });
  let isOver = false;
  const ending = giveUpBlocks(holder, () => link, clientMs).then(() => {
    isOver = true;
  });
  await expect.poll(() => said.at(-1)?.kind).toBe('ping');
  const begun = performance.now();
  await expect.poll(() => performance.now() - begun, { timeout: 5000 }).toBeGreaterThan(5 * clientMs);
  expect(isOver).toBe(false);
  holder.receive({ kind: 'pong', session, sentMs: performance.now(), received: 1 });
  await ending;
  expect([...holder.unsaved()]).toEqual([1]);
});

test.each([
  { why: 'a client is in the way', reach: () => link, drop: nothing, left: ['EV'] },
  { why: 'the home is away', reach: () => undefined, drop: undefined, left: [] },
])('not for long while $why', async ({ reach, drop, left }) => {
  const { holder } = holderOf([1], {
    drop: drop ?? ((block) => queueMicrotask(() => holder.done(block, bytes))),
  });
  await giveUpBlocks(holder, reach, clientMs);
  expect([...holder.cache.blocks.values()]).toEqual(left);
  expect([...holder.unsaved()]).toEqual([1]);
});
