/** What a check reads of metadata.db, and what it says. Rows may hold anything. */
import type { Extent } from '@cluster-fs/transport';
import type Database from 'better-sqlite3';
import { fileType } from 'cluster-fs/segment';
import { printable } from '../commands/output.ts';
import { decodeInode, encodeInode } from '../metadata/inode-record.ts';
import type { InodeRow } from '../metadata/store.ts';

/** One thing that is not as it must be. */
export interface Finding {
  /** What and where. */
  readonly line: string;
  /** How it is mended without guessing; undefined when it cannot be. */
  readonly mend?: Mend | undefined;
}

export interface Mend {
  /** What is done, and what is lost. */
  readonly line: string;
  run(): void;
}

export interface InodeFacts {
  readonly ino: number;
  readonly generation: number;
  readonly mode: number;
  readonly nlink: number;
  readonly parent: number;
  readonly size: number;
  /** Undefined when the record is not whole: then the other numbers are zeros. */
  readonly extents: readonly Extent[] | undefined;
}

export interface NameRow {
  readonly parent: number;
  readonly name: string;
  readonly ino: number;
}

export interface Rows {
  readonly db: Database.Database;
  readonly inodes: ReadonlyMap<number, InodeFacts>;
  readonly names: readonly NameRow[];
  /** Names of an inode. */
  readonly namesOf: ReadonlyMap<number, readonly NameRow[]>;
  superblock(key: string): string | undefined;
  /** The path of an inode, or its number where it has none. */
  where(ino: number): string;
}

export const isType = (inode: InodeFacts | undefined, type: keyof typeof fileType): boolean =>
  inode !== undefined && (inode.mode & fileType.mask) === fileType[type];

export function readRows(db: Database.Database): Rows {
  const inodes = new Map<number, InodeFacts>();
  const records = db.prepare<[], [ino: number, record: Buffer]>('SELECT ino, record FROM inode').raw();
  for (const [ino, record] of records.iterate()) inodes.set(ino, factsOf(ino, record));
  const names = db.prepare<[], NameRow>('SELECT parent, name, ino FROM dirent').all();
  const namesOf = new Map<number, NameRow[]>();
  for (const row of names) {
    const known = namesOf.get(row.ino);
    if (known === undefined) namesOf.set(row.ino, [row]);
    else known.push(row);
  }
  const value = db.prepare<[string], { value: string }>('SELECT value FROM superblock WHERE key = ?');
  return {
    db,
    inodes,
    names,
    namesOf,
    superblock: (key) => value.get(key)?.value,
    where: (ino) => pathOf(namesOf, ino),
  };
}

function factsOf(ino: number, record: Uint8Array): InodeFacts {
  try {
    return { ...decodeInode(record), ino };
  } catch {
    return { ino, generation: 0, mode: 0, nlink: 0, parent: 0, size: 0, extents: undefined };
  }
}

/** Changes what SQLite says of an inode. Requires: its record is whole. */
export function changeInode(db: Database.Database, ino: number, change: Partial<InodeRow>): void {
  const record = db.prepare<[number], Buffer>('SELECT record FROM inode WHERE ino = ?').pluck().get(ino);
  const row = { ...decodeInode(record ?? Buffer.alloc(0)), ...change };
  db.prepare('UPDATE inode SET record = ? WHERE ino = ?').run(encodeInode(row), ino);
}

function pathOf(namesOf: ReadonlyMap<number, readonly NameRow[]>, ino: number): string {
  const parts: string[] = [];
  const seen = new Set<number>();
  for (let at = ino; at !== 1; ) {
    const row = namesOf.get(at)?.[0];
    if (row === undefined || seen.has(at)) return `inode ${ino}`;
    seen.add(at);
    parts.unshift(printable(row.name));
    at = row.parent;
  }
  return `/${parts.join('/')}`;
}
