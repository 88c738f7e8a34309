/**
 * A node hears late what became of a move. One that is the home, and hears it only after its lease on the
 * last one is over: what it had to read is taken from its processes then, and the bytes are nowhere else. One
 * that hears of an earlier move when the file is on its way to it again.
 */
import { expect, test } from 'vitest';
import type { Homes } from '../src/cluster/homes.ts';
import type { ClusterNode } from '../src/node.ts';
import { startTwo, timeout } from './two-keepers.ts';

/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };
const blockBytes = 65_536;
/** Has the file stand at the point where it is handed over, while `work` is done. */
async function beforeHandOver(a: ClusterNode, ino: number, begin: () => void, work: () => Promise<void>) {
  const { gate } = a.coordinator;
  const hold = await gate.acquire(ino, 'exclusive');
  const acquire = gate.acquire.bind(gate);
  const fetched = new Promise<void>((resolve) => {
    gate.acquire = (...args) => {
      resolve();
      return acquire(...args);
    };
  });
  begin();
  await fetched;
  gate.acquire = acquire;
  await work();
  gate.release(hold);
}

test('the next home keeps the bytes when its lease on the last one ends', { timeout }, async () => {
  const { a, line, atA, atB } = await startTwo();
  const content = Buffer.alloc(8 * blockBytes, 'moving');
  await atA.promises.writeFile('/f', content);
  const { ino } = atA.statSync('/f');
  let moving: Promise<unknown> = Promise.resolve();
  await beforeHandOver(
    a,
    ino,
    () => {
      moving = atA.migrate('/f', 'b');
    },
    () => line.cut(),
  );
  // The coordinator goes on without the node that does not hear of it.
  await moving;
  expect(a.home?.report.lentBlocks).toBe(0);
  await line.mend();
  await expect.poll(() => atB.homeOf('/f'), patience).toBe('b');
  expect((await atB.promises.readFile('/f')).equals(content)).toBe(true);
  expect((await atA.promises.readFile('/f')).equals(content)).toBe(true);
});

test('that an earlier move is over says nothing of the one that is under way', { timeout }, async () => {
  const { a, b, atA, atB } = await startTwo();
  const content = Buffer.alloc(blockBytes, 'moving');
  await atA.promises.writeFile('/f', content);
  // Until all have it open at its new home, that asks whether they have.
  await atB.map('/f', { mode: 'rw' });
  const answers = holdAnswers(b);
  await atA.migrate('/f', 'b');
  await answers.arrived;
  await atA.migrate('/f', 'a');
  let moving: Promise<unknown> = Promise.resolve();
  await beforeHandOver(
    a,
    atA.statSync('/f').ino,
    () => {
      moving = atA.migrate('/f', 'b');
    },
    answers.release,
  );
  expect(await moving).toMatchObject({ bytes: blockBytes });
  expect((await atA.promises.readFile('/f')).equals(content)).toBe(true);
});

/** What the coordinator answers is kept back: `arrived`, the first is here. */
function holdAnswers({ coordinator }: ClusterNode) {
  const homes = coordinator.blocks as Homes;
  const { told } = homes;
  let arrive: () => void = () => undefined;
  let release: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  homes.told = () => {
    const link = told?.();
    if (link === undefined) return undefined;
    const request = async (...asked: Parameters<typeof link.request>) => {
      const answer = await link.request(...asked);
      arrive();
      await released;
      return answer;
    };
    return Object.assign(Object.create(link), { request });
  };
  return {
    arrived,
    async release() {
      release();
      await new Promise((goOn) => setImmediate(goOn));
    },
  };
}
