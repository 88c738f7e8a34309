/**
 * Views that are shared: words that processes wait on, and memory that threads have, while the file moves.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startChild } from './children.ts';
import { type NodeProcess, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const rounds = 60;

test('processes wake each other through a word while its file moves', async () => {
  const { node, fs } = await start();
  await fs.promises.writeFile('/words', Buffer.alloc(MiB));
  const waiter = startChild('word-waiter.mjs', [node.url, rounds]);
  await waiter.hear('ready');
  const view = await fs.map('/words', { mode: 'rw' });
  const words = new Int32Array(view.buffer);
  for (let round = 1; round <= rounds; round++) {
    if (round % 2 === 0) await fs.move('/words');
    if (round % 15 === 0) await fs.defrag();
    const answered = view.wait(8192, round - 1, 5000);
    Atomics.store(words, 1024, round);
    view.notify(4096);
    if (round % 3 === 0) await fs.move('/words');
    expect(['ok', 'not-equal']).toContain(await answered);
    await expect.poll(() => Atomics.load(words, 2048), { interval: 1 }).toBe(round);
  }
  const { seen } = await waiter.hear<{ seen: readonly number[] }>('report');
  expect(seen).toEqual(Array.from({ length: rounds }, (_, i) => i + 1));
  await waiter.ended();
  await expectTidy(node, fs);
}, 30_000);

test('a thread counts in a shared view while its file moves, and outlives the view', async () => {
  const { node, fs } = await start();
  await fs.promises.writeFile('/counts', Buffer.alloc(2 * MiB));
  const view = await fs.map('/counts', { mode: 'rw', shared: true });
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const thread = new Worker(new URL('shared-counter.mjs', import.meta.url), {
    workerData: { buffer: view.buffer, stop: stop.buffer },
    execArgv: [],
  });
  onTestFinished(async () => {
    await thread.terminate();
  });
  await once(thread, 'message');
  for (let round = 0; round < rounds; round++) await (round % 20 === 19 ? fs.defrag() : fs.move('/counts'));
  Atomics.store(stop, 0, 1);
  const [count] = (await once(thread, 'message')) as [number];
  const counted = await fs.promises.readFile('/counts');
  const words = new Uint32Array(counted.buffer);
  expect(words.reduce((sum, word) => sum + word, 0)).toBe(count);

  const buffer = view.buffer as SharedArrayBuffer;
  view.close();
  await expect.poll(async () => (await fs.holders()).length).toBe(0);
  const left = new Uint8Array(buffer);
  left.fill(7);
  expect(left.length).toBe(2 * MiB);
  expect(counted.equals(await fs.promises.readFile('/counts'))).toBe(true);
  await expectTidy(node, fs);
}, 30_000);

async function start(): Promise<{ node: NodeProcess; fs: ClusterFs }> {
  const node = await startNodeProcess({ memory: 16 * MiB });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return { node, fs };
}

async function expectTidy(node: NodeProcess, fs: ClusterFs): Promise<void> {
  await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}
