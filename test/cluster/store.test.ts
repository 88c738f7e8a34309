/** A home that has more files than memory: what nodes read and store is what the store has in the end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { randomOf } from '../random.mjs';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const fileCount = 10;
const fileBytes = 2 * MiB;
const rounds = 4;

test('files that are larger than memory are right on all nodes, and in the store', {
  timeout: 60_000,
}, async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const peerPort = await freePort();
  const memory = 8 * MiB;
  const home = await startNodeProcess({ memory, store, peerPort, writeBackMs: 50 });
  const member = await startNodeProcess({ memory, joinPort: peerPort });
  const mounts = [await mountForTest(home), await mountForTest(member)] as [ClusterFs, ClusterFs];
  const [there, here] = mounts;
  const random = randomOf(Math.floor(Math.random() * 2 ** 32));
  const files = new Map<string, Buffer>();
  for (let i = 0; i < fileCount; i++) {
    const content = Buffer.alloc(fileBytes, i + 1);
    await (mounts[i % 2] as ClusterFs).promises.writeFile(`/file-${i}`, content);
    files.set(`/file-${i}`, content);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [path, content] of files) {
      const reader = random.pick(mounts);
      expect(Buffer.compare(await reader.promises.readFile(path), content), `${path} in ${round}`).toBe(0);
      const view = await random.pick(mounts).map(path, { mode: 'rw' });
      const at = Math.floor(Math.random() * fileBytes);
      content[at] = 100 + round;
      view.bytes[at] = 100 + round;
      if (random.pick([true, false, false])) await random.pick(mounts).sync();
      view.close();
    }
  }
  await here.sync();
  for (const path of files.keys()) await there.evict(path);
  const status = (await there.status()) as unknown as { store: { evictedBytes: number } };
  expect(status.store.evictedBytes).toBeGreaterThan(fileCount * fileBytes);
  for (const [path, content] of files)
    for (const fs of mounts) expect(Buffer.compare(await fs.promises.readFile(path), content), path).toBe(0);
  expect([await there.check(), await here.check()]).toEqual([[], []]);
  expect([home.errors, member.errors]).toEqual([[], []]);
});

test('a file that is larger than the memory of a node is read there, by API and through a view', async () => {
  const peerPort = await freePort();
  const home = await startNodeProcess({ memory: 64 * MiB, peerPort });
  const member = await startNodeProcess({ memory: 8 * MiB, joinPort: peerPort });
  const [there, here] = [await mountForTest(home), await mountForTest(member)];
  const content = Buffer.alloc(20 * MiB, 'of which there is more than fits');
  await there.promises.writeFile('/large', content);
  expect(Buffer.compare(await here.promises.readFile('/large'), content)).toBe(0);
  const view = await here.map('/large');
  expect(Buffer.compare(view.bytes, content)).toBe(0);
  view.close();
  expect([home.errors, member.errors]).toEqual([[], []]);
});

test('a view that advances while its file is evicted, and written elsewhere, shows all of it', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const peerPort = await freePort();
  const home = await startNodeProcess({ memory: 64 * MiB, store, peerPort });
  const member = await startNodeProcess({ memory: 64 * MiB, joinPort: peerPort });
  const [there, here] = [await mountForTest(home), await mountForTest(member)];
  const content = Buffer.alloc(300_000, 7);
  await there.promises.writeFile('/f', content);
  const view = await there.map('/f', { follow: 'manual' });
  let isOver = false;
  let evicted = 0;
  const untilOver = async (act: () => Promise<unknown>): Promise<void> => {
    while (!isOver) await act();
  };
  const handle = await here.promises.open('/f', 'r+');
  const others = [
    untilOver(async () => {
      evicted += await there.evict('/f');
    }),
    untilOver(() => handle.write(content, 0, content.length, 0)),
    untilOver(() => here.promises.readFile('/f')),
  ];
  const wrong: number[] = [];
  for (let round = 0; round < 300; round++) {
    await view.advance();
    if (view.bytes.some((byte) => byte !== 7)) wrong.push(round);
  }
  isOver = true;
  await Promise.all(others);
  await handle.close();
  expect(wrong).toEqual([]);
  expect(evicted).toBeGreaterThan(0);
  expect([home.errors, member.errors]).toEqual([[], []]);
});
