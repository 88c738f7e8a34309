/** `advance()` of views that store or follow by hand, where other nodes and copies have the same blocks. */
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import {
  mountForTest,
  type NodeOptions,
  type NodeProcess,
  newStore,
  startNodeProcess,
} from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const path = '/file';
const block = 65_536;
const size = 4 * block;
const patience = { timeout: 20_000 };

interface Scene {
  readonly home: NodeProcess;
  readonly far: NodeProcess;
  readonly atHome: ClusterFs;
  readonly atFar: ClusterFs;
}

async function start(options: NodeOptions = {}): Promise<Scene> {
  const peerPort = await freePort();
  const home = await startNodeProcess({ peerPort, name: 'home' });
  const far = await startNodeProcess({ joinPort: peerPort, name: 'far', ...options });
  const atHome = await mountForTest(home);
  await atHome.promises.writeFile(path, Buffer.alloc(size, 1));
  return { home, far, atHome, atFar: await mountForTest(far) };
}

const noErrors = ({ home, far }: Scene): void => expect([home.errors, far.errors]).toEqual([[], []]);

test.each([
  ['at the home, by hand', 'manual'],
  ['at the home, by itself', 'live'],
  ['at another node', 'live'],
] as const)('what is stored into a view that has advanced is not lost: one %s', async (where, follow) => {
  const scene = await start();
  const { atHome, atFar } = scene;
  const [here, there] = where.startsWith('at the home') ? [atHome, atFar] : [atFar, atHome];
  const view = await here.map(path, { mode: 'rw', follow });
  const others = await there.map(path, { mode: 'rw' });
  for (let value = 2; value < 20; value++) {
    // Both have the block then, to read.
    expect([view.bytes[0], others.bytes[0]]).toEqual([others.bytes[0], view.bytes[0]]);
    await view.advance();
    view.bytes[0] = value;
    expect(others.bytes[0]).toBe(value);
    others.bytes[1] = value;
    expect([...view.bytes.subarray(0, 2)]).toEqual([value, value]);
    expect([...(await here.promises.readFile(path)).subarray(0, 2)]).toEqual([value, value]);
  }
  // Other pages than before, of which some are elsewhere.
  await here.promises.writeFile(path, Buffer.alloc(size, 30));
  others.bytes[block] = 31;
  await view.advance();
  expect([view.bytes[0], view.bytes[block]]).toEqual([30, 31]);
  view.bytes[block] = 32;
  expect(others.bytes[block]).toBe(32);
  others.bytes[block + 1] = 33;
  expect([...view.bytes.subarray(block, block + 2)]).toEqual([32, 33]);
  for (const each of [view, others]) each.close();
  noErrors(scene);
});

test('a copy follows what a view stores that has advanced beside it', async () => {
  const scene = await start();
  const { atFar } = scene;
  const writer = await atFar.map(path, { mode: 'rw' });
  writer.bytes[0] = 2;
  const copy = await atFar.map(path, { follow: 'manual' });
  for (let value = 3; value < 20; value++) {
    await writer.advance();
    writer.bytes[0] = value;
    await copy.advance();
    expect(copy.bytes[0]).toBe(value);
  }
  for (const each of [writer, copy]) each.close();
  noErrors(scene);
});

test('who stored into a block that was copied goes on when the file has moved there', async () => {
  const scene = await start({ peerPort: await freePort() });
  const { far, atHome, atFar } = scene;
  const storer = startChild('storer.mjs', [far.url, path]);
  await storer.hear('ready');
  const store = async (at: number): Promise<unknown> => {
    storer.send({ at, value: 2 });
    return storer.hear('stored');
  };
  await store(0);
  const copy = await atFar.map(path, { follow: 'manual' });
  expect(copy.bytes[0]).toBe(2);
  copy.close();
  await atHome.migrate(path, 'far');
  await store(1);
  expect([...(await atHome.promises.readFile(path)).subarray(0, 3)]).toEqual([2, 2, 1]);
  noErrors(scene);
});

test('a copy does not wait for a stopped process that stores for longer than others do', async () => {
  const scene = await start();
  const { far, atHome, atFar } = scene;
  const storer = startChild('storer.mjs', [far.url, path, 2 * size]);
  await storer.hear('ready');
  storer.process.kill('SIGSTOP');
  await atHome.promises.appendFile(path, Buffer.alloc(block, 2));
  await expect.poll(async () => (await atFar.holders(path))[0]?.owesAnswerMs).toBeGreaterThan(0);
  const view = await atFar.map(path, { follow: 'manual' });
  expect([view.bytes[0], view.bytes[size]]).toEqual([1, 2]);
  view.close();
  noErrors(scene);
});

test('who follows by hand hears of each change behind its last advance', async () => {
  const scene = await start();
  const { home, far, atHome, atFar } = scene;
  const follower = await atFar.map(path, { follow: 'manual' });
  const others = await Promise.all([1, 2, 3].map(() => atFar.map(path, { follow: 'manual' })));
  let changes = 0;
  let advancing: Promise<unknown> = Promise.resolve();
  follower.on('change', () => {
    changes++;
    advancing = advancing.then(() => follower.advance());
  });
  const counters = [home, far].map(({ url }) => startChild('../cluster/counting.mjs', [url, path]));
  for (const counter of counters) await counter.hear('counted');
  for (let round = 0; round < 200; round++) await Promise.all(others.map((view) => view.advance()));
  for (const counter of counters) await counter.kill();
  await atHome.promises.writeFile(path, Buffer.alloc(size, 251));
  await expect.poll(() => follower.bytes[0], patience).toBe(251);
  await advancing;
  expect(changes).toBeGreaterThan(1);
  for (const view of [follower, ...others]) view.close();
  noErrors(scene);
});

test('a view larger than memory advances within it', async () => {
  const node = await startNodeProcess({ memory: 32 * MiB, capacity: 512 * MiB, store: newStore() });
  const fs = await mountForTest(node);
  const content = Buffer.alloc(128 * MiB, 'larger than memory');
  const handle = await fs.promises.open('/large', 'w');
  for (let at = 0; at < content.length; at += MiB) await handle.write(content, at, MiB);
  await handle.close();
  const view = await fs.map('/large', { follow: 'manual' });
  expect(view.bytes[0]).toBe(content[0]);
  await view.advance();
  const { residentBytes } = (await fs.status()).store as { residentBytes: number };
  expect(residentBytes).toBeLessThanOrEqual(40 * MiB);
  for (let at = 0; at < content.length; at += 12_345) expect(view.bytes[at]).toBe(content[at]);
  view.close();
  expect(node.errors).toEqual([]);
});
