/**
 * A loss of power: the node is killed and what it had on tmpfs is gone. What was synced is there; every other
 * file is as it was at some moment after its last sync, never a mixture.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
/** Longer than any test: nothing is written back that was not asked for. */
const never = 10_000_000;

async function startOnStore(writeBackMs: number): Promise<NodeProcess> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  return startNodeProcess({ store, writeBackMs, memory: 32 * MiB });
}

async function cutPower(node: NodeProcess): Promise<void> {
  await node.kill();
  rmSync(node.runDirectory, { recursive: true });
}

const dirtyFiles = async (fs: ClusterFs): Promise<number> =>
  ((await fs.status()).store as { dirtyFiles: number }).dirtyFiles;

test('what was synced is there, and the rest as it was then', async () => {
  const node = await startOnStore(never);
  const before = await mountForTest(node);
  const { promises: files } = before;
  const old = randomBytes(100_000);
  for (const path of ['/in-place', '/replaced', '/cut', '/mapped', '/removed', '/kept'])
    await files.writeFile(path, old);
  await files.writeFile('/sparse', '');
  await files.truncate('/sparse', MiB);
  const sparse = await files.open('/sparse', 'r+');
  await sparse.write(Buffer.from('end'), 0, 3, MiB - 3);
  await sparse.close();
  await files.mkdir('/dir/deep', { recursive: true });
  await files.symlink('../kept', '/dir/link');
  await files.link('/kept', '/dir/second');
  await files.chmod('/kept', 0o640);
  await files.utimes('/kept', 1000, 2000);
  await before.sync();
  expect(await dirtyFiles(before)).toBe(0);

  const handle = await files.open('/in-place', 'r+');
  await handle.write(Buffer.alloc(5000, 1), 0, 5000, 3000);
  await handle.close();
  await files.writeFile('/replaced', randomBytes(50_000));
  await files.truncate('/cut', 10);
  const view = await before.map('/mapped', { mode: 'rw' });
  view.bytes.fill(9);
  await files.writeFile('/new', old);
  await files.writeFile('/empty', '');
  await before.unmount();
  await cutPower(node);
  await node.start();

  const fs = await mountForTest(node);
  for (const path of ['/in-place', '/replaced', '/cut', '/mapped', '/removed', '/kept', '/dir/second'])
    expect(fs.readFileSync(path).equals(old), path).toBe(true);
  expect(fs.existsSync('/new')).toBe(false);
  const { size, blocks } = fs.statSync('/sparse');
  expect([size, blocks]).toEqual([MiB, 8]);
  expect(fs.readFileSync('/sparse').subarray(-3).toString()).toBe('end');
  expect(await fs.promises.readlink('/dir/link')).toBe('../kept');
  const { mode, mtimeMs, nlink, ino } = fs.statSync('/kept');
  expect([mode & 0o777, mtimeMs, nlink]).toEqual([0o640, 2_000_000, 2]);
  expect(fs.statSync('/dir/second').ino).toBe(ino);
  expect(await fs.check()).toEqual([]);
  await fs.promises.writeFile('/new', old);
  expect(node.errors).toEqual([]);
}, 30_000);

test('a view is synced, a kill takes nothing, and what is old enough is written by itself', async () => {
  const node = await startOnStore(20);
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/mapped', Buffer.alloc(50_000, 1));
  const view = await fs.map('/mapped', { mode: 'rw' });
  view.bytes[40_000] = 7;
  await view.sync();
  view.close();
  await node.kill();
  await node.start();
  expect((await fs.promises.readFile('/mapped'))[40_000]).toBe(7);
  await fs.promises.writeFile('/later', Buffer.alloc(9000, 3));
  await expect.poll(() => dirtyFiles(fs), { timeout: 10_000 }).toBe(0);
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  expect(again.readFileSync('/later').equals(Buffer.alloc(9000, 3))).toBe(true);
  expect(again.readFileSync('/mapped')[40_000]).toBe(7);
  await again.promises.writeFile('/at-the-end', 'x');
  await again.unmount();
  await node.stop();
  expect(existsSync(node.runDirectory)).toBe(false);
  await node.start();
  const last = await mountForTest(node);
  expect(last.readFileSync('/at-the-end', 'utf8')).toBe('x');
}, 30_000);
