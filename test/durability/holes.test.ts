/** Holes and zeros in files that are in a store: what is synced comes back, also when nothing else does. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, programPath, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const page = 4096;
const pages = 64;

test('what is punched and zeroed stays so after a loss of memory', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  const expected = randomBytes(pages * page);
  await fs.promises.writeFile('/file', expected);
  await fs.sync();
  await fs.promises.punchHole('/file', 10 * page + 100, 20 * page);
  await fs.promises.zeroRange('/file', 40 * page, 4 * page);
  expected.fill(0, 10 * page + 100, 30 * page + 100).fill(0, 40 * page, 44 * page);
  await fs.sync();
  await loseMemory(node);
  await node.start();
  const back = await mountForTest(node);
  expect(back.readFileSync('/file').equals(expected)).toBe(true);
  expect(await back.promises.seekHole('/file', 0)).toBe(11 * page);
  expect(await back.promises.seekData('/file', 11 * page)).toBe(30 * page);
  expect(await back.check()).toEqual([]);
}, 30_000);

test('what is not in memory is punched under views: they have zeros, or what they keep', async () => {
  const { node } = await start();
  const before = await mountForTest(node);
  const old = randomBytes(pages * page);
  for (const name of ['/live', '/kept', '/written']) await before.promises.writeFile(name, old);
  await before.sync();
  await loseMemory(node);
  await node.start();

  const fs = await mountForTest(node);
  const live = await fs.map('/live');
  const kept = await fs.map('/kept', { follow: 'manual' });
  const written = await fs.map('/written', { mode: 'rw' });
  const expected = Buffer.from(old).fill(0, 10 * page + 100, 30 * page + 100);
  for (const name of ['/live', '/kept', '/written']) {
    await fs.promises.punchHole(name, 10 * page + 100, 20 * page);
    await fs.promises.allocate(name, 0, 12 * page);
  }
  expect(Buffer.compare(live.bytes, expected)).toBe(0);
  // A part of a page is zeroed in place.
  const shown = Buffer.from(old)
    .fill(0, 10 * page + 100, 11 * page)
    .fill(0, 30 * page, 30 * page + 100);
  expect(Buffer.compare(kept.bytes, shown)).toBe(0);
  await kept.advance();
  expect(Buffer.compare(kept.bytes, expected)).toBe(0);
  written.bytes[15 * page] = 7;
  expected[15 * page] = 7;
  expect(fs.readFileSync('/written').equals(expected)).toBe(true);
  for (const view of [live, kept, written]) view.close();
  await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 30_000);

test('a hole in a file of which pages are absent is zeros to touch', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  const bytes = randomBytes(3 * page);
  const expected = Buffer.concat([bytes, Buffer.alloc(400 * page), bytes]);
  const file = await fs.promises.open('/sparse', 'w+');
  await file.write(bytes, 0, bytes.length, 0);
  await file.write(bytes, 0, bytes.length, 403 * page);
  await file.close();
  await fs.evict('/sparse');
  const sum = expected.reduce((total, byte) => total + byte, 0);
  const toucher = spawn(process.execPath, [programPath('../durability/toucher.mjs'), node.url, '/sparse']);
  // Who touches waits for the node, and a test in this thread would wait with it.
  onTestFinished(() => void toucher.kill('SIGKILL'));
  const [out] = (await once(toucher.stdout, 'data')) as [Buffer];
  expect(out.toString()).toBe(`${sum}\n`);
  const touched = async (): Promise<number> => ((await fs.status()).store as { faults: number }).faults;
  // One fault for the pages of each end, and a few for all of the hole.
  expect(await touched()).toBeLessThan(12);
}, 10_000);

test('room is made for what is allocated, as for what is written', async () => {
  const { node } = await start({ memory: 8 * MiB });
  const fs = await mountForTest(node);
  const content = randomBytes(MiB);
  for (let i = 0; i < 12; i++) await fs.promises.writeFile(`/file-${i}`, content);
  await fs.promises.writeFile('/room', '');
  await fs.promises.allocate('/room', 0, 4 * MiB);
  const { residentBytes } = (await fs.status()).store as { residentBytes: number };
  expect(residentBytes).toBeLessThanOrEqual(8 * MiB);
  await fs.promises.zeroRange('/file-0', 0, MiB);
  expect(fs.statSync('/room').blocks * 512).toBe(4 * MiB);
  expect(fs.readFileSync('/file-0').equals(Buffer.alloc(MiB))).toBe(true);
  for (let i = 1; i < 12; i++) expect(fs.readFileSync(`/file-${i}`).equals(content)).toBe(true);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 30_000);

async function start(options: { memory?: number } = {}): Promise<{ node: NodeProcess }> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  return { node: await startNodeProcess({ store, memory: 32 * MiB, ...options }) };
}

/** As a loss of power: the node is gone, and with it what was only in memory. */
async function loseMemory(node: NodeProcess): Promise<void> {
  await node.kill();
  rmSync(node.runDirectory, { recursive: true });
}
