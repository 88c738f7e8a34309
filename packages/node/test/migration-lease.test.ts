/**
 * A node hears late what became of a move. One that is the home, and hears it only after its lease on the
 * last one is over: what it had to read is taken from its processes then, and the bytes are nowhere else. One
 * that hears of an earlier move when the file is on its way to it again.
 */
import { join } from 'node:path';
import { parsePeerUrl } from '@cluster-fs/transport/peer';
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startLine } from '../../../test/cluster/line.ts';
import type { Homes } from '../src/cluster/homes.ts';
import { type ClusterNode, joinNode, startNode } from '../src/node.ts';
import { makeHome } from './cli-process.ts';

const timeout = 60_000;
/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };
const blockBytes = 65_536;
const local = { host: '127.0.0.1', port: 0 };
const common = (name: string) => ({
  socketPath: join(makeHome(), 'node.sock'),
  memory: 2 ** 22,
  cluster: { name, security: { kind: 'none' } as const },
});

async function mounted({ socketPath }: ClusterNode) {
  const fs = await mount(`unix:${socketPath}`);
  onTestFinished(() => fs.unmount());
  return fs;
}

/** A coordinator, and a node that keeps files: its way there can be cut, and the other one stays. */
async function start() {
  const a = startNode({ ...common('a'), inodeCount: 64 });
  onTestFinished(() => a.stop());
  const { port } = parsePeerUrl(await a.listen(local));
  const line = await startLine(port, { limitMs: timeout });
  const b = await joinNode({ ...common('b'), keeps: true, join: { ...local, port: line.port } });
  onTestFinished(() => b.stop());
  await b.listen(local);
  return { a, b, line, atA: await mounted(a), atB: await mounted(b) };
}

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
  const { a, b, line, atA, atB } = await start();
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
  const kept = () => b.member?.keepsSome;
  await expect.poll(kept, patience).toBe(true);
  expect((await atB.promises.readFile('/f')).equals(content)).toBe(true);
  expect((await atA.promises.readFile('/f')).equals(content)).toBe(true);
});

test('that an earlier move is over says nothing of the one that is under way', { timeout }, async () => {
  const { a, b, atA } = await start();
  const content = Buffer.alloc(blockBytes, 'moving');
  await atA.promises.writeFile('/f', content);
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
