import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openSqliteStore } from '../src/metadata/sqlite.ts';
import type { Change, InodeRow, MetadataStore } from '../src/metadata/store.ts';
import { makeOld } from './old-version.ts';

const u32 = fc.nat(0xffff_ffff);
const timeMs = fc.double({ min: -1e15, max: 1e15, noNaN: true }).map((ms) => ms + 0);
const extent = fc.record({ filePage: u32, page: u32, count: u32 });
const row: fc.Arbitrary<InodeRow> = fc.record({
  ino: fc.integer({ min: 1, max: 20 }),
  generation: u32,
  mode: u32,
  uid: u32,
  gid: u32,
  nlink: u32,
  parent: u32,
  size: fc.maxSafeNat(),
  layoutVersion: fc.maxSafeNat(),
  atimeMs: timeMs,
  mtimeMs: timeMs,
  ctimeMs: timeMs,
  birthtimeMs: timeMs,
  target: fc.option(fc.string({ unit: 'grapheme', minLength: 1 }), { nil: undefined }),
  extents: fc.array(extent, { maxLength: 10 }),
  home: u32,
});
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });
const change: fc.Arbitrary<Change> = fc.oneof(
  row.map((r): Change => ({ type: 'putInode', row: r })),
  fc.integer({ min: 1, max: 20 }).map((ino): Change => ({ type: 'deleteInode', ino })),
  fc.record({ parent: fc.nat(3), name, ino: u32 }).map((r): Change => ({ type: 'putDirent', row: r })),
  fc.record({ parent: fc.nat(3), name }).map((d): Change => ({ type: 'deleteDirent', ...d })),
);

describe('the store', () => {
  test('has what was committed, also after it is opened again', () => {
    fc.assert(
      fc.property(fc.array(fc.array(change, { maxLength: 8 }), { maxLength: 6 }), (batches) => {
        const path = temporaryPath();
        const store = openSqliteStore(path, { besideData: true });
        const model = new Model();
        for (const batch of batches) {
          store.commit(batch);
          for (const each of batch) model.apply(each);
        }
        model.expectSame(store);
        store.close();
        const again = openSqliteStore(path, { besideData: true });
        model.expectSame(again);
        again.close();
      }),
      { numRuns: 25 },
    );
  });

  test('gives names and times back that are not as those of files', () => {
    const store = openSqliteStore(temporaryPath(), { besideData: true });
    const model = new Model();
    const facts = { generation: 1, mode: 0o100644, uid: 0, gid: 0, nlink: 1, parent: 1, size: 0, home: 0 };
    const times = [0, -0.5, 0.1, 1.7e12 + 0.25, 1.7e12, 1e-300, -1e15, 2 ** 41, 2 ** 60];
    const changes: Change[] = times.flatMap((mtimeMs, i): Change[] => {
      const more = {
        mtimeMs,
        ctimeMs: 1.7e12,
        birthtimeMs: times.at(-i) ?? 0,
        atimeMs: times.at(i - 3) ?? 0,
      };
      const row = { ...facts, ...more, ino: 7 * i + 1, layoutVersion: 1, target: undefined, extents: [] };
      const name = ['a/b', '/', 'plain', '//'][i % 4] as string;
      return [
        { type: 'putInode', row },
        { type: 'putDirent', row: { parent: i, name, ino: row.ino } },
      ];
    });
    for (const each of changes) model.apply(each);
    store.commit(changes);
    model.expectSame(store);
    store.close();
  });

  test('gives tables whole that are longer than what is read at a time', () => {
    const path = temporaryPath();
    const store = openSqliteStore(path, { besideData: true });
    const model = new Model();
    const changes: Change[] = [];
    for (let i = 1; i <= 20_000; i++) {
      const times = { atimeMs: i + 0.25, mtimeMs: i + 0.5, ctimeMs: i - 0.5, birthtimeMs: -i };
      const extents = Array.from({ length: i % 3 }, (_, n) => ({ filePage: n * 9, page: i, count: 1 + n }));
      const numbers = {
        home: i % 4,
        generation: i + 1,
        mode: 0o100644,
        uid: i,
        gid: 2 * i,
        nlink: 1,
        parent: i % 7,
      };
      const target = i % 1000 === 0 ? `/to/${i}` : undefined;
      // Numbers with gaps, as where files were removed.
      const row = { ino: 3 * i, size: i * 100, layoutVersion: i, ...numbers, ...times, target, extents };
      changes.push({ type: 'putInode', row });
      changes.push({ type: 'putDirent', row: { parent: i % 7, name: `a name ${i}`, ino: 3 * i } });
      const one = { filePage: i % 5, count: 1 + (i % 256), place: 300 * i, sums: new BigUint64Array(1) };
      changes.push({ type: 'putStored', ino: 3 * i, extent: one });
    }
    for (const each of changes) model.apply(each);
    store.commit(changes);
    model.expectSame(store);
    const places = [...store.storedPlaces()].sort((a, b) => a.page - b.page);
    const wanted = changes.flatMap((each) =>
      each.type === 'putStored' ? [{ page: each.extent.place, count: each.extent.count }] : [],
    );
    expect(places).toEqual(wanted);
    store.close();
  });

  test('makes all changes of a batch true, or none', () => {
    const store = openSqliteStore(temporaryPath(), { besideData: true });
    const held = { id: 1, page: 5, count: 1, reason: 'reserved' } as const;
    store.commit([{ type: 'hold', row: held }]);
    const put: Change = { type: 'putDirent', row: { parent: 1, name: 'a', ino: 2 } };
    expect(() => store.commit([put, { type: 'hold', row: held }])).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    expect([...store.dirents()]).toEqual([]);
    store.commit([put, { type: 'unhold', id: 1 }]);
    expect([...store.dirents()]).toEqual([{ parent: 1, name: 'a', ino: 2 }]);
    expect(store.held()).toEqual([]);
    store.close();
  });

  test('leaves what was committed to whoever finds its files after a crash', () => {
    const path = temporaryPath();
    const dying = openSqliteStore(path, { besideData: true });
    dying.setSuperblock({ epoch: '4' });
    dying.commit([{ type: 'putDirent', row: { parent: 1, name: 'kept', ino: 2 } }]);
    const found = temporaryPath();
    cpSync(dirname(path), dirname(found), { recursive: true });
    dying.close();
    const again = openSqliteStore(found, { besideData: true });
    expect(again.superblock('epoch')).toBe('4');
    expect([...again.dirents()]).toHaveLength(1);
    again.close();
  });

  test('tells a store that was never formatted by its lack of values', () => {
    const store = openSqliteStore(temporaryPath(), { besideData: true });
    expect(store.superblock('segmentId')).toBeUndefined();
    store.setSuperblock({ segmentId: 'x', epoch: '1' });
    store.setSuperblock({ epoch: '2' });
    expect([store.superblock('segmentId'), store.superblock('epoch')]).toEqual(['x', '2']);
    store.close();
  });

  test.each([2, 4, 5] as const)('takes over one of version %i', (version) => {
    const path = temporaryPath();
    const rows = new Map(fc.sample(row, { numRuns: 50, seed: 1 }).map((each) => [each.ino, each]));
    const now = openSqliteStore(path, { besideData: true });
    now.commit([...rows.values()].map((each) => ({ type: 'putInode', row: each })));
    now.close();
    makeOld(path, version);
    for (const _ of ['as it is taken over', 'as it is opened again']) {
      const store = openSqliteStore(path, { besideData: true });
      const wanted = [...rows.values()].map((each) => (version < 3 ? { ...each, home: 0 } : each));
      expect([...store.inodes()]).toEqual(wanted.sort((a, b) => a.ino - b.ino));
      for (const each of wanted) expect(store.inode(each.ino)).toEqual(each);
      store.close();
    }
  });

  test('leaves one of version 5 alone while a process lives that had mounted it', () => {
    const path = temporaryPath();
    openSqliteStore(path, { besideData: true }).close();
    makeOld(path, 5);
    const raw = new Database(path);
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const startTime = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    raw.prepare('UPDATE session SET start_time = ?').run(startTime);
    raw.close();
    for (const _ of ['at first', 'and again']) {
      expect(() => openSqliteStore(path, { besideData: true })).toThrow(
        expect.objectContaining({ code: 'EBUSY', message: expect.stringContaining(`pid ${process.pid}`) }),
      );
    }
    const left = new Database(path);
    expect(left.pragma('user_version', { simple: true })).toBe(5);
    left.exec('UPDATE session SET start_time = start_time + 1');
    left.close();
    openSqliteStore(path, { besideData: true }).close();
  });

  test('leaves an old one as it was when it cannot take it over', () => {
    const path = temporaryPath();
    const now = openSqliteStore(path, { besideData: true });
    now.commit([{ type: 'putInode', row: fc.sample(row, { numRuns: 1, seed: 1 })[0] as InodeRow }]);
    now.close();
    makeOld(path, 4);
    const raw = new Database(path);
    raw.exec('UPDATE inode SET mode = -1');
    raw.close();
    expect(() => openSqliteStore(path, { besideData: true })).toThrow('mode: -1 is not an integer');
    const left = new Database(path);
    expect(left.pragma('user_version', { simple: true })).toBe(4);
    expect(left.prepare('SELECT mode FROM inode').pluck().all()).toEqual([-1]);
    left.close();
  });

  test('refuses a database of another version', () => {
    const path = temporaryPath();
    const other = new Database(path);
    other.pragma('user_version = 99');
    other.close();
    expect(() => openSqliteStore(path, { besideData: true })).toThrow(
      expect.objectContaining({ code: 'EPROTONOSUPPORT' }),
    );
  });

  test('refuses what is no database, and a directory that is not there', () => {
    const path = temporaryPath();
    writeFileSync(path, 'this is no database, whatever its name is'.repeat(100));
    expect(() => openSqliteStore(path, { besideData: true })).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    expect(() => openSqliteStore(`${path}/below/db`, { besideData: true })).toThrow();
  });
});

/** What the tables should hold. */
class Model {
  readonly #inodes = new Map<number, InodeRow>();
  readonly #dirents = new Map<string, number>();

  apply(each: Change): void {
    if (each.type === 'putInode') this.#inodes.set(each.row.ino, each.row);
    else if (each.type === 'deleteInode') this.#inodes.delete(each.ino);
    else if (each.type === 'putDirent')
      this.#dirents.set(`${each.row.parent} ${each.row.name}`, each.row.ino);
    else if (each.type === 'deleteDirent') this.#dirents.delete(`${each.parent} ${each.name}`);
  }

  expectSame(store: MetadataStore): void {
    const inodes = [...this.#inodes.values()].sort((a, b) => a.ino - b.ino);
    expect([...store.inodes()]).toEqual(inodes);
    const dirents = [...store.dirents()].map(
      ({ parent, name: entry, ino }) => [`${parent} ${entry}`, ino] as const,
    );
    expect(new Map(dirents)).toEqual(this.#dirents);
  }
}

function temporaryPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-sqlite-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'metadata.db');
}
