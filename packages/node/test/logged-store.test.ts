/** The log in front of SQLite: who opens the store after a death finds what SQLite alone would have. */
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packBody } from '@cluster-fs/transport';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { decodeChanges, encodeChanges } from '../src/metadata/change-codec.ts';
import { ChangeLog, logRecord, readRecords } from '../src/metadata/change-log.ts';
import { LoggedStore, limits, openLoggedStore } from '../src/metadata/logged-store.ts';
import { openSqliteStore, schemaVersion } from '../src/metadata/sqlite.ts';
import type { Change, MetadataStore } from '../src/metadata/store.ts';
import { makeOld } from './old-version.ts';

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-logged-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function open(directory: string): MetadataStore {
  const store = openLoggedStore(directory);
  const close = store.close.bind(store);
  let isOpen = true;
  store.close = () => {
    if (isOpen) close();
    isOpen = false;
  };
  onTestFinished(() => store.close());
  return store;
}

/** The store as the next node finds it when this one is killed now. */
function afterDeath(directory: string): MetadataStore {
  const copy = temporaryDirectory();
  cpSync(directory, copy, { recursive: true });
  return open(copy);
}

const inos = [1, 2, 3];
const ino = fc.constantFrom(...inos);
const small = fc.nat(5);
const place = fc.integer({ min: 1, max: 6 });
const u53 = fc.maxSafeNat();
const timeMs = fc.double({ min: -1e15, max: 1e15, noNaN: true }).map((ms) => ms + 0);
const row = fc.record({
  ino,
  generation: fc.nat(0xffff_ffff),
  mode: fc.nat(0xffff),
  uid: fc.nat(0xffff_ffff),
  gid: small,
  nlink: small,
  parent: small,
  size: u53,
  layoutVersion: u53,
  atimeMs: timeMs,
  mtimeMs: timeMs,
  ctimeMs: timeMs,
  birthtimeMs: timeMs,
  home: small,
  target: fc.option(fc.string({ unit: 'grapheme', minLength: 1 }), { nil: undefined }),
  extents: fc.array(fc.record({ filePage: small, page: small, count: small }), { maxLength: 3 }),
});
const sums = (count: number): BigUint64Array =>
  BigUint64Array.from({ length: count }, (_, i) => BigInt(i) << 60n);
const extent = fc
  .record({ filePage: small, count: fc.integer({ min: 1, max: 3 }), place })
  .map((e) => ({ ...e, sums: sums(e.count) }));
const name = fc.constantFrom('a', 'b/c', 'ü');
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ type: fc.constant('putInode' as const), row }),
  fc.record({ type: fc.constant('deleteInode' as const), ino }),
  fc.record({ type: fc.constant('putDirent' as const), row: fc.record({ parent: small, name, ino }) }),
  fc.record({ type: fc.constant('deleteDirent' as const), parent: small, name }),
  fc.record({ type: fc.constant('unhold' as const), id: small }),
  fc.record({ type: fc.constant('putStored' as const), ino, extent }),
  fc.record({ type: fc.constant('deleteStored' as const), ino, filePage: small }),
  fc.record({
    type: fc.constant('putDurable' as const),
    row: fc.record({ ino, generation: small, size: u53, mtimeMs: timeMs }),
  }),
  fc.record({ type: fc.constant('markDirty' as const), ino }),
  fc.record({ type: fc.constant('markClean' as const), ino }),
  fc.record({
    type: fc.constant('putRedo' as const),
    place,
    bytes: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  }),
  fc.record({ type: fc.constant('clearRedo' as const) }),
  fc.record({ type: fc.constant('forgetStored' as const), ino }),
);

/** Everything that a store says, except for what is lent to nobody else. */
const contentOf = (store: MetadataStore) => ({
  inodes: [...store.inodes()],
  dirents: [...store.dirents()],
  held: store.held(),
  stored: inos.map((each) => store.stored(each)),
  storedIn: inos.map((each) => store.storedIn(each, 1, 3)),
  durable: inos.map((each) => store.durable(each)),
  dirty: store.dirty(),
  redo: [...store.redo()].map((each) => ({ place: each.place, bytes: [...each.bytes] })),
});

test('has after a death what SQLite alone would have, whenever it was asked before', () => {
  const batches = fc.array(
    fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 12 }), asks: ino, read: fc.boolean() }),
    {
      minLength: 1,
      maxLength: 8,
    },
  );
  fc.assert(
    fc.property(batches, (all) => {
      const directory = temporaryDirectory();
      const store = open(directory);
      const plain = openSqliteStore(join(temporaryDirectory(), 'metadata.db'), { besideData: false });
      for (const { changes, asks, read } of all) {
        store.commit(changes);
        plain.commit(changes);
        // Some questions are answered without SQLite, and must be answered the same.
        if (read) expect(store.stored(asks)).toEqual(plain.stored(asks));
      }
      const expected = contentOf(plain);
      expect(contentOf(afterDeath(directory))).toEqual(expected);
      expect(contentOf(store)).toEqual(expected);
      store.close();
      const again = open(directory);
      expect(contentOf(again)).toEqual(expected);
      again.close();
      plain.close();
    }),
    { numRuns: 30 },
  );
});

const put = (inode: number, size: number): Change => ({
  type: 'putDurable',
  row: { ino: inode, generation: 1, size, mtimeMs: 0 },
});
const redo = (at: number, byte: number): Change => ({
  type: 'putRedo',
  place: at,
  bytes: Buffer.alloc(4096, byte),
});

test('writes its files over and over, and is not longer than it must be', async () => {
  const directory = temporaryDirectory();
  const store = open(directory);
  const lengths = new Set<number>();
  for (let i = 1; i <= 2000; i++) {
    // A larger round has flushed the data file.
    store.commit([put(1, i), i % 300 === 0 ? { type: 'clearRedo' } : redo(1 + (i % 10), i)]);
    if (i % 7 === 0) await store.flush();
    if (i % 400 !== 0) continue;
    lengths.add(statSync(join(directory, 'log-a')).size + statSync(join(directory, 'log-b')).size);
    const found = afterDeath(directory);
    expect(found.durable(1)?.size).toBe(i);
    expect(new Map([...found.redo()].map((each) => [each.place, each.bytes[0]])).size).toBe(
      i % 300 === 0 ? 0 : 10,
    );
  }
  expect(Math.max(...lengths)).toBeLessThan(2 * (limits.logBytes + 300 * 4400));
});

test('a file whose records SQLite does not have on the disk yet is not written over', async () => {
  const directory = temporaryDirectory();
  const sqlite = openSqliteStore(join(directory, 'metadata.db'), { besideData: false });
  sqlite.commit([], { logTerm: '1', logSequence: '0' });
  let answer: () => void = () => undefined;
  const slow: MetadataStore = {
    ...sqlite,
    flush: () =>
      new Promise<void>((resolve) => {
        answer = resolve;
      }).then(() => sqlite.flush()),
  };
  const store = new LoggedStore(slow, new ChangeLog(directory, { term: 1, sequence: 0 }));
  onTestFinished(() => store.close());
  let count = 0;
  const commit = (): void => store.commit([put(1, ++count)]);
  const length = (name: string): number => statSync(join(directory, name)).size;
  /** How far a start would come after a loss of power that leaves SQLite as it was made. */
  const reached = (): number => readRecords(directory, 1, 0).length;
  while (length('log-b') === 0) commit();
  // Without a flush the second file is as long as it gets.
  while (length('log-b') < 1.5 * limits.logBytes) commit();
  const flushing = store.flush();
  for (let i = 0; i < 10; i++) commit();
  expect(reached()).toBe(count);
  answer();
  await flushing;
  // Now it is, and what is gone SQLite has.
  for (let i = 0; i < 2; i++) commit();
  expect(reached()).toBe(0);
  expect(afterDeath(directory).durable(1)?.size).toBe(count);
});

test('goes on without a flush, and with pages that nobody flushes', () => {
  const directory = temporaryDirectory();
  const store = open(directory);
  const count = Math.ceil((2.5 * limits.longLogBytes) / 4096);
  for (let i = 1; i <= count; i++) store.commit([put(1, i), redo(1, i)]);
  const found = afterDeath(directory);
  expect(found.durable(1)?.size).toBe(count);
  expect([...found.redo()].map(({ bytes }) => bytes[0])).toEqual([count % 256]);
});

test('many rows go to SQLite before they are many', () => {
  const directory = temporaryDirectory();
  const store = open(directory);
  for (let i = 1; i <= 3 * limits.pendingRows; i++) store.commit([put(i, i)]);
  const db = new Database(join(temporaryCopy(directory), 'metadata.db'));
  expect(db.prepare('SELECT count(*) FROM durable').pluck().get()).toBeGreaterThan(2 * limits.pendingRows);
  db.close();
});

function temporaryCopy(directory: string): string {
  const copy = temporaryDirectory();
  cpSync(directory, copy, { recursive: true });
  return copy;
}

test('a record that is not whole ends the log, and what is behind it does not come back later', () => {
  const directory = temporaryDirectory();
  const store = open(directory);
  for (let i = 1; i <= 5; i++) store.commit([put(1, i)]);
  const copy = temporaryCopy(directory);
  const path = join(copy, 'log-a');
  const bytes = readFileSync(path);
  const length = bytes.length / 5;
  // Of the third, which the disk has in part; the fourth and the fifth are whole.
  const at = Math.floor(2.5 * length);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
  const next = open(copy);
  expect(next.durable(1)?.size).toBe(2);
  // As long as the three that it is written over: the fourth of before is behind it, with the next number.
  const third = (n: number): Change[] => [put(1, 13), { type: 'putRedo', place: 1, bytes: Buffer.alloc(n) }];
  const sizes = Array.from({ length: 3 * length }, (_, n) => logRecord.size + encodeChanges(third(n)).length);
  next.commit(third(sizes.indexOf(3 * length)));
  expect(readFileSync(path).subarray(3 * length)).toEqual(bytes.subarray(3 * length));
  expect(afterDeath(copy).durable(1)?.size).toBe(13);
});

test('a store of before it had a log is opened, and then not by a build that knows of none', () => {
  const directory = temporaryDirectory();
  const path = join(directory, 'metadata.db');
  const plain = openSqliteStore(path, { besideData: false });
  plain.commit([put(1, 7)]);
  plain.close();
  makeOld(path, 3);
  const store = open(directory);
  expect(store.durable(1)?.size).toBe(7);
  store.close();
  const after = new Database(path);
  expect(after.pragma('user_version', { simple: true })).toBe(schemaVersion);
  after.close();
});

test('of an older log, who came and went is left out, unless he lives and may store still', () => {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const startTime = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  // As version 5 wrote them: session 7 of a process, and its end.
  const came = (startTicks: number) => [5, 7, process.pid, startTicks];
  const bytes = (...changes: unknown[][]) => packBody(changes, Number.POSITIVE_INFINITY).slice();
  expect(decodeChanges(bytes(came(startTime - 1), [13, 2], [6, 7]))).toEqual([{ type: 'markClean', ino: 2 }]);
  expect(() => decodeChanges(bytes([13, 2], came(startTime)))).toThrow(
    expect.objectContaining({ code: 'EBUSY', message: expect.stringContaining(`pid ${process.pid}`) }),
  );
});
