/**
 * A disk that refuses a flush: who syncs is told, and no sync that is answered later relies on what the disk
 * has not taken, though the kernel says so no second time (fsync(2), NOTES).
 */
import { randomBytes } from 'node:crypto';
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import type { Found } from './durable-model.ts';
import { startRecorded } from './recorded-node.ts';

const page = 4096;
/** More than the redo log stands in for: the data file is flushed. */
const large = 20 * page;

/** Writes a file, or its first bytes anew, and syncs it. */
async function store(fs: ClusterFs, path: string, content: Buffer): Promise<void> {
  const handle = await fs.promises.open(path, 'a+').then(() => fs.promises.open(path, 'r+'));
  try {
    await handle.write(content, 0, content.length, 0);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const contentsOf = (found: Found) => new Map([...found].map(([path, { bytes }]) => [path, bytes]));

const refusal = { code: 'EIO', syscall: 'fdatasync' };

test('a flush of the log that is refused is EIO once, and what was in it is stored elsewhere', async () => {
  const { fs, node, recorder, lost } = await startRecorded();
  const contents = [randomBytes(page), randomBytes(page), randomBytes(page)] as const;
  await store(fs, '/before', contents[0]);
  recorder.refuse('log-');
  await expect(store(fs, '/refused', contents[1])).rejects.toMatchObject(refusal);
  expect(recorder.hasRefused()).toBe(true);
  await fs.sync();
  await store(fs, '/after', contents[2]);
  await fs.unmount();
  await node.kill();
  const found = contentsOf(await lost());
  for (const [i, path] of ['/before', '/refused', '/after'].entries())
    expect(found.get(path)?.equals(contents[i] as Buffer), path).toBe(true);
});

test('a log that is refused again and again is as many errors, and nothing synced is lost', async () => {
  const { fs, node, recorder, lost } = await startRecorded();
  const synced = new Map<string, Buffer>();
  for (let i = 0; i < 12; i++) {
    const path = `/${i % 5}`;
    const content = randomBytes(page);
    if (i % 3 === 1) {
      recorder.refuse('log-');
      await expect(store(fs, path, content)).rejects.toMatchObject(refusal);
      await fs.sync();
    } else await store(fs, path, content);
    synced.set(path, content);
  }
  await fs.unmount();
  await node.kill();
  const found = contentsOf(await lost());
  for (const [path, content] of synced) expect(found.get(path)?.equals(content), path).toBe(true);
});

test('a flush of the data file that is refused loses no small sync of before', async () => {
  const { fs, node, recorder, lost } = await startRecorded();
  const [small, refused, last] = [randomBytes(page), randomBytes(large), randomBytes(large)];
  await store(fs, '/small', small);
  recorder.refuse('data');
  await expect(store(fs, '/refused', refused)).rejects.toMatchObject(refusal);
  // It ends what the redo log has of the small one.
  await store(fs, '/last', last);
  await fs.sync();
  await fs.unmount();
  await node.kill();
  const found = contentsOf(await lost());
  expect(found.get('/small')?.equals(small)).toBe(true);
  expect(found.get('/refused')?.equals(refused)).toBe(true);
  expect(found.get('/last')?.equals(last)).toBe(true);
});

test("when SQLite's log is refused no sync is answered any more, until the next start", async () => {
  const { fs, node, recorder, lost } = await startRecorded();
  const content = randomBytes(large);
  await store(fs, '/before', content);
  recorder.refuse('metadata.db-wal');
  // The log grows until SQLite gets what is in it, and must be flushed before the log is written over.
  await expect(
    (async () => {
      for (let i = 0; !recorder.hasRefused() && i < 20_000; i++) {
        await fs.promises.chmod('/before', 0o600 + (i % 8));
        if (i % 1000 === 0) await fs.sync();
      }
      await fs.sync();
    })(),
  ).rejects.toMatchObject({ code: 'EIO' });
  expect(recorder.hasRefused()).toBe(true);
  await expect(fs.sync()).rejects.toThrow(/metadata\.db-wal.*start the node again/);
  expect(((await fs.status()).store as { failure: string }).failure).toMatch(/start the node again/);
  expect((await fs.promises.readFile('/before')).equals(content)).toBe(true);
  expect(
    contentsOf(await lost())
      .get('/before')
      ?.equals(content),
  ).toBe(true);
  await node.kill();
  await node.start();
  await fs.promises.writeFile('/after', content);
  await fs.sync();
  await fs.unmount();
  await node.kill();
  const found = contentsOf(await lost());
  expect(found.get('/before')?.equals(content)).toBe(true);
  expect(found.get('/after')?.equals(content)).toBe(true);
}, 60_000);
