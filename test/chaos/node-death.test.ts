/**
 * kill -9 of the node in the middle of everything: what was acknowledged is there, views read and store on,
 * and clients go on without being started again.
 */
import { closeSync, writeSync } from 'node:fs';
import { native } from '@cluster-fs/transport';
import type { ClusterFs, View } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { helloFrame } from '../hostile/hello-frame.ts';
import { type Child, startChild } from './children.ts';
import { bytesOf, randomOf, type State } from './content.mjs';
import { initialContent, lostIncrements, Observer } from './counters.mjs';
import { mountForTest, startNodeProcess } from './node-process.ts';
import { openRawSession } from './raw-session.mjs';

interface Acknowledged {
  readonly kind: 'acknowledged';
  readonly states: readonly [string, State][];
}

interface Report {
  readonly index: number;
  readonly findings: readonly string[];
  readonly counts: readonly number[];
  readonly passes: number;
  readonly uncertain: number;
  readonly sameAddress: boolean;
}

const MiB = 2 ** 20;
const rounds = 25;
const survivorCount = 2;

test(`${rounds} deaths of the node under load lose nothing that was acknowledged`, async () => {
  const seed = Date.now() % 100_000;
  const random = randomOf(seed);
  const node = await startNodeProcess({ memory: 64 * MiB });
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/counters', initialContent());
  const survivors = Array.from({ length: survivorCount }, (_, i) =>
    startChild('survivor.mjs', [i, seed, node.url]),
  );
  const manifest = keepManifest(survivors);
  await Promise.all(survivors.map((survivor) => survivor.hear('ready')));

  for (let round = 0; round < rounds; round++) {
    const rearranged = random(2) === 0 ? fs.move('/counters') : fs.defrag();
    const outcome = rearranged.then(
      () => 'done',
      (error: { code: string }) => error.code,
    );
    await manifest.acknowledgements(1 + random(40));
    await node.kill();
    expect(node.errors).toEqual([]);
    expect(['done', 'ECONNRESET']).toContain(await outcome);
    await node.start();
    expect(node.recovered).toBe(true);
    await pause(survivors);
    expect(await fs.check(), `seed ${seed}, round ${round}`).toEqual([]);
    expect(await differences(fs, manifest.files), `seed ${seed}, round ${round}`).toEqual([]);
    for (const survivor of survivors) survivor.send('work');
  }

  const reports = await leave(survivors);
  for (const report of reports) {
    expect(report.findings, `seed ${seed}`).toEqual([]);
    expect(report.sameAddress).toBe(true);
    expect(report.passes).toBeGreaterThan(0);
  }
  expect(reports.reduce((sum, { uncertain }) => sum + uncertain, 0)).toBeGreaterThan(0);
  await expectCountersWhole(fs, reports);
  await expectNothingHeldBack(fs);
  expect(node.errors).toEqual([]);
}, 90_000);

test('a node that dies again before its clients are back leaves no session behind', async () => {
  const node = await startNodeProcess({ memory: 32 * MiB });
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/file', Buffer.alloc(64 * 4096, 1));
  const views = await Promise.all(
    Array.from({ length: 50 }, (_, i) => fs.map('/file', { mode: i % 2 === 0 ? 'rw' : 'r' })),
  );
  for (let death = 0; death < 12; death++) {
    await node.kill();
    await node.start();
  }
  await expect.poll(async () => ((await fs.status()).sessions as unknown[]).length).toBe(1);
  await fs.move('/file');
  await fs.promises.writeFile('/file', Buffer.alloc(64 * 4096, 2));
  await expect.poll(() => views.every((view) => view.bytes[100] === 2)).toBe(true);
  await expectNothingHeldBack(fs);
}, 30_000);

test('a node waits for sessions of before until their locks are let go, whatever else is open', async () => {
  const node = await startNodeProcess({ memory: 32 * MiB });
  const held = await openRawSession(node.socketPath);
  onTestFinished(held.close);
  const [, data] = held.descriptors as [number, number];
  const copy = native.duplicate(data);
  onTestFinished(() => closeSync(copy));
  // The answer to its hello stays in its socket, and what came with it.
  const unread = native.connectUnix(node.socketPath);
  writeSync(unread, helloFrame);
  const fs = await mountForTest(node);
  await expect.poll(async () => (await fs.status()).sessions).toHaveLength(3);
  await node.kill();
  await node.start();
  const waitedFor = async () => ((await fs.status()).unresolvedSessions as { session: number }[]).length;
  await fs.promises.writeFile('/file', 'something');
  await expect.poll(waitedFor).toBe(2);
  native.closeDescriptor(unread);
  await expect.poll(waitedFor).toBe(1);
  await expect(fs.move('/file')).rejects.toMatchObject({ code: 'EBUSY' });
  held.close();
  await expect.poll(waitedFor).toBe(0);
  await fs.move('/file');
});

test('a large write that is under way when the node dies is whole, or fails as interrupted', async () => {
  const node = await startNodeProcess({ memory: 256 * MiB });
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/large', bytesOf([{ seed: 0, size: 5000 }]));
  let last: State = [{ seed: 0, size: 5000 }];
  for (let round = 1; round <= 12; round++) {
    const state: State = [{ seed: round, size: 60 * MiB }];
    let outcome: string | undefined;
    const writing = fs.promises.writeFile('/large', bytesOf(state)).then(
      () => {
        outcome = 'written';
      },
      (error: { code: string }) => {
        outcome = error.code;
      },
    );
    const reserved = async () => Number((await fs.status()).reservedBytes);
    const isUnderWay = async () => outcome !== undefined || (await reserved()) > 50 * MiB;
    await expect.poll(isUnderWay, { interval: 1 }).toBe(true);
    await node.kill();
    await node.start();
    const small = fs.promises.writeFile(`/small-${round}`, 'small');
    await Promise.all([writing, small]);
    expect(['written', 'ECONNRESET']).toContain(outcome);
    const bytes = await fs.promises.readFile('/large');
    const isNew = bytes.equals(bytesOf(state));
    expect(isNew || (outcome !== 'written' && bytes.equals(bytesOf(last)))).toBe(true);
    if (isNew) last = state;
    expect(await fs.check()).toEqual([]);
  }
  expect(node.errors).toEqual([]);
  await expectNothingHeldBack(fs);
}, 60_000);

/** Every acknowledged state, as the survivors tell it. */
function keepManifest(survivors: readonly Child[]) {
  const files = new Map<string, State>();
  let count = 0;
  let wake = (): void => undefined;
  for (const { process } of survivors) {
    process.on('message', (message: Acknowledged) => {
      if (message.kind !== 'acknowledged') return;
      for (const [path, state] of message.states) files.set(path, state);
      count++;
      wake();
    });
  }
  const acknowledgements = async (more: number): Promise<void> => {
    for (const enough = count + more; count < enough; ) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return { files, acknowledgements };
}

async function pause(survivors: readonly Child[]): Promise<void> {
  for (const survivor of survivors) survivor.send('pause');
  await Promise.all(survivors.map((survivor) => survivor.hear('paused')));
}

/** Files that are not as the manifest says. */
async function differences(fs: ClusterFs, files: ReadonlyMap<string, State>): Promise<string[]> {
  const found: string[] = [];
  for (const [path, state] of files) {
    const bytes = fs.existsSync(path) ? await fs.promises.readFile(path) : undefined;
    if (state === null ? bytes !== undefined : bytes?.equals(bytesOf(state)) !== true) {
      found.push(`${path}: ${bytes?.length ?? 'no'} bytes, acknowledged: ${JSON.stringify(state)}`);
    }
  }
  return found;
}

async function leave(survivors: readonly Child[]): Promise<Report[]> {
  for (const survivor of survivors) survivor.send('leave');
  const reports = await Promise.all(survivors.map((survivor) => survivor.hear<Report>('report')));
  await Promise.all(survivors.map((survivor) => survivor.ended()));
  return reports;
}

async function expectCountersWhole(fs: ClusterFs, reports: readonly Report[]): Promise<void> {
  const bytes = await fs.promises.readFile('/counters');
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const observer = new Observer();
  observer.look(words);
  expect(observer.findings).toEqual([]);
  for (const { index, counts } of reports) {
    expect(lostIncrements(words, index, Uint32Array.from(counts)).slice(0, 10)).toEqual([]);
  }
}

async function expectNothingHeldBack(fs: ClusterFs): Promise<void> {
  const left = async () => {
    const { quarantinedBytes, unresolvedSessions } = await fs.status();
    return { quarantinedBytes, unresolvedSessions };
  };
  await expect.poll(left, { timeout: 5000 }).toEqual({ quarantinedBytes: 0, unresolvedSessions: [] });
  expect(await fs.check()).toEqual([]);
}

test('views that follow by hand keep what they show when the node dies, and dies again', async () => {
  const node = await startNodeProcess();
  const fs = await mountForTest(node);
  const [first, second] = [await mountForTest(node), await mountForTest(node)];
  const old = Buffer.alloc(64 * 4096, 1);
  await fs.promises.writeFile('/file', old);
  const views = [
    await first.map('/file', { follow: 'manual' }),
    await second.map('/file', { follow: 'manual', mode: 'rw' }),
  ];
  const expectOld = () => {
    for (const { bytes } of views) expect(Buffer.compare(bytes, old)).toBe(0);
  };
  await fs.promises.writeFile('/file', Buffer.alloc(80 * 4096, 2));
  for (let death = 0; death < 2; death++) {
    await node.kill();
    await node.start();
    await expect.poll(async () => (await fs.status()).unresolvedSessions).toEqual([]);
    // Whatever is free is somebody's now.
    await fs.promises.writeFile(`/other-${death}`, Buffer.alloc(64 * 4096, 3));
    expectOld();
    expect(await fs.check()).toEqual([]);
  }
  old[0] = 9;
  (views[1] as View).bytes[0] = 9;
  expectOld();

  for (const view of views) expect((await view.advance()).bytes[0]).toBe(2);
  await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
  for (const death of [0, 1])
    expect((await fs.promises.readFile(`/other-${death}`)).every((byte) => byte === 3)).toBe(true);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
});
