/**
 * Mounts that end in the middle of something: a copy that is under way, a node that is away. Nothing of them
 * touches what others get meanwhile, and nobody waits for them.
 */
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startChild } from './children.ts';
import { mountForTest, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const content = Buffer.alloc(16 * MiB, 7);

/** Turns of the event loop that a copy has before its mount ends. */
const turns = [0, 1, 3, 10, 30, 100, 300];

const copies: readonly (readonly [string, (fs: ClusterFs) => Promise<unknown>])[] = [
  ['a new file is written', (fs) => fs.promises.writeFile('/new', content)],
  ['bytes are written in place', overwrite],
  ['a file is read', (fs) => fs.promises.readFile('/large')],
];

for (const [name, begin] of copies) {
  test(`an unmount while ${name}`, async () => {
    const node = await startNodeProcess({ memory: 128 * MiB });
    const fs = await mountForTest(node);
    await fs.promises.writeFile('/large', content);
    const outcomes: unknown[] = [];
    for (const count of turns) {
      const leaving = await mount(node.url);
      const copy = begin(leaving).then(
        () => 'done',
        (error: unknown) => error,
      );
      for (let i = 0; i < count; i++) await setImmediate();
      await leaving.unmount();
      outcomes.push(await whileFilesAreOpen(copy));
    }
    for (const outcome of outcomes) if (outcome !== 'done') expect(outcome).toMatchObject({ code: 'EBADF' });
    expect(outcomes.some((outcome) => outcome !== 'done')).toBe(true);
    await expect.poll(async () => (await fs.status()).sessions).toHaveLength(1);
    expect(await fs.status()).toMatchObject({ quarantinedBytes: 0 });
    expect(content.equals(await fs.promises.readFile('/large'))).toBe(true);
    expect(await fs.check()).toEqual([]);
    expect(node.errors).toEqual([]);
  });
}

test('a mount that ended while its node was down is not waited for, one that is stopped is', async () => {
  const node = await startNodeProcess();
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/large', Buffer.alloc(MiB));
  const [leaver, stopped] = [startChild('leaver.mjs', [node.url]), startChild('leaver.mjs', [node.url])];
  for (const child of [leaver, stopped]) await child.hear('mounted');
  stopped.process.kill('SIGSTOP');
  await node.kill();
  leaver.send('unmount');
  await leaver.hear('unmounted');
  await node.start();
  const waitedFor = async () => (await fs.status()).unresolvedSessions;
  await expect.poll(waitedFor).toEqual([expect.objectContaining({ pid: stopped.pid })]);
  expect(leaver.isAlive).toBe(true);
  await expect(fs.move('/large')).rejects.toMatchObject({ code: 'EBUSY' });
  expect(await waitedFor()).toHaveLength(1);
  stopped.process.kill('SIGCONT');
  await expect.poll(waitedFor).toEqual([]);
  await fs.move('/large');
  expect(await fs.check()).toEqual([]);
});

test('a mount that ends when its node is killed before it hears of it is not waited for', async () => {
  const node = await startNodeProcess();
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/large', Buffer.alloc(MiB));
  const leaver = startChild('leaver.mjs', [node.url]);
  await leaver.hear('mounted');
  // It does not hear of it any more.
  process.kill(node.pid, 'SIGSTOP');
  leaver.send('unmount');
  await leaver.hear('unmounted');
  await node.kill();
  await node.start();
  await expect.poll(async () => (await fs.status()).unresolvedSessions).toEqual([]);
  expect(leaver.isAlive).toBe(true);
  await fs.move('/large');
});

test('of several mounts of a process, one ends while the node is down', async () => {
  const node = await startNodeProcess();
  const fs = await mountForTest(node);
  const leaving = await mount(node.url);
  await fs.promises.writeFile('/large', Buffer.alloc(MiB));
  const view = await leaving.map('/large', { mode: 'rw' });
  view.bytes[0] = 1;
  await node.kill();
  await leaving.unmount();
  await node.start();
  await expect.poll(async () => (await fs.status()).unresolvedSessions).toEqual([]);
  await fs.move('/large');
  expect((await fs.promises.readFile('/large'))[0]).toBe(1);
});

test('a mount that ends while its node is down looks for it no more', async () => {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  await node.kill();
  rmSync(node.socketPath, { force: true });
  let looks = 0;
  const listener = createServer((socket) => {
    looks++;
    socket.destroy();
  }).listen(node.socketPath);
  onTestFinished(() => void listener.close());
  // From here on there is a quarter of a second between two looks.
  while (looks < 8) await once(listener, 'connection');
  await fs.unmount();
  expect(looks).toBe(8);
});

test('a mount that ended is not waited for, whatever its process has open of the node', async () => {
  const node = await startNodeProcess();
  const leaving = await mount(node.url);
  const held = openSync(join(node.runDirectory, 'data'), 'r');
  onTestFinished(() => closeSync(held));
  await leaving.promises.writeFile('/large', Buffer.alloc(MiB));
  await node.kill();
  await leaving.unmount();
  await node.start();
  const fs = await mountForTest(node);
  await expect.poll(async () => (await fs.status()).unresolvedSessions).toEqual([]);
  await fs.move('/large');
});

async function overwrite(fs: ClusterFs): Promise<void> {
  const file = await fs.promises.open('/large', 'r+');
  for (let at = 0; at < content.length; at += MiB) await file.write(content, at, MiB, at);
}

/** Waits for a copy; files that get the numbers of what its mount has closed stay empty meanwhile. */
async function whileFilesAreOpen<T>(copy: Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-numbers-'));
  const files = Array.from({ length: 40 }, (_, i) => openSync(join(directory, `${i}`), 'w+'));
  try {
    const outcome = await copy;
    expect(files.map((fd) => fstatSync(fd).size).filter((size) => size > 0)).toEqual([]);
    return outcome;
  } finally {
    for (const fd of files) closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}
