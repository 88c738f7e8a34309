/** A sync of a file that others never stop writing is answered, and reads of it no more than a few times. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runDirectory } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { never } from './power.ts';

const MiB = 2 ** 20;
const fileMiB = 24;
const lanes = 8;

test('a file that is rewritten all the time is synced', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const memory = 64 * MiB;
  const node = await startNodeProcess({
    memory,
    store,
    writeBackMs: never,
    runDirectory: runDirectory(store),
  });
  const fs = await mountForTest(node);
  const other = await mountForTest(node);
  await fs.promises.writeFile('/busy', Buffer.alloc(fileMiB * MiB, 1));
  const handle = await other.promises.open('/busy', 'r+');
  let isSynced = false;
  let writes = 0;
  // Together all of the file, so between two times that the node reads a part of it all of it has changed.
  const size = (fileMiB / lanes) * MiB;
  const rewrite = async (lane: number): Promise<void> => {
    while (!isSynced) await handle.write(Buffer.alloc(size, writes++ & 255), 0, size, lane * size);
  };
  const writing = Array.from({ length: lanes }, (_, lane) => rewrite(lane));
  const { pages } = await fs.sync('/busy');
  isSynced = true;
  await Promise.all(writing);
  await handle.close();
  // Everything once, as much again while that was read, and what was left then.
  expect(pages).toBeLessThanOrEqual((fileMiB * MiB) / 4096);
  expect(writes).toBeLessThan(50 * lanes);
}, 30_000);
