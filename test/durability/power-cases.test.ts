/** Who goes, and what stays: kills, stops, other sockets, names, views, and files larger than one hold. */
import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, runDirectory } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { cutPower, never, storeReport } from './power.ts';
import { contentOf } from './storm-content.mjs';

const MiB = 2 ** 20;
const page = 4096;
const old = randomBytes(100_000);

test('a kill alone takes nothing, synced or not; a loss of power after it does', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  await writeAll(fs, ['/in-place', '/replaced', '/cut', '/mapped']);
  await fs.sync();
  const expected = await changeAll(fs);
  await fs.promises.writeFile('/empty', '');
  await node.kill();
  await node.start();
  expect(node.recovered).toBe(true);
  const after = await mountForTest(node);
  for (const [path, bytes] of expected)
    expect((await after.promises.readFile(path)).equals(bytes), path).toBe(true);
  expect((await storeReport(after)).dirtyFiles).toBe(expected.size + 1);
  await after.unmount();
  await fs.unmount();

  await restartWithoutPower(node);
  const last = await mountForTest(node);
  for (const path of ['/in-place', '/replaced', '/cut', '/mapped'])
    expect((await last.promises.readFile(path)).equals(old), path).toBe(true);
  expect(last.existsSync('/new')).toBe(false);
  expect(last.statSync('/empty').size).toBe(0);
  expect(await last.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 30_000);

test('what a kill has left is synced as well as anything else', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  await writeAll(fs, ['/in-place', '/replaced', '/cut', '/mapped']);
  await fs.sync();
  const expected = await changeAll(fs);
  const after = await mountForTest(node);
  await fs.unmount();
  // A session that the node has not seen end may come back, and then everything counts as mapped to write.
  await expect.poll(async () => ((await after.status()).sessions as unknown[]).length).toBe(1);
  await node.kill();
  await node.start();
  // Until the client is back it counts as one that stores, and what is synced stays dirty.
  const dirtyAfterSync = async (): Promise<number> => {
    await after.sync();
    return (await storeReport(after)).dirtyFiles;
  };
  await expect.poll(dirtyAfterSync, { timeout: 10_000 }).toBe(0);
  await after.unmount();
  await restartWithoutPower(node);
  const last = await mountForTest(node);
  for (const [path, bytes] of expected)
    expect((await last.promises.readFile(path)).equals(bytes), path).toBe(true);
}, 30_000);

test('a clean stop stores what a view of a living client has stored just before', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  await writeAll(fs, ['/mapped']);
  await fs.sync();
  const view = await fs.map('/mapped', { mode: 'rw' });
  view.bytes.fill(5, 1000, 90_000);
  await node.stop();
  await fs.unmount();
  // What it left for its client in memory does not help.
  await cutPower(node);
  await node.start();
  expect(node.recovered).toBe(false);
  const again = await mountForTest(node);
  expect((await again.promises.readFile('/mapped')).equals(Buffer.from(old).fill(5, 1000, 90_000))).toBe(
    true,
  );
  expect(node.errors).toEqual([]);
}, 30_000);

test('one node has a store; one on another socket goes on with what it left', async () => {
  const { node, store } = await start();
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/not-synced', old);
  const other = { store, writeBackMs: never };
  const apart = startNodeProcess({ ...other, runDirectory: `${node.runDirectory}-apart` });
  const message = expect.stringContaining(`'${store}' (another node has the store)`) as string;
  await expect(apart).rejects.toMatchObject({ code: 'EBUSY', message });
  const beside = startNodeProcess({ ...other, runDirectory: node.runDirectory });
  await expect(beside).rejects.toMatchObject({ code: 'EBUSY', message });
  expect((await fs.promises.readFile('/not-synced')).equals(old)).toBe(true);
  await fs.unmount();
  await node.kill();
  const next = await startNodeProcess({ ...other, runDirectory: node.runDirectory });
  expect(next.url).not.toBe(node.url);
  expect(next.recovered).toBe(true);
  const again = await mountForTest(next);
  expect((await again.promises.readFile('/not-synced')).equals(old)).toBe(true);
  expect(await again.check()).toEqual([]);
}, 30_000);

test('names that changed after the sync, and a sync of another file, which makes them durable', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  const { promises: files } = fs;
  await writeAll(fs, ['/renamed', '/unlinked', '/under', '/linked', '/other']);
  await files.writeFile('/over', 'goes when another file takes its name');
  await fs.sync();
  await files.rename('/renamed', '/new-name');
  await files.unlink('/unlinked');
  await files.writeFile('/under', 'not synced');
  await files.rename('/under', '/over');
  await files.link('/linked', '/second-name');
  await files.unlink('/linked');
  await files.mkdir('/dir');
  await files.rename('/new-name', '/dir/name');
  await syncFile(fs, '/other');
  await fs.unmount();
  await restartWithoutPower(node);
  const again = await mountForTest(node);
  expect(again.readdirSync('/').sort()).toEqual(['dir', 'other', 'over', 'second-name']);
  for (const path of ['/dir/name', '/second-name', '/other'])
    expect((await again.promises.readFile(path)).equals(old), path).toBe(true);
  // What took the name of another file was stored before it did.
  expect(again.readFileSync('/over', 'utf8')).toBe('not synced');
  expect(again.statSync('/second-name').nlink).toBe(1);
  expect(await again.check()).toEqual([]);
  // Inodes and places of what went are used again.
  const large = randomBytes(3 * MiB);
  await again.promises.writeFile('/large', large);
  await syncFile(again, '/large');
  await again.unmount();
  await restartWithoutPower(node);
  const last = await mountForTest(node);
  expect((await last.promises.readFile('/large')).equals(large)).toBe(true);
  expect((await last.promises.readFile('/dir/name')).equals(old)).toBe(true);
}, 30_000);

describe.each([
  ['a few pages', 3000],
  ['more pages than the redo log takes', 300_000],
])('a rename over another file: %s', (_, size) => {
  test('what takes the name is stored first, whether it was ever synced or not', async () => {
    const { node } = await start();
    const fs = await mountForTest(node);
    const { promises: files } = fs;
    await writeAll(fs, ['/of-new', '/of-dirty', '/dirty']);
    await fs.sync();
    const content = randomBytes(size);
    for (const path of ['/new', '/dirty']) await files.writeFile(path, content);
    await files.rename('/new', '/of-new');
    await files.rename('/dirty', '/of-dirty');
    expect((await storeReport(fs)).dirtyFiles).toBe(0);
    await fs.unmount();
    await restartWithoutPower(node);
    const again = await mountForTest(node);
    expect(again.readdirSync('/').sort()).toEqual(['of-dirty', 'of-new']);
    for (const path of ['/of-new', '/of-dirty'])
      expect((await again.promises.readFile(path)).equals(content), path).toBe(true);
    expect(await again.check()).toEqual([]);
    expect(node.errors).toEqual([]);
  }, 30_000);

  test('a name that nobody has is taken at once, and a file that is mapped to write as it was', async () => {
    const { node } = await start();
    const fs = await mountForTest(node);
    const { promises: files } = fs;
    await writeAll(fs, ['/over']);
    await fs.sync();
    for (const path of ['/new', '/mapped']) await files.writeFile(path, Buffer.alloc(size, 1));
    await files.rename('/new', '/newer');
    const { dirtyFiles } = await storeReport(fs);
    expect(dirtyFiles).toBe(2);
    const view = await fs.map('/mapped', { mode: 'rw' });
    view.bytes.fill(2);
    await files.rename('/mapped', '/over');
    view.bytes.fill(3);
    await fs.unmount();
    await restartWithoutPower(node);
    const again = await mountForTest(node);
    expect(again.readdirSync('/')).toEqual(['over']);
    expect(again.readFileSync('/over').equals(Buffer.alloc(size, 2))).toBe(true);
  }, 30_000);
});

test('a view is as at its last sync, also where it stored the same again', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  await writeAll(fs, ['/mapped']);
  const view = await fs.map('/mapped', { mode: 'rw' });
  view.bytes.fill(1, 0, 50_000);
  await view.sync();
  view.bytes.fill(2, 0, 10_000);
  view.bytes.fill(1, 0, 5000);
  await view.sync();
  const expected = Buffer.from(old).fill(1, 0, 50_000).fill(2, 5000, 10_000);
  view.bytes.fill(3);
  await fs.unmount();
  await restartWithoutPower(node);
  const again = await mountForTest(node);
  expect((await again.promises.readFile('/mapped')).equals(expected)).toBe(true);
}, 30_000);

test('a store that is put in the place of another has nothing of what its node had in memory', async () => {
  const { node, store } = await start();
  const backup = `${store}-backup`;
  onTestFinished(() => rmSync(backup, { recursive: true, force: true }));
  const before = await mountForTest(node);
  await before.promises.writeFile('/kept', old);
  await before.unmount();
  await node.stop();
  cpSync(store, backup, { recursive: true });
  await node.start();
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/secret', Buffer.alloc(16 * MiB, 'secret'));
  await fs.unmount();
  await node.kill();
  rmSync(store, { recursive: true });
  cpSync(backup, store, { recursive: true });
  await node.start();
  const again = await mountForTest(node);
  expect(again.readdirSync('/')).toEqual(['kept']);
  expect((await again.promises.readFile('/kept')).equals(old)).toBe(true);
  await again.promises.truncate('/kept', 24 * MiB);
  const view = await again.map('/kept', { mode: 'rw' });
  expect(view.bytes.subarray(old.length).every((byte) => byte === 0)).toBe(true);
  view.close();
  expect(await again.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 30_000);

test('places that nobody names any more take no room on the disk', async () => {
  const { node, store } = await start();
  const fs = await mountForTest(node);
  const data = (): { used: number; size: number } => {
    const { blocks, size } = statSync(join(store, 'data'));
    return { used: blocks * 512, size };
  };
  for (const path of ['/first', '/second', '/third']) await fs.promises.writeFile(path, randomBytes(4 * MiB));
  await fs.sync();
  expect(data().used).toBeGreaterThan(12 * MiB);
  await fs.promises.unlink('/first');
  await fs.sync();
  expect(data().used).toBeLessThan(9 * MiB);
  expect(data().size).toBe(12 * MiB + page);
  await fs.promises.truncate('/third', 0);
  await fs.sync();
  expect(data().size).toBe(8 * MiB + page);
  await fs.promises.writeFile('/fourth', randomBytes(4 * MiB));
  await fs.sync();
  expect(data().used).toBeLessThan(9 * MiB);
  expect(data().size).toBe(8 * MiB + page);
});

test('a large file that is written in place while it is synced is at one version', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  const path = '/large';
  // Larger than what is read of a file in one hold of its layout.
  const size = 10 * MiB;
  const content = (version: number): Buffer => contentOf(path, { version, size });
  await fs.promises.writeFile(path, content(1));
  const handle = await fs.promises.open(path, 'r+');
  const last = 6;
  for (let version = 2; version < last; version++) {
    const synced = syncFile(fs, path);
    await handle.write(content(version), 0, size, 0);
    await synced;
  }
  const underWay = Promise.allSettled([syncFile(fs, path), handle.write(content(last), 0, size, 0)]);
  await cutPower(node);
  await fs.unmount();
  await underWay;
  await node.start();
  const again = await mountForTest(node);
  const bytes = await again.promises.readFile(path);
  const version = Number(/ (\d+);/.exec(bytes.toString('latin1', 0, 40))?.[1]);
  expect(bytes.equals(content(version)), `it begins as version ${version}`).toBe(true);
  // The last sync that was answered began after this one was written.
  expect(version).toBeGreaterThanOrEqual(last - 2);
  expect(version).toBeLessThanOrEqual(last);
  expect(node.errors).toEqual([]);
}, 30_000);

async function start(): Promise<{ node: NodeProcess; store: string }> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const memory = 32 * MiB;
  const directory = runDirectory(store);
  const started = { memory, store, writeBackMs: never, runDirectory: directory };
  return { node: await startNodeProcess(started), store };
}

async function restartWithoutPower(node: NodeProcess): Promise<void> {
  await cutPower(node);
  await node.start();
}

async function writeAll(fs: ClusterFs, paths: readonly string[]): Promise<void> {
  for (const path of paths) await fs.promises.writeFile(path, old);
}

/** Changes files in every way there is, and makes one; what they are then. */
async function changeAll(fs: ClusterFs): Promise<Map<string, Buffer>> {
  const { promises: files } = fs;
  const handle = await files.open('/in-place', 'r+');
  await handle.write(Buffer.alloc(9000, 1), 0, 9000, 5000);
  await handle.close();
  await files.writeFile('/replaced', 'shorter');
  await files.truncate('/cut', 5000);
  const view = await fs.map('/mapped', { mode: 'rw' });
  view.bytes.fill(9, 60_000);
  await files.writeFile('/new', 'new');
  return new Map([
    ['/in-place', Buffer.from(old).fill(1, 5000, 14_000)],
    ['/replaced', Buffer.from('shorter')],
    ['/cut', old.subarray(0, 5000)],
    ['/mapped', Buffer.from(old).fill(9, 60_000)],
    ['/new', Buffer.from('new')],
  ]);
}

async function syncFile(fs: ClusterFs, path: string): Promise<void> {
  const handle = await fs.promises.open(path);
  await handle.sync();
  await handle.close();
}
