/** The redo log of small syncs, when the places that it names are used again before it is emptied. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';

const page = 4096;

test('what was synced into places that a small sync had before is there after a loss of power', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, writeBackMs: 10_000_000 });
  const fs = await mountForTest(node);
  await writeSynced(fs, '/first', 2);
  await writeSynced(fs, '/second', 4);
  for (const path of ['/first', '/second']) await fs.promises.unlink(path);
  await fs.sync();
  // It has the places of the first, and some of the second.
  const expected = await writeSynced(fs, '/third', 4);
  await fs.unmount();
  await node.kill();
  rmSync(node.runDirectory, { recursive: true });
  await node.start();
  const again = await mountForTest(node);
  expect((await again.promises.readFile('/third')).equals(expected)).toBe(true);
  expect(node.errors).toEqual([]);
}, 30_000);

async function writeSynced(fs: ClusterFs, path: string, pages: number): Promise<Buffer> {
  const content = randomBytes(pages * page);
  await fs.promises.writeFile(path, content);
  const handle = await fs.promises.open(path);
  await handle.sync();
  await handle.close();
  return content;
}
