/**
 * What a sync says of stores that were lost before it: EIO, once to each who was there, and nothing to
 * others.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import {
  mountForTest,
  type NodeOptions,
  type NodeProcess,
  newStore,
  startNodeProcess,
} from '../chaos/node-process.ts';
import { never } from '../durability/power.ts';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const size = 4 * 65_536;
const timeout = 60_000;

interface Two {
  /** The home of the files. */
  readonly a: NodeProcess;
  readonly b: NodeProcess;
  readonly atA: ClusterFs;
  readonly atB: ClusterFs;
}

/** Nothing is stored that was not asked for. */
async function start({ isStored }: { readonly isStored: boolean }): Promise<Two> {
  const joinPort = await freePort();
  const common = (): NodeOptions => ({
    memory: 16 * MiB,
    capacity: 64 * MiB,
    ...(isStored ? { store: newStore(), writeBackMs: never } : {}),
  });
  const a = await startNodeProcess({ ...common(), peerPort: joinPort, name: 'a' });
  const b = await startNodeProcess({ ...common(), joinPort, peerPort: await freePort(), name: 'b' });
  const [atA, atB] = [await mountForTest(a), await mountForTest(b)];
  await atA.promises.writeFile('/file', Buffer.alloc(size, 7));
  await atA.sync();
  return { a, b, atA, atB };
}

const lost = { code: 'EIO' };

/** Its client here has come back: while this thread waits in a touch, it could not. */
async function restart(node: NodeProcess, fs: ClusterFs): Promise<void> {
  await node.kill();
  await node.start();
  await expect.poll(async () => (await fs.status()).unresolvedSessions).toEqual([]);
}

for (const isStored of [false, true]) {
  test(`what is lost with a killed home, stores: ${isStored}`, { timeout }, async () => {
    const { a, b, atA, atB } = await start({ isStored });
    const view = await atB.map('/file', { mode: 'rw' });
    const other = await mountForTest(b);
    view.bytes[0] = 1;
    await restart(a, atA);
    await expect(view.sync()).rejects.toMatchObject({ ...lost, path: '/file' });
    expect(view.bytes[0]).toBe(7);
    // Somebody who had it mapped, too, and may rely on what it saw there.
    const handle = await other.promises.open('/file', 'r+');
    await expect(handle.sync()).rejects.toMatchObject(lost);
    await handle.sync();
    await expect(other.sync()).resolves.toBeDefined();
    // Who stores again, or comes later, hears nothing of it.
    view.bytes[0] = 2;
    await view.sync();
    await (await mountForTest(b)).sync('/file');
    expect((await atA.promises.readFile('/file'))[0]).toBe(2);
    expect([a.errors, b.errors]).toEqual([[], []]);
  });
}

test('a sync of everything says it once, of all files', { timeout }, async () => {
  const { a, atA, atB } = await start({ isStored: false });
  await atA.promises.writeFile('/second', Buffer.alloc(size, 7));
  for (const path of ['/file', '/second']) (await atB.map(path, { mode: 'rw' })).bytes[0] = 1;
  await restart(a, atA);
  await expect(atB.sync()).rejects.toMatchObject(lost);
  await atB.sync();
  for (const path of ['/file', '/second']) await atB.sync(path);
});

test('a home that is killed and keeps its memory loses nothing that came to it', { timeout }, async () => {
  const { a, atA, atB } = await start({ isStored: true });
  const handle = await atB.promises.open('/file', 'r+');
  await handle.write(Buffer.alloc(size, 1), 0, size, 0);
  await restart(a, atA);
  await handle.sync();
  expect((await atB.promises.readFile('/file')).equals(Buffer.alloc(size, 1))).toBe(true);
  await handle.close();
});

test('a home that loses its memory says so to who wrote and did not sync', { timeout }, async () => {
  const { a, atA, atB } = await start({ isStored: true });
  const handle = await atB.promises.open('/file', 'r+');
  await handle.write(Buffer.alloc(size, 1), 0, size, 0);
  await a.kill();
  rmSync(a.runDirectory, { recursive: true });
  await a.start();
  await expect(atA.status()).rejects.toMatchObject({ code: 'ESTALE' });
  await expect(handle.sync()).rejects.toMatchObject(lost);
  expect((await atB.promises.readFile('/file'))[0]).toBe(7);
  await handle.write(Buffer.alloc(size, 2), 0, size, 0);
  await handle.sync();
  await handle.close();
});

test('a node that is killed says so to its own clients, when it is there again', { timeout }, async () => {
  const { a, b, atA, atB } = await start({ isStored: true });
  const view = await atB.map('/file', { mode: 'rw' });
  view.bytes[0] = 1;
  await view.sync();
  view.bytes[0] = 2;
  await restart(b, atB);
  await expect(view.sync()).rejects.toMatchObject({ ...lost, path: '/file' });
  await view.sync();
  expect((await atA.promises.readFile('/file'))[0]).toBe(1);
  // All know of it: when the node is killed again, nothing is lost.
  await expect.poll(() => hasNothing(b)).toBe(true);
  await restart(b, atB);
  await view.sync();
  expect([a.errors, b.errors]).toEqual([[], []]);
});

/** Whether the node knows all that was stored through it to be at the homes. */
const hasNothing = ({ runDirectory }: NodeProcess): boolean =>
  readFileSync(join(runDirectory, 'unsaved')).every((byte) => byte === 0);

for (const isStored of [false, true]) {
  test(`a node that is killed when all was synced says nothing, stores: ${isStored}`, {
    timeout,
  }, async () => {
    const { a, b, atA, atB } = await start({ isStored });
    await atA.promises.writeFile('/read', Buffer.alloc(size, 7));
    const view = await atB.map('/file', { mode: 'rw' });
    const onlyRead = await atB.map('/read', { mode: 'rw' });
    expect(onlyRead.bytes[0]).toBe(7);
    view.bytes[0] = 1;
    expect(hasNothing(b)).toBe(false);
    await view.sync();
    await expect.poll(() => hasNothing(b)).toBe(true);
    await restart(b, atB);
    for (const each of [view, onlyRead]) await each.sync();
    await atB.sync();
    expect(view.bytes[0]).toBe(1);
    expect((await atA.promises.readFile('/file'))[0]).toBe(1);
    expect([a.errors, b.errors]).toEqual([[], []]);
  });
}

test('what a client was not told of is said after its node was killed again', { timeout }, async () => {
  const { b, atA, atB } = await start({ isStored: true });
  await atA.promises.writeFile('/second', Buffer.alloc(size, 7));
  const views = [await atB.map('/file', { mode: 'rw' }), await atB.map('/second', { mode: 'rw' })] as const;
  views[0].bytes[0] = 1;
  for (let death = 0; death < 2; death++) await restart(b, atB);
  await views[1].sync();
  await expect(views[0].sync()).rejects.toMatchObject(lost);
  await views[0].sync();
});

test('what was lost with a home is said by a node that was killed before it heard of that', {
  timeout,
}, async () => {
  const { a, b, atA, atB } = await start({ isStored: true });
  const view = await atB.map('/file', { mode: 'rw' });
  view.bytes[0] = 1;
  // It comes home, and is nowhere but in memory there.
  expect((await atA.promises.readFile('/file'))[0]).toBe(1);
  await expect.poll(() => hasNothing(b)).toBe(true);
  await b.kill();
  await a.kill();
  rmSync(a.runDirectory, { recursive: true });
  await a.start();
  await b.start();
  await expect.poll(async () => (await atB.status()).unresolvedSessions).toEqual([]);
  await expect(view.sync()).rejects.toMatchObject(lost);
  expect(view.bytes[0]).toBe(7);
  await view.sync();
});

test('what was lost with a home is said after the own node was killed, too', { timeout }, async () => {
  const { a, b, atB } = await start({ isStored: true });
  const view = await atB.map('/file', { mode: 'rw' });
  view.bytes[0] = 1;
  await a.kill();
  rmSync(a.runDirectory, { recursive: true });
  await a.start();
  await expect.poll(() => view.bytes[0], { timeout }).toBe(7);
  await restart(b, atB);
  await expect(view.sync()).rejects.toMatchObject(lost);
  await view.sync();
});
