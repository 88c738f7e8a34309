/**
 * Reading whole tables of SQLite, as a start does: some thousand rows at a time, and these as one value. To
 * take a value out of SQLite takes ten times as long as to write it behind others in there: all inodes of the
 * rows come as one blob, and all names as another.
 */
import { assert, type Run } from '@cluster-fs/transport';
import type Database from 'better-sqlite3';
import { inodesIn } from './inode-record.ts';
import type { DirentBytes, InodeRow } from './store.ts';

/** Rows at a time: what they take is some MiB. */
const chunkRows = 8192;

/** All inodes, in the order of their numbers. */
export function* inodesOf(db: Database.Database): Generator<InodeRow> {
  const next = db.prepare<[number], number | null>('SELECT min(ino) FROM inode WHERE ino > ?').pluck();
  // In the order of the numbers: the table is a tree of them.
  const records = db
    .prepare<[number, number], Buffer>(
      "SELECT cast(group_concat(record, '') AS BLOB) FROM inode WHERE ino BETWEEN ? AND ?",
    )
    .pluck();
  let before = Number.NEGATIVE_INFINITY;
  for (let after = Number.MIN_SAFE_INTEGER; ; after += chunkRows) {
    const first = next.get(after) ?? null;
    if (first === null) return;
    after = first - 1;
    for (const row of inodesIn(records.get(first, after + chunkRows) ?? Buffer.alloc(0))) {
      assert(row.ino > before, 'SQLite reads a table in the order of its key');
      before = row.ino;
      yield row;
    }
  }
}

/** All names, directory by directory. What is given is used before the next is asked for. */
export function* direntsOf(db: Database.Database): Generator<DirentBytes> {
  const chunk = 'SELECT * FROM dirent WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?';
  // The length of a name says where it ends, whatever is in it.
  const row = "concat_ws(' ', parent, ino, octet_length(name), name)";
  const rows = db
    .prepare<[number, string, number], Buffer | null>(
      `SELECT cast(group_concat(${row}, '') AS BLOB) FROM (${chunk})`,
    )
    .pluck();
  for (let after: [number, string] = [Number.MIN_SAFE_INTEGER, '']; ; ) {
    const text = rows.get(...after, chunkRows) ?? null;
    if (text === null) return;
    let last: DirentBytes | undefined;
    for (const entry of namesIn(text)) {
      last = entry;
      yield entry;
    }
    assert(last !== undefined, 'a row of names that is there');
    after = [last.parent, Buffer.from(last.name).toString()];
  }
}

const [space, zero, nine] = [32, 48, 57];

/** Rows of three numbers and a name, as `direntsOf` asks for them. */
function* namesIn(text: Buffer): Generator<DirentBytes> {
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let byte = text[at++]; byte !== space; byte = text[at++]) {
      assert(byte !== undefined && byte >= zero && byte <= nine, 'numbers of a name are not negative');
      value = value * 10 + byte - zero;
    }
    return value;
  };
  while (at < text.length) {
    const parent = number();
    const ino = number();
    const length = number();
    yield { parent, ino, name: text.subarray(at, at + length) };
    at += length;
  }
}

/** The places of all that is stored, in order. */
export function* placesOf(db: Database.Database): Generator<Run> {
  // One number for both: an extent has fewer pages than the factor.
  const factor = 1024;
  const count = db.prepare<[], number>('SELECT count(*) FROM stored').pluck().get() ?? 0;
  const text = db
    .prepare<[], Buffer | null>(
      `SELECT cast(group_concat(place * ${factor} + count, ' ') AS BLOB) FROM stored`,
    )
    .pluck()
    .get();
  const packed = new Float64Array(count);
  numbersIn(text, packed);
  packed.sort();
  for (const each of packed) yield { page: Math.floor(each / factor), count: each % factor };
}

/** Numbers with spaces between them. */
function numbersIn(text: Uint8Array | null | undefined, into: Float64Array): void {
  if (text === null || text === undefined) return;
  let count = 0;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i] as number;
    if (byte !== space) value = value * 10 + byte - zero;
    else {
      into[count++] = value;
      value = 0;
    }
  }
  into[count] = value;
}
