/** The same again and again: mounts, views, handles and nodes that come and go leave nothing behind. */
import { readdirSync, readFileSync } from 'node:fs';
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { memoryOf, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const cycles = 60;

/** What this process has of the kernel's. */
const holdings = () => ({
  descriptors: readdirSync('/proc/self/fd').length,
  threads: readdirSync('/proc/self/task').length,
  mappings: readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('clusterfs')).length,
});

test('mounting and unmounting', async () => {
  const node = await startNodeProcess();
  const cycle = async () => {
    const fs = await mount(node.url);
    await fs.promises.writeFile('/file', Buffer.alloc(100_000));
    const view = await fs.map('/file', { mode: 'rw' });
    await view.wait(0, 1, 1);
    view.bytes[0] = 1;
    await fs.unmount();
  };
  for (let i = 0; i < 5; i++) await cycle();
  const before = { ...holdings(), node: node.descriptors().length };
  const memory = { own: memoryOf(process.pid), node: node.rssBytes() };
  for (let i = 0; i < cycles; i++) await cycle();
  await expect.poll(() => ({ ...holdings(), node: node.descriptors().length })).toEqual(before);
  expect(memoryOf(process.pid)).toBeLessThan(memory.own + 64 * MiB);
  expect(node.rssBytes()).toBeLessThan(memory.node + 48 * MiB);
  expect(node.errors).toEqual([]);
}, 60_000);

test('views, handles, streams and watchers of one mount', async () => {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', Buffer.alloc(100_000));
  const cycle = async (i: number) => {
    const view = await fs.map('/file', {
      mode: i % 2 === 0 ? 'r' : 'rw',
      reserve: MiB,
      follow: i % 3 === 0 ? 'manual' : 'live',
    });
    const handle = await fs.promises.open('/file', 'r+');
    await handle.write(Buffer.alloc(10), 0, 10, 0);
    await handle.close();
    const events = fs.events({ path: '/', signal: AbortSignal.abort() });
    for await (const _ of events);
    view.close();
  };
  const noViews = () => expect.poll(async () => (await fs.holders()).length).toBe(0);
  for (let i = 0; i < 20; i++) await cycle(i);
  await noViews();
  const before = { ...holdings(), node: node.descriptors().length };
  for (let i = 0; i < 1000; i++) await cycle(i);
  await noViews();
  expect({ ...holdings(), node: node.descriptors().length }).toEqual(before);
  const { sessions } = (await fs.status()) as unknown as {
    sessions: readonly { handles: number; views: number }[];
  };
  expect(sessions.map(({ handles, views }) => ({ handles, views }))).toEqual([{ handles: 0, views: 0 }]);
  expect(await fs.check()).toEqual([]);
}, 60_000);

test('a thousand views at once', async () => {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', Buffer.alloc(8192, 1));
  const views = await Promise.all(
    Array.from({ length: 1000 }, (_, i) => fs.map('/file', { mode: i % 2 === 0 ? 'r' : 'rw' })),
  );
  await fs.move('/file');
  await fs.promises.writeFile('/file', Buffer.alloc(8192, 2));
  await expect.poll(() => views.every(({ bytes }) => bytes[8191] === 2)).toBe(true);
  for (const view of views) view.close();
  await expect.poll(async () => (await fs.holders()).length).toBe(0);
  await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('a node that is started and stopped leaves nothing on the machine', async () => {
  const shm = () => readdirSync('/dev/shm').filter((name) => name.startsWith('clusterfs-'));
  const before = shm();
  for (let i = 0; i < 5; i++) {
    const node = await startNodeProcess();
    const fs = await mount(node.url);
    await fs.promises.writeFile('/file', 'x');
    await fs.unmount();
    await node.stop();
    expect(readdirSync(node.socketPath.replace(/\/[^/]*$/, ''))).toEqual([]);
  }
  expect(shm().filter((name) => !before.includes(name))).toEqual([]);
}, 30_000);
