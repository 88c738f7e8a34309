/** Somebody else at the store's database: who has it first keeps it, and the other is told. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { never } from './power.ts';

function makeStore(): string {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  return store;
}

test('a node whose database is locked does not start, says so, and starts afterwards', async () => {
  const store = makeStore();
  const node = await startNodeProcess({ store, writeBackMs: never });
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/file', 'content');
  await fs.unmount();
  await node.stop();
  const path = join(store, 'metadata.db');
  const other = new Database(path);
  onTestFinished(() => void other.close());
  other.exec('BEGIN IMMEDIATE');
  await expect(node.start()).rejects.toMatchObject({
    code: 'EBUSY',
    message: expect.stringMatching(/metadata\.db.*locked/),
  });
  other.exec('COMMIT');
  other.close();
  await node.start();
  const again = await mountForTest(node);
  expect(again.readFileSync('/file', 'utf8')).toBe('content');
});

test('nobody gets at the database of a node that runs', async () => {
  const store = makeStore();
  const node = await startNodeProcess({ store });
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/file', 'content');
  const look = (): unknown => {
    const other = new Database(join(store, 'metadata.db'), { timeout: 10 });
    try {
      return other.prepare('SELECT count(*) FROM inode').get();
    } finally {
      other.close();
    }
  };
  expect(look).toThrow(/locked/);
  await fs.promises.writeFile('/other', 'content');
  await fs.sync();
  expect(node.errors).toEqual([]);
});
