/** What is read from the store off the event loop, and what becomes of it when the file changes meanwhile. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startNode } from '../src/cluster/start.ts';
import { clip } from '../src/coordinator/runs.ts';
import type { MetadataStore } from '../src/metadata/store.ts';
import { Filler, type Piece } from '../src/store/filler.ts';
import type { StoreFile } from '../src/store/store-file.ts';

const pageSize = 4096;
const pages = 100;
const range = { from: 0, count: pages };

/** A file of a node in this process that the store alone has, and somebody who fills its pages. */
async function storedFile(): Promise<{
  fs: ClusterFs;
  isAbsent: (page: number) => boolean;
  file: StoreFile;
  store: MetadataStore;
  filler: Filler;
  ino: number;
  content: Buffer;
  stop: () => Promise<void>;
}> {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-filler-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const node = startNode({
    socketPath: join(directory, 'sock'),
    runDirectory: join(directory, 'run'),
    store: join(directory, 'store'),
    memory: 2 ** 23,
  });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped ??= node.stop();
    return stopped;
  };
  onTestFinished(stop);
  const fs = await mount(`unix:${node.socketPath}`);
  onTestFinished(() => fs.unmount());
  const content = randomBytes(pages * pageSize);
  await fs.promises.writeFile('/file', content);
  await fs.sync();
  await fs.evict('/file');
  const c = node.coordinator;
  const file = c.writeBack?.file as StoreFile;
  const { ino } = fs.statSync('/file');
  const isAbsent = (page: number): boolean =>
    (c.pager?.absentOf(clip(c.extents(ino), page, 1)) ?? []).length > 0;
  const { store } = c;
  return { fs, isAbsent, file, store, ino, content, stop, filler: new Filler(c, { store, file }) };
}

test('pages are read, and put', async () => {
  const { fs, filler, ino, content } = await storedFile();
  const piece = (await filler.read(ino, range)) as Piece;
  expect(piece).toMatchObject({ ino, from: 0, count: pages, bad: [] });
  expect(filler.put(piece)).toEqual({ bad: [], isStale: false });
  expect(filler.filledPages).toBe(pages);
  expect(await filler.read(ino, range), 'nothing is absent any more').toBeUndefined();
  expect((await fs.promises.readFile('/file')).equals(content)).toBe(true);
});

const block = { from: 0, count: 16 };

test('the page that somebody waits for is there before the others', async () => {
  const { filler, isAbsent, ino } = await storedFile();
  const there: number[] = [];
  const isThere = (): void => {
    for (let page = 0; page < block.count; page++) if (!isAbsent(page)) there.push(page);
  };
  expect(filler.fillCached(ino, block, { filePage: 5, isThere })).toEqual([]);
  expect(there).toEqual([5]);
  expect(filler.filledPages).toBe(block.count);
  expect(filler.fillCached(ino, block, { filePage: 5, isThere }), 'nothing is absent').toEqual([]);
  expect(there).toEqual([5]);
});

test('a page that is damaged is not said to be there, and the others are put', async () => {
  const { filler, isAbsent, file, ino, store } = await storedFile();
  const [extent] = store.storedIn(ino, 5, 6);
  const damaged = openSync(file.path, 'r+');
  writeSync(damaged, 'damaged', ((extent?.place ?? 0) + 5 - (extent?.filePage ?? 0)) * pageSize);
  closeSync(damaged);
  const isThere = (): void => expect.unreachable('it is damaged');
  expect(filler.fillCached(ino, block, { filePage: 5, isThere })).toEqual([5]);
  expect(Array.from({ length: block.count }, (_, i) => i).filter(isAbsent)).toEqual([5]);
});

test('a page that is present again is left as it is', async () => {
  const { fs, filler, ino, content } = await storedFile();
  const piece = (await filler.read(ino, range)) as Piece;
  const changed = Buffer.alloc(pageSize, 'changed');
  const handle = await fs.promises.open('/file', 'r+');
  await handle.write(changed, 0, pageSize, 40 * pageSize);
  await handle.close();
  expect(filler.put(piece)).toEqual({ bad: [], isStale: false });
  expect(filler.filledPages).toBe(pages - 1);
  changed.copy(content, 40 * pageSize);
  expect((await fs.promises.readFile('/file')).equals(content)).toBe(true);
});

test('a page that was changed, stored and evicted is not put, and the others are', async () => {
  const { fs, filler, isAbsent, ino, content } = await storedFile();
  const piece = (await filler.read(ino, range)) as Piece;
  const changed = Buffer.alloc(pageSize, 'changed');
  const handle = await fs.promises.open('/file', 'r+');
  await handle.write(changed, 0, pageSize, 40 * pageSize);
  // Zeros have no place in the store.
  await handle.write(Buffer.alloc(pageSize), 0, pageSize, 50 * pageSize);
  await handle.sync();
  await handle.close();
  await fs.evict('/file');
  expect(filler.put(piece)).toEqual({ bad: [], isStale: true });
  expect(Array.from({ length: pages }, (_, i) => i).filter(isAbsent)).toEqual([40, 50]);
  changed.copy(content, 40 * pageSize);
  content.fill(0, 50 * pageSize, 51 * pageSize);
  expect((await fs.promises.readFile('/file')).equals(content)).toBe(true);
});

test('a file that is cut or gone gets nothing', async () => {
  const { fs, filler, isAbsent, ino, content } = await storedFile();
  const cut = (await filler.read(ino, range)) as Piece;
  await fs.promises.truncate('/file', 10 * pageSize);
  expect(filler.put(cut)).toEqual({ bad: [], isStale: false });
  expect(filler.filledPages).toBe(10);
  expect(isAbsent(9)).toBe(false);
  expect((await fs.promises.readFile('/file')).equals(content.subarray(0, 10 * pageSize))).toBe(true);
  await fs.sync();
  await fs.evict('/file');
  const gone = (await filler.read(ino, range)) as Piece;
  await fs.promises.unlink('/file');
  expect(filler.put(gone)).toEqual({ bad: [], isStale: false });
  expect(filler.filledPages).toBe(10);
  expect(await fs.check()).toEqual([]);
});

test('a node that stops leaves what is being read alone', async () => {
  const { filler, ino, stop } = await storedFile();
  const under = [1, 2, 3].map(() => filler.read(ino, range));
  const read = await under[0];
  expect(read).toBeDefined();
  await stop();
  for (const piece of await Promise.all(under))
    if (piece !== undefined) expect(filler.put(piece)).toEqual({ bad: [], isStale: false });
  expect(await filler.read(ino, range)).toBeUndefined();
  expect(filler.filledPages).toBe(0);
});
