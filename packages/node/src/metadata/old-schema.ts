/** What the tables of older versions were, and how they become those of today. */
import { decodeExtents } from './extents.ts';
import type { InodeRow } from './store.ts';

/** To version 3. */
export const homeColumn = 'ALTER TABLE inode ADD COLUMN home INTEGER NOT NULL DEFAULT 0;';

/** From version 3 or 4, whose inodes had a column for each number. Requires: the function `inode_record`. */
export const packedInodes = `
  CREATE TABLE packed (ino INTEGER PRIMARY KEY, record BLOB NOT NULL);
  INSERT INTO packed SELECT ino, inode_record(
    ino, generation, mode, uid, gid, nlink, parent, size, layout_version, atime_ms, mtime_ms, ctime_ms,
    birthtime_ms, target, extents, home
  ) FROM inode;
  DROP TABLE inode;
  ALTER TABLE packed RENAME TO inode;
`;

/** Until version 5. */
export const oldSessions = 'SELECT pid, start_time AS startTime FROM session';

/** To version 6: who was connected is in files of the run directory since. */
export const withoutSessions = 'DROP TABLE session;';

/** The columns of `inode`, in the order in which `packedInodes` names them. */
export type OldInode = [
  ino: number,
  generation: number,
  mode: number,
  uid: number,
  gid: number,
  nlink: number,
  parent: number,
  size: number,
  layoutVersion: number,
  atimeMs: number,
  mtimeMs: number,
  ctimeMs: number,
  birthtimeMs: number,
  target: string | null,
  extents: Uint8Array | null,
  home: number,
];

export const inodeOf = (old: OldInode): InodeRow => ({
  ino: old[0],
  generation: old[1],
  mode: old[2],
  uid: old[3],
  gid: old[4],
  nlink: old[5],
  parent: old[6],
  size: old[7],
  layoutVersion: old[8],
  atimeMs: old[9],
  mtimeMs: old[10],
  ctimeMs: old[11],
  birthtimeMs: old[12],
  target: old[13] ?? undefined,
  extents: decodeExtents(old[14]),
  home: old[15],
});
