/** What happens to a file while it is being stored: between the reading of its pages and their commit. */
import { randomBytes } from 'node:crypto';
import { constants, mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run } from '@cluster-fs/transport';
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { openRawSession } from '../chaos/raw-session.mjs';
import { cutPower, never, storeReport } from './power.ts';

const MiB = 2 ** 20;
const page = 4096;
const attempts = 12;
type RawSession = Awaited<ReturnType<typeof openRawSession>>;

async function start(): Promise<{ node: NodeProcess; fs: ClusterFs }> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, memory: 64 * MiB, writeBackMs: never });
  return { node, fs: await mountForTest(node) };
}

/** Lets the node do other things: so many requests. */
async function turns(fs: ClusterFs, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await fs.holders('/');
}

test('a view that stores and closes while its file is being stored', async () => {
  const { node, fs } = await start();
  const content = randomBytes(12 * MiB);
  await fs.promises.writeFile('/file', content);
  for (let attempt = 0; attempt < attempts; attempt++) {
    const view = await fs.map('/file', { mode: 'rw' });
    const synced = fs.sync();
    await turns(fs, 3 * attempt);
    content[attempt] = 255 - (content[attempt] ?? 0);
    view.bytes[attempt] = content[attempt] ?? 0;
    view.close();
    await synced;
    await fs.evict('/file');
    expect(fs.readFileSync('/file').equals(content), `attempt ${attempt}`).toBe(true);
  }
  await fs.sync();
  expect(await storeReport(fs)).toMatchObject({ dirtyFiles: 0 });
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  expect((await again.promises.readFile('/file')).equals(content)).toBe(true);
}, 60_000);

test('a file that is removed while a view of it is opened is not another file', async () => {
  const { node, fs } = await start();
  // Who cannot wait for pages gets a view when all are there: that takes many turns of the node.
  const pinned = await mount(node.url, { mode: 'pinned' });
  onTestFinished(() => pinned.unmount());
  const content = randomBytes(16 * MiB);
  let opened = 0;
  for (let attempt = 0; attempt < 8; attempt++) {
    await fs.promises.writeFile('/file', content);
    await fs.evict('/file');
    const { ino } = fs.statSync('/file');
    const opening = pinned.map('/file').catch((error: NodeJS.ErrnoException) => {
      // It was too late.
      expect(error.code).toBe('ENOENT');
    });
    await turns(fs, attempt);
    await fs.promises.unlink('/file');
    const others = Array.from({ length: 20 }, (_, i) => `/other-${i}`);
    for (const other of others) await fs.promises.writeFile(other, other);
    const view = await opening;
    if (view !== undefined) {
      opened++;
      expect(others.map((other) => fs.statSync(other).ino)).not.toContain(ino);
      expect(Buffer.compare(view.bytes, content), `attempt ${attempt}`).toBe(0);
      view.close();
    }
    for (const other of others) await fs.promises.unlink(other);
  }
  expect(opened).toBeGreaterThan(0);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 60_000);

test('a file that is evicted while it is being stored is as it was written', async () => {
  const { fs } = await start();
  const other = await mountForTest(fs);
  const content = randomBytes(4 * MiB);
  await fs.promises.writeFile('/file', content);
  await fs.sync();
  for (let attempt = 0; attempt < attempts; attempt++) {
    const handle = await fs.promises.open('/file', 'r+');
    content.fill(attempt + 1, attempt * page, 3 * MiB);
    await handle.write(content, 0, content.length, 0);
    const synced = handle.sync();
    await turns(fs, attempt);
    await other.evict('/file');
    expect(other.readFileSync('/file').equals(content), `attempt ${attempt}`).toBe(true);
    await synced;
    await handle.close();
  }
}, 60_000);

test('files that are removed while they are being stored leave their places to one other each', async () => {
  const { node, fs } = await start();
  const { promises: files } = fs;
  const other = await mountForTest(fs);
  const kept = new Map<string, Buffer>();
  for (let attempt = 0; attempt < 4 * attempts; attempt++) {
    const names = Array.from({ length: 6 }, (_, i) => `/gone-${attempt}-${i}`);
    for (const name of names) await files.writeFile(name, randomBytes(2 * page));
    await fs.sync();
    for (const name of names) await files.writeFile(name, randomBytes(2 * page));
    const removed = attempt % 2 === 0 ? other.promises : files;
    const synced = fs.sync();
    await turns(fs, Math.floor(attempt / 4) % 4);
    await Promise.all([synced, ...names.map((name) => removed.unlink(name))]);
    for (let i = 0; i < 3; i++) {
      const bytes = randomBytes(2 * page);
      kept.set(`/kept-${attempt}-${i}`, bytes);
      await files.writeFile(`/kept-${attempt}-${i}`, bytes);
    }
    await fs.sync();
  }
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  for (const [name, bytes] of kept)
    expect((await again.promises.readFile(name)).equals(bytes), name).toBe(true);
  expect(node.errors).toEqual([]);
}, 60_000);

test('what is appended to a file while it is being stored is there, or is not', async () => {
  const { node, fs } = await start();
  await fs.unmount();
  const line = Buffer.from('appended while the file is being stored;');
  for (let lines = 1; lines <= 6; lines++) {
    const now = await mountForTest(node);
    const content = randomBytes(MiB);
    await now.promises.writeFile('/file', content);
    const handle = await now.promises.open('/file', 'a');
    const synced = handle.sync();
    // Behind the last of these the file is not changed any more.
    for (let i = 0; i < lines; i++) await handle.write(line);
    await synced;
    await handle.close();
    await now.unmount();
    await cutPower(node);
    await node.start();
    const again = await mountForTest(node);
    const found = await again.promises.readFile('/file');
    const there = Math.max(0, Math.floor((found.length - content.length) / line.length));
    const expected = Buffer.concat([content, ...Array<Buffer>(there).fill(line)]);
    expect(found.equals(expected), `${found.length} bytes after ${lines} lines`).toBe(true);
    expect(there).toBeLessThanOrEqual(lines);
    await again.unmount();
  }
  expect(node.errors).toEqual([]);
}, 60_000);

describe('files that have one inode, one after the other, in one turn of the node', () => {
  /** Requests that come together: the inode that one has freed is the next one's. */
  async function together(
    node: NodeProcess,
    requests: (session: RawSession, runs: readonly Run[]) => Promise<unknown>[],
  ): Promise<void> {
    const session = await openRawSession(node.socketPath);
    const { runs } = await session.connection.request('reserve', { pages: 2 });
    for (const run of runs)
      writeSync(
        session.descriptors[1] as number,
        randomBytes(run.count * page),
        0,
        run.count * page,
        run.page * page,
      );
    await Promise.all(requests(session, runs));
    session.close();
  }
  const put = { flags: constants.O_CREAT | constants.O_WRONLY, mode: 0o644 };

  test.each<[string, Parameters<typeof together>[1]]>([
    [
      'and are removed',
      ({ connection }) => [
        connection.request('unlink', { path: '/first' }),
        connection.request('put', { ...put, path: '/second', size: 0, runs: [] }),
        connection.request('unlink', { path: '/second' }),
        connection.request('put', { ...put, path: '/third', size: 0, runs: [] }),
        connection.request('unlink', { path: '/third' }),
      ],
    ],
    [
      'and are stored',
      ({ connection }, runs) => [
        connection.request('unlink', { path: '/first' }),
        connection.request('put', { ...put, path: '/second', size: 2 * page, runs }),
        connection.request('sync', {}),
      ],
    ],
  ])('%s: each place is one other file’s', async (_, requests) => {
    const { node, fs } = await start();
    const { promises: files } = fs;
    const kept = new Map<string, Buffer>();
    for (let attempt = 0; attempt < attempts; attempt++) {
      await files.writeFile('/first', randomBytes(2 * page));
      await fs.sync();
      const { ino } = fs.statSync('/first');
      await together(node, requests);
      // The inode that was free last is taken first.
      await files.writeFile(`/same-${attempt}`, '');
      if (!fs.existsSync('/second')) expect(fs.statSync(`/same-${attempt}`).ino).toBe(ino);
      else {
        expect(fs.statSync('/second').ino).toBe(ino);
        kept.set(`/second-${attempt}`, fs.readFileSync('/second'));
        await files.rename('/second', `/second-${attempt}`);
      }
      for (let i = 0; i < 3; i++) {
        kept.set(`/kept-${attempt}-${i}`, randomBytes(2 * page));
        await files.writeFile(`/kept-${attempt}-${i}`, kept.get(`/kept-${attempt}-${i}`) as Buffer);
        await fs.sync();
      }
    }
    await fs.unmount();
    await cutPower(node);
    await node.start();
    const again = await mountForTest(node);
    for (const [name, bytes] of kept)
      expect((await again.promises.readFile(name)).equals(bytes), name).toBe(true);
    expect(node.errors).toEqual([]);
  });
});

test('a page that is changed and changed back while its large file is being stored is there', async () => {
  const { node, fs } = await start();
  const content = randomBytes(12 * MiB);
  await fs.promises.writeFile('/file', content);
  await fs.unmount();
  const changed = Buffer.alloc(page, 'changed');
  for (let attempt = 0; attempt < attempts; attempt++) {
    const now = await mountForTest(node);
    await now.sync();
    // Whoever maps it to write may store anywhere: it is compared with what is stored.
    const view = await now.map('/file', { mode: 'rw' });
    const handle = await now.promises.open('/file', 'r+');
    await handle.write(changed, 0, page, 0);
    // Read last, it may get the place that the first page had for a moment.
    content.fill(attempt + 1, content.length - 2 * page, content.length - page);
    view.bytes.set(content.subarray(-2 * page), content.length - 2 * page);
    const synced = handle.sync();
    await turns(now, attempt);
    await handle.write(content, 0, page, 0);
    await synced;
    view.close();
    await now.unmount();
    await cutPower(node);
    await node.start();
    const again = await mountForTest(node);
    const found = await again.promises.readFile('/file');
    const isEither = [content, changed].some((bytes) =>
      found.subarray(0, page).equals(bytes.subarray(0, page)),
    );
    expect(isEither, `attempt ${attempt}: ${found.toString('latin1', 0, 10)}`).toBe(true);
    expect(found.subarray(page).equals(content.subarray(page))).toBe(true);
    await again.promises.writeFile('/file', content);
    await again.unmount();
  }
  expect(node.errors).toEqual([]);
}, 60_000);

test('times that were set and synced are there, whatever was written after them', async () => {
  const { node, fs } = await start();
  const content = randomBytes(10 * page);
  await fs.promises.writeFile('/file', content);
  await fs.sync();
  await fs.promises.utimes('/file', 1000, 2000);
  await fs.sync();
  await fs.promises.writeFile('/file', 'not synced');
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  expect((await again.promises.readFile('/file')).equals(content)).toBe(true);
  expect(again.statSync('/file').mtimeMs).toBe(2_000_000);
}, 30_000);

test('what is changed while it is being read from the store is as it was changed', async () => {
  const { node, fs } = await start();
  const other = await mountForTest(node);
  const content = randomBytes(12 * MiB);
  await fs.promises.writeFile('/file', content);
  const handle = await other.promises.open('/file', 'r+');
  const view = await fs.map('/file');
  for (let attempt = 0; attempt < 4 * attempts; attempt++) {
    await fs.evict('/file');
    const coming = fs.prefetch('/file');
    await turns(other, attempt % 5);
    const at = ((attempt * 7) % 12) * MiB;
    content.fill(attempt + 1, at, at + MiB);
    await handle.write(content, at, MiB, at);
    // What was read is neither absent any more, nor what the store says when it is absent again.
    if (attempt % 3 === 0) await other.evict('/file');
    await coming;
    expect(Buffer.compare(fs.readFileSync('/file'), content), `attempt ${attempt}`).toBe(0);
    expect(Buffer.compare(view.bytes, content), `attempt ${attempt}, by view`).toBe(0);
  }
  await handle.close();
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 60_000);

test('a file that is cut or removed while it is read from the store leaves nothing behind', async () => {
  const { node, fs } = await start();
  const other = await mountForTest(node);
  const content = randomBytes(8 * MiB);
  for (let attempt = 0; attempt < 2 * attempts; attempt++) {
    await fs.promises.writeFile('/file', content);
    await fs.evict('/file');
    const coming = fs.prefetch('/file').catch((error: NodeJS.ErrnoException) => {
      expect(['ENOENT', 'ESTALE']).toContain(error.code);
    });
    await turns(other, attempt % 5);
    if (attempt % 2 === 0) await other.promises.truncate('/file', MiB + 5);
    else await other.promises.unlink('/file');
    // In the pages that it left.
    const zeros = Buffer.alloc(6 * MiB);
    await other.promises.writeFile('/zeros', zeros);
    await coming;
    expect(Buffer.compare(fs.readFileSync('/zeros'), zeros), `attempt ${attempt}`).toBe(0);
    if (attempt % 2 === 0) expect(fs.readFileSync('/file').equals(content.subarray(0, MiB + 5))).toBe(true);
  }
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 60_000);
