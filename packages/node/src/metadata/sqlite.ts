/**
 * The metadata store on better-sqlite3: WAL, one writer, prepared statements, one transaction a batch.
 *
 * `synchronous = NORMAL`: a commit survives the death of the process at once and the loss of power after the
 * next checkpoint; the order of commits is kept in either case (sqlite.org/wal.html).
 */
import { chmodSync, closeSync, constants, existsSync, openSync, statSync } from 'node:fs';
import { type ErrorCode, FsError } from '@cluster-fs/transport';
import Database from 'better-sqlite3';
import { pageSize } from 'cluster-fs/segment';
import { dataSync, dataSyncNow } from '../store/file-calls.ts';
import { extentPages, type StoredExtent } from '../store/stored.ts';
import { Ballast } from './ballast.ts';
import { decodeInode, encodeInode } from './inode-record.ts';
import {
  homeColumn,
  inodeOf,
  type OldInode,
  oldSessions,
  packedInodes,
  withoutSessions,
} from './old-schema.ts';
import { assertOver, type OldSession } from './old-sessions.ts';
import type { Change, DirentRow, DurableRow, HeldRow, MetadataStore } from './store.ts';
import { StoredCache } from './stored-cache.ts';
import { direntsOf, inodesOf, placesOf } from './tables.ts';

/** The log goes back into the database when it has this many pages. */
const checkpointPages = 4000;
/** Whole pages: a page of SQLite and its frame header, and a transaction that goes beyond the checkpoint. */
const longestLogBytes = Math.ceil((checkpointPages * (1024 + 24) + 2 ** 20) / pageSize) * pageSize;
/** What the tables may grow by, from one checkpoint to the next, while data has the rest. */
const tableGrowthBytes = 2 * 2 ** 20;

/**
 * History: 1, the first; 2, the store's tables; 3, files have a home; 4, the log of a store, without which
 * they may be old; 5, an inode is one record; 6, without sessions.
 */
export const schemaVersion = 6;

const schema = `
  CREATE TABLE superblock (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE inode (ino INTEGER PRIMARY KEY, record BLOB NOT NULL);
  CREATE TABLE dirent (
    parent INTEGER NOT NULL, name TEXT NOT NULL, ino INTEGER NOT NULL, PRIMARY KEY (parent, name)
  ) WITHOUT ROWID;
  CREATE TABLE held (
    id INTEGER NOT NULL, page INTEGER NOT NULL, count INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (id, page)
  ) WITHOUT ROWID;
`;

const storeSchema = `
  CREATE TABLE stored (
    ino INTEGER NOT NULL, file_page INTEGER NOT NULL, count INTEGER NOT NULL, place INTEGER NOT NULL,
    sums BLOB NOT NULL, PRIMARY KEY (ino, file_page)
  ) WITHOUT ROWID;
  CREATE TABLE durable (
    ino INTEGER PRIMARY KEY, generation INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ms REAL NOT NULL
  );
  CREATE TABLE dirty (ino INTEGER PRIMARY KEY);
  CREATE TABLE redo (place INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
`;

export interface SqliteOptions {
  /** Whether the database is on the tmpfs that has the data too, and competes with it for memory. */
  readonly besideData: boolean;
}

/** Opens or makes the database at `path`; EBUSY when another process writes to it, EIO when it is damaged. */
export function openSqliteStore(path: string, { besideData }: SqliteOptions): MetadataStore {
  let db: Database.Database;
  makePrivate(path);
  try {
    db = new Database(path, { timeout: 1000 });
    // Small pages: a commit writes every page that it touches into the log.
    db.pragma('page_size = 1024');
    // This process has the database for itself (see the node's lock), so it need not lock it for each commit.
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    db.pragma(`wal_autocheckpoint = ${checkpointPages}`);
    // What the disk has refused of its log the kernel still shows: now it is in the database, or this fails.
    if (!besideData) db.pragma('wal_checkpoint(TRUNCATE)');
  } catch (error) {
    throw sqliteError(error, path);
  }
  const version = db.pragma('user_version', { simple: true }) as number;
  if (version < 0 || version > schemaVersion) {
    db.close();
    throw new FsError('EPROTONOSUPPORT', 'open', {
      path,
      why: `metadata version ${version}, this build knows ${schemaVersion}`,
    });
  }
  try {
    bringForward(db, version);
  } catch (error) {
    db.close();
    throw sqliteError(error, path);
  }
  return storeOn(db, path, besideData ? new Ballast(`${path}.ballast`) : undefined);
}

/** To the newest version, in one transaction. */
function bringForward(db: Database.Database, version: number): void {
  if (version === schemaVersion) return;
  if (version > 0) for (const old of db.prepare<[], OldSession>(oldSessions).iterate()) assertOver(old);
  const tables =
    version === 0
      ? schema + storeSchema
      : (version === 1 ? storeSchema : '') +
        (version < 3 ? homeColumn : '') +
        (version < 5 ? packedInodes : '') +
        withoutSessions;
  db.function('inode_record', { varargs: true }, (...columns) => encodeInode(inodeOf(columns as OldInode)));
  db.transaction(() => db.exec(`${tables} PRAGMA user_version = ${schemaVersion}`))();
}

/** SQLite's log has bytes of files, those of the redo log, and gets the permissions of the database. */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600));
    for (const file of [path, `${path}-wal`]) if (existsSync(file)) chmodSync(file, 0o600);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    throw new FsError(code as ErrorCode, 'open', { path, cause: error });
  }
}

function storeOn(db: Database.Database, path: string, ballast: Ballast | undefined): MetadataStore {
  const get = db.prepare<[string], { value: string }>('SELECT value FROM superblock WHERE key = ?');
  const set = db.prepare('INSERT OR REPLACE INTO superblock (key, value) VALUES (?, ?)');
  const apply = changeWriter(db);
  const readers = readersOf(db);
  const cache = new StoredCache(readers.storedIn);
  // SQLite has made the log with the first transaction, and keeps it.
  let logFd: number | undefined;
  const log = (): number => {
    logFd ??= openSync(`${path}-wal`, 'r+');
    return logFd;
  };
  const inTransaction = transactionsOn(db, path, ballast);
  return {
    superblock: (key) => get.get(key)?.value,
    setSuperblock(values) {
      inTransaction(
        () => {
          for (const [key, value] of Object.entries(values)) set.run(key, value);
        },
        { mayUseBallast: true },
      );
    },
    commit(changes, superblock = {}) {
      for (const change of changes) cache.changed(change);
      inTransaction(
        () => {
          for (const change of changes) apply(change);
          for (const [key, value] of Object.entries(superblock)) set.run(key, value);
        },
        { mayUseBallast: changes.some(removes) || !changes.some(takesRoom) },
      );
    },
    growthBytes() {
      if (ballast === undefined) return 0;
      if (!ballast.restore()) return Number.POSITIVE_INFINITY;
      // As tmpfs counts: what the log takes and what it may grow by are one sum, whatever is written.
      const log = (statSync(`${path}-wal`, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
      return Math.max(0, longestLogBytes - log) + tableGrowthBytes;
    },
    ...readers,
    storedIn: (ino, from, end) => cache.within(ino, from, end),
    async flush() {
      await dataSync(log(), `${path}-wal`);
    },
    flushNow: () => dataSyncNow(log(), `${path}-wal`),
    close: () => {
      if (logFd !== undefined) closeSync(logFd);
      db.close();
      ballast?.close();
    },
  };
}

type Readers = Pick<
  MetadataStore,
  | 'lastIno'
  | 'inodes'
  | 'inode'
  | 'names'
  | 'dirents'
  | 'nameOf'
  | 'held'
  | 'stored'
  | 'storedIn'
  | 'storedPlaces'
  | 'durable'
  | 'redo'
  | 'dirty'
>;

function readersOf(db: Database.Database): Readers {
  const inode = db.prepare<[number], Buffer>('SELECT record FROM inode WHERE ino = ?').pluck();
  const lastIno = db.prepare<[], number | null>('SELECT max(ino) FROM inode').pluck();
  const stored = db.prepare<[number], RawStored>(
    'SELECT file_page AS filePage, count, place, sums FROM stored WHERE ino = ? ORDER BY file_page',
  );
  // An extent has at most `extentPages`: the index finds the first that can reach into the range.
  const storedIn = db.prepare<[number, number, number, number], RawStored>(
    `SELECT file_page AS filePage, count, place, sums FROM stored
     WHERE ino = ? AND file_page > ? AND file_page < ? AND file_page + count > ? ORDER BY file_page`,
  );
  const nameOf = db.prepare<[number], DirentRow>('SELECT parent, name, ino FROM dirent WHERE ino = ?');
  const durable = db.prepare<[number], DurableRow>(
    'SELECT ino, generation, size, mtime_ms AS mtimeMs FROM durable WHERE ino = ?',
  );
  return {
    lastIno: () => lastIno.get() ?? 0,
    inodes: () => inodesOf(db),
    inode(ino) {
      const record = inode.get(ino);
      return record === undefined ? undefined : decodeInode(record);
    },
    names: () => direntsOf(db),
    *dirents() {
      for (const { name, ...row } of direntsOf(db)) yield { ...row, name: Buffer.from(name).toString() };
    },
    nameOf: (ino) => nameOf.get(ino),
    held: () => db.prepare<[], HeldRow>('SELECT id, page, count, reason FROM held ORDER BY id').all(),
    stored: (ino) => stored.all(ino).map(storedOf),
    storedIn: (ino, from, end) => storedIn.all(ino, from - extentPages, end, from).map(storedOf),
    storedPlaces: () => placesOf(db),
    durable: (ino) => durable.get(ino),
    redo: () => db.prepare<[], { place: number; bytes: Buffer }>('SELECT place, bytes FROM redo').iterate(),
    dirty: () => db.prepare<[], number>('SELECT ino FROM dirty').pluck().all(),
  };
}

type InTransaction = (write: () => void, options: { mayUseBallast: boolean }) => void;

/** Runs writes in one transaction each. The ballast is not for what takes room. */
function transactionsOn(db: Database.Database, path: string, ballast: Ballast | undefined): InTransaction {
  const begin = db.prepare('BEGIN IMMEDIATE');
  const commit = db.prepare('COMMIT');
  const rollback = db.prepare('ROLLBACK');
  const attempt = (write: () => void): void => {
    try {
      begin.run();
      write();
      commit.run();
    } catch (error) {
      if (db.inTransaction) rollback.run();
      throw sqliteError(error, path);
    }
  };
  return (write, { mayUseBallast }) => {
    try {
      attempt(write);
    } catch (error) {
      const full = error instanceof FsError && error.code === 'ENOSPC';
      if (!full || !mayUseBallast || ballast?.drop() !== true) throw error;
      attempt(write);
    }
    ballast?.restore();
  };
}

const removes = ({ type }: Change): boolean => type === 'deleteDirent' || type === 'deleteInode';
const takesRoom = (change: Change): boolean =>
  change.type === 'putDirent' || (change.type === 'hold' && change.row.reason === 'reserved');

function changeWriter(db: Database.Database): (change: Change) => void {
  const putInode = db.prepare('INSERT OR REPLACE INTO inode VALUES (?, ?)');
  const deleteInode = db.prepare('DELETE FROM inode WHERE ino = ?');
  const putDirent = db.prepare('INSERT OR REPLACE INTO dirent VALUES (?, ?, ?)');
  const deleteDirent = db.prepare('DELETE FROM dirent WHERE parent = ? AND name = ?');
  const hold = db.prepare('INSERT INTO held VALUES (?, ?, ?, ?)');
  const unhold = db.prepare('DELETE FROM held WHERE id = ?');
  const applyStored = storedWriter(db);
  return (change) => {
    switch (change.type) {
      case 'putInode':
        putInode.run(change.row.ino, encodeInode(change.row));
        return;
      case 'deleteInode':
        deleteInode.run(change.ino);
        return;
      case 'putDirent':
        putDirent.run(change.row.parent, change.row.name, change.row.ino);
        return;
      case 'deleteDirent':
        deleteDirent.run(change.parent, change.name);
        return;
      case 'hold':
        hold.run(change.row.id, change.row.page, change.row.count, change.row.reason);
        return;
      case 'unhold':
        unhold.run(change.id);
        return;
      default:
        applyStored(change);
    }
  };
}

/** Changes of what is stored. */
function storedWriter(db: Database.Database): (change: StoredChange) => void {
  const putStored = db.prepare('INSERT OR REPLACE INTO stored VALUES (?, ?, ?, ?, ?)');
  const deleteStored = db.prepare('DELETE FROM stored WHERE ino = ? AND file_page = ?');
  const putDurable = db.prepare('INSERT OR REPLACE INTO durable VALUES (?, ?, ?, ?)');
  const markDirty = db.prepare('INSERT OR IGNORE INTO dirty VALUES (?)');
  const markClean = db.prepare('DELETE FROM dirty WHERE ino = ?');
  const putRedo = db.prepare('INSERT OR REPLACE INTO redo VALUES (?, ?)');
  const clearRedo = db.prepare('DELETE FROM redo');
  const forgetStored = ['stored', 'durable', 'dirty'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE ino = ?`),
  );
  return (change) => {
    switch (change.type) {
      case 'putStored': {
        const { filePage, count, place, sums } = change.extent;
        putStored.run(change.ino, filePage, count, place, new Uint8Array(sums.buffer));
        return;
      }
      case 'deleteStored':
        deleteStored.run(change.ino, change.filePage);
        return;
      case 'putDurable': {
        const { ino, generation, size, mtimeMs } = change.row;
        putDurable.run(ino, generation, size, mtimeMs);
        return;
      }
      case 'markDirty':
        markDirty.run(change.ino);
        return;
      case 'markClean':
        markClean.run(change.ino);
        return;
      case 'putRedo':
        putRedo.run(change.place, change.bytes);
        return;
      case 'clearRedo':
        clearRedo.run();
        return;
      case 'forgetStored':
        for (const statement of forgetStored) statement.run(change.ino);
        return;
    }
  };
}

type StoredChange = Extract<
  Change,
  {
    type:
      | 'putStored'
      | 'deleteStored'
      | 'putDurable'
      | 'markDirty'
      | 'markClean'
      | 'putRedo'
      | 'clearRedo'
      | 'forgetStored';
  }
>;

interface RawStored extends Omit<StoredExtent, 'sums'> {
  /** 8 bytes little-endian for each page. */
  readonly sums: Uint8Array;
}

/** The sums are copied: a column may lie at any address. */
const storedOf = ({ sums, ...e }: RawStored): StoredExtent => ({
  ...e,
  sums: new BigUint64Array(sums.slice().buffer),
});

/** SQLite's result codes in the vocabulary of the rest. */
function sqliteError(error: unknown, path: string): Error {
  if (!(error instanceof Database.SqliteError)) return error as Error;
  const why = `SQLite: ${error.message}`;
  if (error.code.startsWith('SQLITE_FULL'))
    return new FsError('ENOSPC', 'write', { path, why, cause: error });
  if (error.code.startsWith('SQLITE_BUSY')) return new FsError('EBUSY', 'open', { path, why, cause: error });
  if (error.code.startsWith('SQLITE_READONLY'))
    return new FsError('EROFS', 'write', { path, why, cause: error });
  if (error.code.startsWith('SQLITE_CANTOPEN'))
    return new FsError('EACCES', 'open', { path, why, cause: error });
  return new FsError('EIO', 'write', { path, why, cause: error });
}
