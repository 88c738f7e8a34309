/**
 * Views of files of another home from which nobody can take a page, and that keep what they show: of clients
 * without userfaultfd, of users that may only read, and those that follow by hand.
 */
import { once } from 'node:events';
import { type ClusterFs, type MountOptions, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeOptions, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { asUser, canBecomeOthers } from '../hostile/as-user.ts';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const page = 4096;
const path = '/file';
const size = 4 * 65_536;
const other = 4_201;
/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };
const timeout = 60_000;

interface Scene {
  readonly home: NodeProcess;
  readonly node: NodeProcess;
  /** Clients of the home, and of the node that joined. */
  readonly fs: ClusterFs;
  readonly far: ClusterFs;
}

const filled = (value: number, length = size): Buffer => Buffer.alloc(length, value);
const isAll = (bytes: Uint8Array, value: number): boolean => bytes.every((byte) => byte === value);

async function start(options: NodeOptions = {}): Promise<Scene> {
  const peerPort = await freePort();
  const home = await startNodeProcess({ peerPort, name: 'home', memory: 128 * MiB });
  const node = await startNodeProcess({ joinPort: peerPort, name: 'far', ...options });
  const fs = await mountForTest(home);
  await fs.promises.writeFile(path, filled(1));
  return { home, node, fs, far: await mountForTest(node) };
}

async function mountOf({ url }: NodeProcess, options: MountOptions): Promise<ClusterFs> {
  const fs = await mount(url, options);
  onTestFinished(() => fs.unmount());
  return fs;
}

interface Seen {
  readonly values: readonly number[];
  readonly wentBack: number;
  readonly looks: number;
}

async function startViewer(
  { url }: NodeProcess,
  mode: 'pinned' | 'on-demand',
  follow: 'live' | 'manual',
): Promise<Child & { ask(what?: 'advance'): Promise<Seen> }> {
  const child = startChild('../cluster/copy-viewer.mjs', [url, path, mode, follow]);
  await child.hear('ready');
  const ask = (what: 'advance' | 'look' = 'look'): Promise<Seen> => {
    child.send(what);
    return child.hear<Seen>('seen');
  };
  return { ...child, ask };
}

/** Nothing of a copy is left when nobody maps it any more. */
async function expectGone({ home, node, fs, far }: Scene): Promise<void> {
  await expect
    .poll(async () => {
      const { reservedBytes, quarantinedBytes } = await far.status();
      return [reservedBytes, quarantinedBytes];
    }, patience)
    .toEqual([0, 0]);
  for (const each of [fs, far]) expect(await each.check()).toEqual([]);
  expect([home.errors, node.errors]).toEqual([[], []]);
}

describe.each([
  ['pinned', { mode: 'pinned' }],
  ['mounted to read', { access: 'r' }],
] as const)('of a client that is %s', (_, options) => {
  test('they follow what is stored at the home, through views and by API, and nobody waits', async () => {
    const scene = await start();
    const { fs, node } = scene;
    const holder = await mountOf(node, options);
    expect(holder.session.onDemand).toBe(false);
    const [view, part] = [await holder.map(path), await holder.map(path, { offset: 65_536, length: page })];
    expect(isAll(view.bytes, 1)).toBe(true);
    const writer = await fs.map(path, { mode: 'rw' });
    for (let value = 2; value < 40; value++) {
      writer.bytes.fill(value);
      await expect.poll(() => isAll(view.bytes, value) && isAll(part.bytes, value)).toBe(true);
    }
    writer.close();
    const handle = await fs.promises.open(path, 'r+');
    await handle.write(filled(7, 10), 0, 10, 100);
    await expect.poll(() => isAll(view.bytes.subarray(100, 110), 7)).toBe(true);
    await handle.truncate(3 * page);
    await expect.poll(() => view.bytes.length).toBe(3 * page);
    await handle.close();
    await fs.promises.unlink(path);
    expect(view.bytes[100]).toBe(7);
    for (const each of [view, part]) each.close();
    await expectGone(scene);
  });
});

test('processes see what is stored, page by page, never an older one after a newer', {
  timeout,
}, async () => {
  const scene = await start();
  const { fs, node } = scene;
  const viewers = [
    await startViewer(node, 'pinned', 'live'),
    await startViewer(node, 'pinned', 'live'),
    await startViewer(node, 'on-demand', 'live'),
  ];
  const writer = await fs.map(path, { mode: 'rw' });
  for (let value = 2; value <= 250; value++) {
    writer.bytes.fill(value);
    await fs.status();
  }
  for (const viewer of viewers) {
    await expect.poll(async () => (await viewer.ask()).values).toEqual([250]);
    expect((await viewer.ask()).wentBack).toBe(0);
  }
  writer.close();
  for (const viewer of viewers) await viewer.kill();
  await expectGone(scene);
});

test('one that follows by hand shows one version, of the moment of map or advance', async () => {
  const scene = await start();
  const { fs, node } = scene;
  const viewer = await startViewer(node, 'on-demand', 'manual');
  await fs.promises.writeFile(path, filled(2));
  await viewer.hear('change');
  expect((await viewer.ask()).values).toEqual([1]);
  let isOver = false;
  let value = 3;
  const writing = (async () => {
    for (; !isOver; value = value < 250 ? value + 1 : 3) await fs.promises.writeFile(path, filled(value));
  })();
  const seen = new Set<number>();
  for (let round = 0; round < 40; round++) {
    const { values } = await viewer.ask('advance');
    expect(values).toHaveLength(1);
    seen.add(values[0] as number);
    expect((await viewer.ask()).values).toEqual(values);
  }
  isOver = true;
  await writing;
  expect(seen.size).toBeGreaterThan(5);
  await viewer.kill();
  await expectGone(scene);
});

test('they show what processes of their own node store, again and again', { timeout }, async () => {
  const scene = await start();
  const { node, far } = scene;
  const live = await startViewer(node, 'pinned', 'live');
  const byHand = await startViewer(node, 'on-demand', 'manual');
  const writers = [await far.map(path, { mode: 'rw' })];
  for (let value = 2; value < 20; value++) {
    // One that is mapped where all that is here is in the copy already waits as the others do.
    if (value === 10) writers.push(await far.map(path, { mode: 'rw' }));
    writers.at(-1)?.bytes.fill(value);
    expect((await byHand.ask('advance')).values).toEqual([value]);
    await expect.poll(async () => (await live.ask()).values, patience).toEqual([value]);
  }
  expect((await live.ask()).wentBack).toBe(0);
  for (const writer of writers) writer.close();
  for (const viewer of [live, byHand]) await viewer.kill();
  await expectGone(scene);
});

test('a view advances to one moment of what its own node stores all the time', { timeout }, async () => {
  const scene = await start();
  const { node, far } = scene;
  const view = await far.map(path, { follow: 'manual' });
  const words = new Uint32Array(view.buffer);
  const counter = startChild('../cluster/counting.mjs', [node.url, path]);
  await counter.hear('counted');
  let before = 0;
  for (let round = 0; round < 30; round++) {
    await view.advance();
    // It counts in one block after the other.
    const counts = Array.from({ length: size / 65_536 }, (_, i) => words[(i * 65_536) / 4] as number);
    const [first = 0, last = 0] = [counts[0], counts.at(-1)];
    expect([first, first - 1]).toContain(last);
    expect(counts).toEqual([...counts].sort((a, b) => b - a));
    expect(first).toBeGreaterThanOrEqual(before);
    before = first;
    await counter.hear('counted');
  }
  expect(before).toBeGreaterThan(0x01010101);
  await counter.kill();
  view.close();
  await expectGone(scene);
});

test('a stopped process keeps its pages, holds nobody up, and goes on with the newest', async () => {
  const scene = await start();
  const { fs, node, far } = scene;
  const viewer = await startViewer(node, 'pinned', 'live');
  viewer.process.kill('SIGSTOP');
  const writer = await fs.map(path, { mode: 'rw' });
  for (let value = 2; value < 20; value++) {
    const sinceMs = performance.now();
    writer.bytes.fill(value);
    expect(performance.now() - sinceMs).toBeLessThan(1000);
    // Others at that node see it.
    await expect.poll(async () => isAll(await far.promises.readFile(path), value)).toBe(true);
  }
  await expect.poll(async () => (await far.status()).quarantinedBytes).toBeGreaterThan(0);
  viewer.process.kill('SIGCONT');
  await expect.poll(async () => (await viewer.ask()).values).toEqual([19]);
  expect((await viewer.ask()).wentBack).toBe(0);
  writer.close();
  await viewer.kill();
  await expectGone(scene);
});

test('while the home is away they show what they had, and follow when it is back', { timeout }, async () => {
  const scene = await start();
  const { home, fs, node, far } = scene;
  const viewers = [await startViewer(node, 'pinned', 'live'), await startViewer(node, 'pinned', 'manual')];
  await fs.promises.writeFile('/elsewhere', filled(1));
  await home.kill();
  // Fails when the lease is over.
  await expect(far.promises.readFile('/elsewhere')).rejects.toMatchObject({ code: 'ECONNRESET' });
  for (const viewer of viewers) expect((await viewer.ask()).values).toEqual([1]);
  await home.start();
  await fs.promises.writeFile(path, filled(2));
  const [live, manual] = viewers as [(typeof viewers)[0], (typeof viewers)[0]];
  await expect.poll(async () => (await live.ask()).values, patience).toEqual([2]);
  expect((await manual.ask()).values).toEqual([1]);
  expect((await manual.ask('advance')).values).toEqual([2]);
  for (const viewer of viewers) await viewer.kill();
  await expectGone({ ...scene, node: { ...node, errors: [] } });
});

test('when their own node is killed they show what they had, and go on', { timeout }, async () => {
  const scene = await start({ peerPort: await freePort() });
  const { fs, node, far } = scene;
  const viewers = [await startViewer(node, 'pinned', 'live'), await startViewer(node, 'on-demand', 'manual')];
  const [live, manual] = viewers as [(typeof viewers)[0], (typeof viewers)[0]];
  for (let death = 0; death < 2; death++) {
    await node.kill();
    await fs.promises.writeFile(path, filled(2 + death));
    expect((await manual.ask()).values).toEqual([1]);
    await node.start();
    await expect.poll(async () => (await live.ask()).values, patience).toEqual([2 + death]);
    await manual.hear('change');
    // Whatever is free is somebody's now.
    await expect.poll(async () => (await far.status()).unresolvedSessions, patience).toEqual([]);
    await far.promises.writeFile('/other', filled(99, 8 * size));
    expect((await manual.ask()).values).toEqual([1]);
    expect(await far.check()).toEqual([]);
  }
  expect((await manual.ask('advance')).values).toEqual([3]);
  for (const viewer of viewers) await viewer.kill();
  await expectGone(scene);
});

test('they share a copy, beside which the blocks have room; one that has none is ENOSPC', async () => {
  const scene = await start({ memory: 24 * MiB, capacity: 256 * MiB });
  const { fs, node, far } = scene;
  const holders = [await mountOf(node, { mode: 'pinned' }), await mountOf(node, { access: 'r' })];
  await fs.promises.writeFile('/large', filled(5, 18 * MiB));
  const views = await Promise.all(holders.map((holder) => holder.map('/large')));
  for (const { bytes } of views) expect(isAll(bytes, 5)).toBe(true);
  const { reservedBytes } = await far.status();
  expect(reservedBytes).toBe(18 * MiB);
  expect(isAll(await far.promises.readFile('/large'), 5)).toBe(true);
  await fs.promises.writeFile('/too-large', filled(6, 12 * MiB));
  await expect((holders[0] as ClusterFs).map('/too-large')).rejects.toMatchObject({
    code: 'ENOSPC',
    message: expect.stringContaining('no memory for the copy'),
  });
  // What went from the blocks is still heard of.
  await fs.promises.writeFile('/large', filled(8, MiB));
  await expect.poll(() => views.every(({ bytes }) => isAll(bytes, 8) && bytes.length === MiB)).toBe(true);
  for (const view of views) view.close();
  await expectGone(scene);
});

test('to store, they are refused, with the reason', async () => {
  const { node, far } = await start();
  const pinned = await mountOf(node, { mode: 'pinned' });
  await expect(pinned.map(path, { mode: 'rw' })).rejects.toMatchObject({
    code: 'ENOTSUP',
    message: expect.stringContaining(
      'the home of the file is another node: a client without userfaultfd can',
    ),
  });
  await expect(far.map(path, { mode: 'rw', follow: 'manual' })).rejects.toMatchObject({
    code: 'ENOTSUP',
    message: expect.stringContaining('a view that follows by hand can only read it'),
  });
});

test('who would store at another node hears who has the file pinned at its home', async () => {
  const { home, far } = await start();
  const pinned = await mountOf(home, { mode: 'pinned' });
  const view = await pinned.map(path);
  const error = await far.map(path, { mode: 'rw' }).catch((reason: Error) => reason);
  const who = `session ${pinned.session.id} (pid ${process.pid}) has it pinned at its home`;
  expect(error).toMatchObject({ code: 'EBUSY', path, message: expect.stringContaining(who) });
  view.close();
  // The home hears of that by another way than of the next question.
  const mapAndClose = () => far.map(path, { mode: 'rw' }).then((writer) => writer.close());
  await expect.poll(() => mapAndClose().then(() => 'mapped'), patience).toBe('mapped');
});

test('a file is moved to no node where it is mapped so, and from its home under who has a copy', async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * MiB });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const c = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'c' });
  const fs = await mountForTest(a);
  await fs.promises.writeFile(path, filled(1));
  const pinned = await mountOf(b, { mode: 'pinned' });
  const manual = await mountForTest(b);
  const views = [await pinned.map(path), await manual.map(path, { follow: 'manual' })];
  const [live, held] = views as [(typeof views)[0], (typeof views)[0]];
  await expect(fs.migrate(path, 'b')).rejects.toMatchObject({
    code: 'EBUSY',
    message: expect.stringContaining(`pinned by session ${pinned.session.id} (pid ${process.pid})`),
  });
  await fs.migrate(path, 'c');
  const changed = once(held, 'change');
  await fs.promises.writeFile(path, filled(2));
  await expect.poll(() => isAll(live.bytes, 2)).toBe(true);
  await changed;
  expect(isAll(held.bytes, 1)).toBe(true);
  await fs.migrate(path, 'a');
  expect(isAll((await held.advance()).bytes, 2)).toBe(true);
  const writer = await fs.map(path, { mode: 'rw' });
  writer.bytes.fill(3);
  await expect.poll(() => isAll(live.bytes, 3)).toBe(true);
  for (const view of [...views, writer]) view.close();
  // The node hears of that by another way than of the move.
  await expect.poll(() => fs.migrate(path, 'b').then(() => 'moved'), patience).toBe('moved');
  const scene = { home: a, node: b, fs, far: manual };
  await expectGone(scene);
  expect(c.errors).toEqual([]);
});

test.runIf(canBecomeOthers)('a user who may only read maps and reads files of other nodes', async () => {
  const { node, fs } = await start({ allowUids: [{ id: other, access: 'r' }] });
  await fs.promises.writeFile('/text', 'text');
  const outcomes = await asUser(node, { uid: other }, [
    ['mount', { access: 'r' }],
    ['map', '/text'],
    ['viewText'],
    ['call', 'readFile', '/text', 'utf8'],
    ['unmount'],
  ]);
  expect(outcomes).toEqual([{}, {}, { value: 'text' }, { value: 'text' }, {}]);
});
