/** A cluster whose nodes have stores: files that move between disks, and what is there when power is lost. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import {
  mountForTest,
  type NodeOptions,
  type NodeProcess,
  newStore,
  startNodeProcess,
} from '../chaos/node-process.ts';
import { cutPower, never } from '../durability/power.ts';
import { randomOf } from '../random.mjs';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const block = 65_536;
const timeout = 120_000;
/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };

interface Two {
  /** The coordinator. */
  readonly a: NodeProcess;
  readonly b: NodeProcess;
  readonly atA: ClusterFs;
  readonly atB: ClusterFs;
  readonly joinPort: number;
  /** Where b stores. */
  readonly storeOfB: string;
}

interface Starting extends Pick<NodeOptions, 'memory' | 'capacity' | 'writeBackMs'> {
  /** Of the coordinator. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The coordinator and a node that joined it, each with a store; nothing is stored that was not asked for. */
async function start({
  memory = 32 * MiB,
  capacity = 256 * MiB,
  writeBackMs = never,
  env = {},
}: Starting = {}): Promise<Two> {
  const joinPort = await freePort();
  const common = { memory, capacity, writeBackMs };
  const a = await startNodeProcess({ ...common, peerPort: joinPort, name: 'a', store: newStore(), env });
  const storeOfB = newStore();
  const own = { peerPort: await freePort(), store: storeOfB };
  const b = await startNodeProcess({ ...common, ...own, joinPort, name: 'b' });
  return { a, b, atA: await mountForTest(a), atB: await mountForTest(b), joinPort, storeOfB };
}

/** A mount that has found its node again. */
async function again(node: NodeProcess): Promise<ClusterFs> {
  return mountForTest(node);
}

async function expectSound(nodes: readonly NodeProcess[], mounts: readonly ClusterFs[]): Promise<void> {
  for (const fs of mounts) expect(await fs.check()).toEqual([]);
  expect(nodes.map(({ errors }) => errors)).toEqual(nodes.map(() => []));
}

/** The inodes of which a stopped node has something in its store. */
function storedFiles(store: string): unknown[] {
  const db = new Database(`${store}/metadata.db`, { readonly: true });
  try {
    return db.prepare('SELECT ino FROM stored UNION SELECT ino FROM durable').pluck().all();
  } finally {
    db.close();
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: NodeJS.ErrnoException) => error.code ?? String(error),
  );

test('what was synced before it moved is there when the new home loses its power', { timeout }, async () => {
  const { a, b, atA } = await start();
  const content = Buffer.alloc(5 * block + 100, 'stored');
  await atA.promises.writeFile('/f', content);
  await atA.promises.writeFile('/holes', '');
  await atA.promises.truncate('/holes', 3 * MiB);
  await atA.sync();
  for (const path of ['/f', '/holes']) await atA.migrate(path, 'b');
  await cutPower(b);
  await b.start();
  const atB = await again(b);
  for (const fs of [atA, atB]) {
    expect((await fs.promises.readFile('/f')).equals(content)).toBe(true);
    expect((await fs.promises.readFile('/holes')).equals(Buffer.alloc(3 * MiB))).toBe(true);
  }
  await expectSound([a, b], [atA, atB]);
});

test('a sync on any node makes content durable at its home and names at the coordinator', {
  timeout,
}, async () => {
  const { a, b, atA, atB } = await start();
  await atA.promises.mkdir('/d');
  for (const path of ['/d/handle', '/d/view', '/d/all']) {
    await atA.promises.writeFile(path, Buffer.alloc(2 * block));
    await atA.migrate(path, 'b');
  }
  await using handle = await atA.promises.open('/d/handle', 'r+');
  await handle.write(Buffer.from('by handle'), 0, 9, 3 * block);
  await handle.sync();
  const view = await atA.map('/d/view', { mode: 'rw' });
  view.bytes[block] = 77;
  await view.sync();
  await atB.promises.rename('/d/handle', '/d/renamed');
  await atB.promises.appendFile('/d/all', 'more');
  await atB.sync();
  await Promise.all([cutPower(a), cutPower(b)]);
  await a.start();
  await b.start();
  for (const fs of [await again(a), await again(b)]) {
    expect((await fs.promises.readdir('/d')).sort()).toEqual(['all', 'renamed', 'view']);
    const renamed = await fs.promises.readFile('/d/renamed');
    expect(renamed.subarray(3 * block).toString()).toBe('by handle');
    expect((await fs.promises.readFile('/d/view'))[block]).toBe(77);
    expect((await fs.promises.readFile('/d/all')).subarray(2 * block).toString()).toBe('more');
  }
});

test('what takes the name of another file is stored before it does, wherever it is', {
  timeout,
}, async () => {
  const { a, b, atA, atB } = await start();
  await atA.promises.writeFile('/f', 'old');
  await atA.promises.writeFile('/new', 'written first');
  await atA.sync();
  for (const path of ['/f', '/new']) await atA.migrate(path, 'b');
  await atB.promises.writeFile('/new', 'written anew');
  await atA.promises.rename('/new', '/f');
  await atA.sync('/');
  await Promise.all([cutPower(a), cutPower(b)]);
  await a.start();
  await b.start();
  const [nowA, nowB] = [await again(a), await again(b)];
  for (const fs of [nowA, nowB]) expect(await fs.promises.readFile('/f', 'utf8')).toBe('written anew');
  await expectSound([a, b], [nowA, nowB]);
});

test('a coordinator that loses its power after a move does not take the file back', { timeout }, async () => {
  const { a, b, atA, atB, storeOfB } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(4 * block, 1));
  await atA.sync();
  await atA.migrate('/f', 'b');
  await cutPower(a);
  await a.start();
  await expect.poll(() => codeOf(atB.promises.appendFile('/f', 'x')), patience).toBe('done');
  const nowA = await again(a);
  expect((await nowA.promises.readFile('/f')).subarray(4 * block).toString()).toMatch(/^x+$/);
  expect(nowA.statSync('/f').size).toBe(atB.statSync('/f').size);
  await nowA.drain('b');
  await cutPower(a);
  await a.start();
  const last = await again(a);
  expect((await last.promises.readFile('/f')).subarray(0, 4 * block).equals(Buffer.alloc(4 * block, 1))).toBe(
    true,
  );
  await expectSound([a, b], [last]);
  await atB.unmount();
  await b.stop();
  expect(storedFiles(storeOfB)).toEqual([]);
});

test('a file is given away in the turn in which it is stored', { timeout }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-meeting-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const marker = join(directory, 'marker');
  const program = new URL('given-while-stored.mjs', import.meta.url).href;
  const options = [process.env.NODE_OPTIONS ?? '', `--import ${program}`];
  const env = { NODE_OPTIONS: options.join(' '), CLUSTERFS_MEETING: marker };
  const { a, b, atA } = await start({ env });
  const contentOf = (version: number): Buffer => Buffer.alloc(5 * block, version);
  await atA.promises.writeFile('/f', contentOf(1));
  await atA.sync();
  await atA.promises.writeFile('/f', contentOf(2));
  writeFileSync(marker, '');
  await Promise.all([atA.sync('/f'), atA.migrate('/f', 'b')]);
  rmSync(marker);
  // Into the places that were let go of.
  for (const path of ['/g', '/h']) await atA.promises.writeFile(path, contentOf(3));
  await atA.sync();
  await Promise.all([a, b].map(cutPower));
  for (const node of [a, b]) await node.start();
  const mounts = [await again(a), await again(b)];
  for (const fs of mounts) {
    expect((await fs.promises.readFile('/f')).equals(contentOf(2))).toBe(true);
    for (const path of ['/g', '/h'])
      expect((await fs.promises.readFile(path)).equals(contentOf(3))).toBe(true);
  }
  await expectSound([a, b], mounts);
});

test('a node with a store that is stopped keeps its files, and has them when it is started again', {
  timeout,
}, async () => {
  const { a, b, atA, atB } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(3 * block, 5));
  await atA.migrate('/f', 'b');
  const view = await atA.map('/f', { mode: 'rw' });
  view.bytes[0] = 6;
  await atB.unmount();
  await b.stop();
  expect(b.notices.join()).not.toMatch(/moving the files/);
  await expect.poll(() => codeOf(atA.promises.appendFile('/f', 'x')), patience).toBe('EIO');
  await b.start();
  await expect.poll(() => codeOf(atA.promises.appendFile('/f', 'x')), patience).toBe('done');
  const nowB = await again(b);
  // What this process had stored went home before the node stopped.
  expect((await nowB.promises.readFile('/f')).subarray(0, 2)).toEqual(Buffer.from([6, 5]));
  expect(view.bytes.subarray(0, 2)).toEqual(Uint8Array.of(6, 5));
  await expectSound([a, b], [atA, nowB]);
});

test('what clients of a coordinator that stops have stored is at the home of the file', {
  timeout,
}, async () => {
  const { a, b, atA, atB } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(3 * block, 5));
  await atA.migrate('/f', 'b');
  const view = await atA.map('/f', { mode: 'rw' });
  view.bytes[block] = 6;
  await a.stop();
  expect((await atB.promises.readFile('/f')).subarray(block, block + 2)).toEqual(Buffer.from([6, 5]));
  await a.start();
  await expectSound([a, b], [await again(a)]);
});

test('a node keeps more than its memory holds', { timeout }, async () => {
  const { a, b, atA, atB } = await start({ memory: 8 * MiB, writeBackMs: 100 });
  const files = new Map<string, Buffer>();
  for (let i = 0; i < 12; i++) {
    const content = Buffer.alloc(2 * MiB, i + 1);
    await atA.promises.writeFile(`/file-${i}`, content);
    if (i % 4 !== 3) await atA.migrate(`/file-${i}`, 'b');
    files.set(`/file-${i}`, content);
  }
  const random = randomOf(Math.floor(Math.random() * 2 ** 32));
  for (let i = 0; i < 200; i++) {
    const [path, content] = random.pick([...files]);
    const fs = random.pick([atA, atB]);
    const at = Math.floor(Math.random() * 2 * MiB);
    const view = await fs.map(path, { mode: 'rw' });
    expect(view.bytes[at], `${path} at ${at}`).toBe(content[at]);
    content[at] = i;
    view.bytes[at] = i;
    view.close();
  }
  for (const [path, content] of files)
    for (const fs of [atA, atB]) expect((await fs.promises.readFile(path)).equals(content), path).toBe(true);
  const storeOf = async (fs: ClusterFs) => (await fs.status()).store as Record<string, number>;
  for (const fs of [atA, atB]) {
    expect((await storeOf(fs)).evictedBytes).toBeGreaterThan(0);
    await expect.poll(async () => (await storeOf(fs)).residentBytes).toBeLessThanOrEqual(8 * MiB);
  }
  await expectSound([a, b], [atA, atB]);
});

test('copies of other nodes’ files make room for what a node keeps itself', { timeout }, async () => {
  const { a, b, atA, atB } = await start({ memory: 8 * MiB });
  await atA.promises.writeFile('/own', 'small');
  await atA.migrate('/own', 'b');
  for (const i of [1, 2, 3, 4]) {
    await atA.promises.writeFile(`/there-${i}`, Buffer.alloc(2 * MiB, i));
    expect((await atB.promises.readFile(`/there-${i}`))[0]).toBe(i);
  }
  const { cluster } = (await atB.status()) as unknown as { cluster: { cachedBytes: number } };
  expect(cluster.cachedBytes).toBeGreaterThan(4 * MiB);
  await atB.promises.writeFile('/own', Buffer.alloc(5 * MiB, 9));
  expect((await atA.promises.readFile('/own')).equals(Buffer.alloc(5 * MiB, 9))).toBe(true);
  await expectSound([a, b], [atA, atB]);
});

test('a file goes to a node with a store only, and through memory', { timeout }, async () => {
  const { atA, joinPort } = await start({ memory: 8 * MiB });
  await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'c', memory: 32 * MiB });
  await atA.promises.writeFile('/f', Buffer.alloc(block));
  await expect(atA.migrate('/f', 'c')).rejects.toThrow(/ENOTSUP.*has no store: start it with --store/);
  expect(atA.readFileSync('/f').equals(Buffer.alloc(block))).toBe(true);
  await using handle = await atA.promises.open('/large', 'w');
  for (let i = 0; i < 10; i++) await handle.write(Buffer.alloc(MiB, 1));
  await expect(atA.migrate('/large', 'b')).rejects.toThrow(/ENOSPC.*memory for 8388608/);
});

test('a store is served in the cluster whose files it has, and nowhere else', { timeout }, async () => {
  const { a, atA } = await start();
  await atA.promises.writeFile('/f', 'kept');
  const ownStore = newStore();
  const alone = await startNodeProcess({ store: ownStore });
  await (await mountForTest(alone)).promises.writeFile('/own', 'its own');
  await alone.stop();
  const joinPort = await freePort();
  const inMemory = await startNodeProcess({ peerPort: joinPort, name: 'm' });
  const store = newStore();
  const other = await freePort();
  const elsewhere = await startNodeProcess({ peerPort: other, name: 'o', store: newStore() });
  const first = await startNodeProcess({ joinPort: other, peerPort: await freePort(), name: 'k', store });
  await first.stop();
  const refused = async (options: object, why: RegExp) =>
    expect(startNodeProcess({ peerPort: await freePort(), name: 'x', ...options })).rejects.toThrow(why);
  await refused({ joinPort, store: newStore() }, /the coordinator has no store/);
  await refused({ joinPort: other, store: ownStore }, /has files of its own: serve them without --join/);
  await refused({ store }, /is that of a node that joined a cluster/);
  const { joinPort: ofA } = await start();
  await refused({ joinPort: ofA, store }, /has files of another cluster/);
  // Nothing has become of any of them.
  await startNodeProcess({ joinPort: other, peerPort: await freePort(), name: 'k', store });
  const served = await startNodeProcess({ store: ownStore });
  expect((await mountForTest(served)).readFileSync('/own', 'utf8')).toBe('its own');
  expect([a, inMemory, elsewhere].map(({ errors }) => errors)).toEqual([[], [], []]);
});
