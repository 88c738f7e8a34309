/** The data file of a store: what it refuses to take for one, and what it gives back. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Run } from '@cluster-fs/transport';
import { expect, onTestFinished, test } from 'vitest';
import { PageBuffer } from '../src/store/page-buffer.ts';
import { StoreFile, storeHeader } from '../src/store/store-file.ts';
import { sumOf } from '../src/store/sum.ts';

const page = 4096;
const segmentId = Buffer.alloc(16, 7);

function temporaryPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-store-file-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'data');
}

function open(path: string, options: { segmentId?: Uint8Array; used?: readonly Run[] } = {}): StoreFile {
  const file = new StoreFile(path, { segmentId, used: [], ...options });
  onTestFinished(() => file.close());
  return file;
}

/** Changes fields of the header; its checksum is made anew unless the change is to be seen as damage. */
function changeHeader(path: string, fields: object, { isDamage = false } = {}): void {
  const bytes = readFileSync(path);
  const header = storeHeader.bind(new DataView(bytes.buffer, bytes.byteOffset, bytes.length)).at(0);
  Object.assign(header, fields);
  if (!isDamage) header.checksum = crc32(bytes.subarray(0, storeHeader.offset.checksum));
  writeFileSync(path, bytes);
}

function makeStore(): string {
  const path = temporaryPath();
  new StoreFile(path, { segmentId, used: [] }).close();
  return path;
}

test('opens what it made, and makes it readable for its user alone', () => {
  const path = makeStore();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const before = readFileSync(path);
  expect(before).toHaveLength(page);
  open(path);
  expect(readFileSync(path).equals(before)).toBe(true);
});

test.each([
  ['another magic', { magic: 0x1234_5678 }, 'EINVAL', /not the data file of a store/],
  ['a version of the future', { version: 2 }, 'EPROTONOSUPPORT', /version 2, this build knows 1/],
  ['another layout', { layoutHash: 1 }, 'EPROTONOSUPPORT', /another layout/],
  ['another segment', { segmentId: Buffer.alloc(16, 8) }, 'EINVAL', /another metadata\.db/],
] as const)('refuses %s', (_, fields, code, why) => {
  const path = makeStore();
  changeHeader(path, fields);
  const before = readFileSync(path);
  expect(() => open(path)).toThrow(expect.objectContaining({ code, syscall: 'open', path }));
  expect(() => open(path)).toThrow(why);
  expect(readFileSync(path).equals(before), 'left as it was').toBe(true);
});

test.each([
  ['a damaged header', (path: string) => changeHeader(path, { createdMs: 1 }, { isDamage: true }), 'EIO'],
  ['a file of something else', (path: string) => writeFileSync(path, 'text of somebody'), 'EINVAL'],
  ['a header that ends early', (path: string) => truncateSync(path, 20), 'EIO'],
] as const)('refuses %s', (_, damage, code) => {
  const path = makeStore();
  damage(path);
  expect(() => open(path)).toThrow(expect.objectContaining({ code, syscall: 'open', path }));
});

test('makes no file where metadata names data, and says what that means', () => {
  const path = temporaryPath();
  const used = [{ page: 1, count: 3 }];
  expect(() => open(path, { used })).toThrow(expect.objectContaining({ code: 'EIO', path }));
  expect(() => open(path, { used })).toThrow(/every file that was stored there is lost/);
  expect(statSync(path).size).toBe(0);
});

test('reads what it wrote, and names the pages that are not as they were', async () => {
  const path = makeStore();
  const file = open(path);
  for (const count of [1, 16, 40]) {
    const bytes = randomBytes(count * page);
    const place = file.places.take(count).page;
    await file.write(place, bytes);
    const sums = BigUint64Array.from({ length: count }, (_, i) =>
      sumOf(bytes.subarray(i * page, (i + 1) * page)),
    );
    const pages = new PageBuffer();
    const run = { filePage: 5, page: 0, count };
    pages.describe({ from: 5, count }, [{ filePage: 5, count, place, sums }], [run]);
    const damaged = async (): Promise<readonly number[] | undefined> => {
      const bad = file.readNow(pages);
      expect(file.readCached(pages)).toEqual(bad);
      expect(await file.read(pages)).toEqual(bad);
      return bad;
    };
    expect(await damaged()).toEqual([]);
    expect(pages.bytesOf(5, count).equals(bytes)).toBe(true);
    const fd = openSync(path, 'r+');
    const last = count - 1;
    const damagedPage = [5 + last];
    const right = bytes[last * page + 9] ?? 0;
    writeSync(fd, Buffer.of(right ^ 1), 0, 1, (place + last) * page + 9);
    expect(await damaged()).toEqual(damagedPage);
    writeSync(fd, Buffer.of(right), 0, 1, (place + last) * page + 9);
    expect(await damaged()).toEqual([]);
    ftruncateSync(fd, (place + last) * page + 100);
    expect(file.readNow(pages)).toEqual(damagedPage);
    expect(await file.read(pages)).toEqual(damagedPage);
    closeSync(fd);
  }
});

test('gives released places back to the disk, at its end and between others', async () => {
  const path = makeStore();
  const file = open(path);
  const [first, second, third] = [8, 8, 8].map((count) => file.places.take(count)) as [Run, Run, Run];
  for (const { page: place, count } of [first, second, third])
    await file.write(place, randomBytes(count * page));
  const before = statSync(path);
  file.release([second]);
  file.trim();
  const between = statSync(path);
  expect([between.size, before.blocks - between.blocks]).toEqual([25 * page, (8 * page) / 512]);
  file.release([third]);
  file.trim();
  expect(statSync(path).size).toBe(9 * page);
});

test('a redo log is written to its places', async () => {
  const path = makeStore();
  const file = open(path);
  const { page: place } = file.places.take(3);
  const bytes = randomBytes(3 * page);
  file.redo([0, 1, 2].map((i) => ({ place: place + i, bytes: bytes.subarray(i * page, (i + 1) * page) })));
  expect(
    readFileSync(path)
      .subarray(place * page)
      .equals(bytes),
  ).toBe(true);
});

test('what is read off the event loop when the file is closed is nothing', async () => {
  const path = makeStore();
  const file = new StoreFile(path, { segmentId, used: [] });
  const { page: place } = file.places.take(100);
  const bytes = randomBytes(100 * page);
  await file.write(place, bytes);
  const sums = BigUint64Array.from({ length: 100 }, (_, i) =>
    sumOf(bytes.subarray(i * page, (i + 1) * page)),
  );
  const pages = new PageBuffer();
  const stored = [{ filePage: 0, count: 100, place, sums }];
  pages.describe({ from: 0, count: 100 }, stored, [{ filePage: 0, page: 0, count: 100 }]);
  const reading = file.read(pages);
  file.close();
  file.close();
  expect(await reading).toBeUndefined();
  expect(await file.read(pages)).toBeUndefined();
});
