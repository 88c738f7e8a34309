/** The redo log of small syncs, when the places that it names are used again before it is emptied. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { cutPower, never } from './power.ts';

const page = 4096;

test('what was synced into places that a small sync had before is there after a loss of power', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, writeBackMs: never });
  const fs = await mountForTest(node);
  await writeSynced(fs, '/first', 2);
  await writeSynced(fs, '/second', 4);
  for (const path of ['/first', '/second']) await fs.promises.unlink(path);
  await fs.sync();
  // It has the places of the first, and some of the second.
  const expected = await writeSynced(fs, '/third', 4);
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  expect((await again.promises.readFile('/third')).equals(expected)).toBe(true);
  expect(node.errors).toEqual([]);
}, 30_000);

test('small syncs are there when the disk has nothing of the data file but its header', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, writeBackMs: never });
  const fs = await mountForTest(node);
  const expected = new Map<string, Buffer>();
  for (const pages of [1, 5, 16]) expected.set(`/${pages}`, await writeSynced(fs, `/${pages}`, pages));
  // A second time, a part of one of them.
  const handle = await fs.promises.open('/5', 'r+');
  await handle.write(Buffer.alloc(page, 7), 0, page, page);
  await handle.sync();
  await handle.close();
  expected.get('/5')?.fill(7, page, 2 * page);
  await fs.unmount();
  await cutPower(node);
  // None of these syncs has flushed it, so a loss of power may leave no more than that.
  truncateSync(join(store, 'data'), page);
  for (const what of ['redone', 'redone and flushed']) {
    await node.start();
    const again = await mountForTest(node);
    for (const [path, bytes] of expected)
      expect((await again.promises.readFile(path)).equals(bytes), `${path}, ${what}`).toBe(true);
    expect(node.errors).toEqual([]);
    await again.unmount();
    await cutPower(node);
  }
}, 30_000);

async function writeSynced(fs: ClusterFs, path: string, pages: number): Promise<Buffer> {
  const content = randomBytes(pages * page);
  await fs.promises.writeFile(path, content);
  const handle = await fs.promises.open(path);
  await handle.sync();
  await handle.close();
  return content;
}
