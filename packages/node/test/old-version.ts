/**
 * A database as an older version has left it: until 4 an inode had a column for each number, until 5 sessions
 * had rows.
 */
import Database from 'better-sqlite3';
import { encodeExtents } from '../src/metadata/extents.ts';
import { openSqliteStore } from '../src/metadata/sqlite.ts';
import type { InodeRow } from '../src/metadata/store.ts';

const columnsOf = (r: InodeRow): unknown[] => [
  ...[r.ino, r.generation, r.mode, r.uid, r.gid, r.nlink, r.parent, r.size, r.layoutVersion],
  ...[r.atimeMs, r.mtimeMs, r.ctimeMs, r.birthtimeMs, r.target ?? null, encodeExtents(r.extents), r.home],
];

/** Takes a database of today back, with all that is in its inodes. Requires: nobody has it open. */
export function makeOld(path: string, version: 2 | 3 | 4 | 5): void {
  const store = openSqliteStore(path, { besideData: true });
  const rows = [...store.inodes()];
  store.close();
  const db = new Database(path);
  db.exec(`
    CREATE TABLE session (id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, start_time INTEGER NOT NULL);
    INSERT INTO session VALUES (4294967297, ${process.pid}, 1);
    PRAGMA user_version = ${version};
  `);
  if (version < 5) withColumns(db, version, rows);
  db.close();
}

function withColumns(db: Database.Database, version: number, rows: readonly InodeRow[]): void {
  const home = version < 3 ? '' : ', home INTEGER NOT NULL DEFAULT 0';
  db.exec(`
    DROP TABLE inode;
    CREATE TABLE inode (
      ino INTEGER PRIMARY KEY, generation INTEGER NOT NULL, mode INTEGER NOT NULL, uid INTEGER NOT NULL,
      gid INTEGER NOT NULL, nlink INTEGER NOT NULL, parent INTEGER NOT NULL, size INTEGER NOT NULL,
      layout_version INTEGER NOT NULL, atime_ms REAL NOT NULL, mtime_ms REAL NOT NULL, ctime_ms REAL NOT NULL,
      birthtime_ms REAL NOT NULL, target TEXT, extents BLOB${home}
    );
  `);
  for (const row of rows) {
    const values = columnsOf(row).slice(0, version < 3 ? 15 : 16);
    db.prepare(`INSERT INTO inode VALUES (${values.map(() => '?').join(', ')})`).run(...values);
  }
}
