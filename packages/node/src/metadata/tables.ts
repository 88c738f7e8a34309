/**
 * Reading whole tables of SQLite, as a start does: column by column, some thousand rows at a time. A row as
 * an array takes ten times as long as one value of it: what is made is a list of numbers for each column, and
 * of all extents one text.
 */
import type { Run } from '@cluster-fs/transport';
import type Database from 'better-sqlite3';
import { extentsIn, wordsOf } from './extents.ts';
import type { DirentRow, InodeRow } from './store.ts';

/** Rows at a time: what they take is some MiB. */
const chunkRows = 8192;

/** The numbers of an inode, in the columns of its table. */
const inodeColumns = {
  generation: 'generation',
  mode: 'mode',
  uid: 'uid',
  gid: 'gid',
  nlink: 'nlink',
  parent: 'parent',
  size: 'size',
  layoutVersion: 'layout_version',
  atimeMs: 'atime_ms',
  mtimeMs: 'mtime_ms',
  ctimeMs: 'ctime_ms',
  birthtimeMs: 'birthtime_ms',
  home: 'home',
  extentBytes: 'coalesce(length(extents), 0)',
} as const;
type InodeColumn = keyof typeof inodeColumns;

/** All inodes, in the order of their numbers. */
export function* inodesOf(db: Database.Database): Generator<InodeRow> {
  const next = db
    .prepare<[number, number], number>('SELECT ino FROM inode WHERE ino > ? ORDER BY ino LIMIT ?')
    .pluck();
  const within = 'FROM inode WHERE ino BETWEEN ? AND ?';
  const column = (sql: string) =>
    db.prepare<[number, number], number>(`SELECT ${sql} ${within} ORDER BY ino`).pluck();
  const columns = Object.entries(inodeColumns).map(
    ([name, sql]) => [name as InodeColumn, column(sql)] as const,
  );
  const targets = db
    .prepare<[number, number], [number, string]>(`SELECT ino, target ${within} AND target IS NOT NULL`)
    .raw();
  // A blob for each inode would be a Buffer for each.
  const extents = db
    .prepare<[number, number], string | null>(
      `SELECT group_concat(hex(extents), '') FROM (SELECT extents ${within} ORDER BY ino)`,
    )
    .pluck();
  for (let from = Number.MIN_SAFE_INTEGER; ; ) {
    const inos = next.all(from, chunkRows);
    const [first, last] = [inos[0], inos.at(-1)];
    if (first === undefined || last === undefined) return;
    const values = Object.fromEntries(
      columns.map(([name, statement]) => [name, statement.all(first, last)]),
    ) as Record<InodeColumn, number[]>;
    const words = wordsOf(Buffer.from(extents.get(first, last) ?? '', 'hex'));
    yield* rowsOf(inos, values, new Map(targets.all(first, last)), words);
    from = last;
  }
}

function* rowsOf(
  inos: readonly number[],
  { extentBytes, ...values }: Readonly<Record<InodeColumn, readonly number[]>>,
  targets: ReadonlyMap<number, string>,
  words: Uint32Array,
): Generator<InodeRow> {
  let at = 0;
  for (const [i, ino] of inos.entries()) {
    const end = at + (extentBytes[i] as number);
    const extents = extentsIn(words, at, end);
    at = end;
    yield {
      ino,
      generation: values.generation[i] as number,
      mode: values.mode[i] as number,
      uid: values.uid[i] as number,
      gid: values.gid[i] as number,
      nlink: values.nlink[i] as number,
      parent: values.parent[i] as number,
      size: values.size[i] as number,
      layoutVersion: values.layoutVersion[i] as number,
      atimeMs: values.atimeMs[i] as number,
      mtimeMs: values.mtimeMs[i] as number,
      ctimeMs: values.ctimeMs[i] as number,
      birthtimeMs: values.birthtimeMs[i] as number,
      target: targets.get(ino),
      extents,
      home: values.home[i] as number,
    };
  }
}

/** All names, directory by directory. */
export function* direntsOf(db: Database.Database): Generator<DirentRow> {
  const chunk = 'FROM dirent WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?';
  const column = <T>(name: string) =>
    db.prepare<[number, string, number], T>(`SELECT ${name} ${chunk}`).pluck();
  const [parents, names, inos] = [column<number>('parent'), column<string>('name'), column<number>('ino')];
  for (let after: [number, string] = [Number.MIN_SAFE_INTEGER, '']; ; ) {
    const name = names.all(...after, chunkRows);
    const parent = parents.all(...after, chunkRows);
    const ino = inos.all(...after, chunkRows);
    for (let i = 0; i < name.length; i++)
      yield { parent: parent[i] as number, name: name[i] as string, ino: ino[i] as number };
    if (name.length < chunkRows) return;
    after = [parent.at(-1) as number, name.at(-1) as string];
  }
}

/** The places of all that is stored, in no order. */
export function* placesOf(db: Database.Database): Generator<Run> {
  // One number for both: an extent has fewer pages than the factor.
  const factor = 1024;
  const sql = `SELECT place * ${factor} + count FROM stored`;
  for (const packed of db.prepare<[], number>(sql).pluck().all())
    yield { page: Math.floor(packed / factor), count: packed % factor };
}
