/**
 * Reading whole tables of SQLite, as a start does: some thousand rows at a time, and these as one value. To
 * take a value out of SQLite takes ten times as long as to write it behind others in there: all numbers of
 * the rows come as one text, all names as another, and all extents as one blob.
 */
import { assert, type Run } from '@cluster-fs/transport';
import type Database from 'better-sqlite3';
import { extentsIn, wordsOf } from './extents.ts';
import type { DirentRow, InodeRow } from './store.ts';

/** Rows at a time: what they take is some MiB. */
const chunkRows = 8192;

/** The integers of an inode, in the columns of its table; the times follow them. */
const integers = [
  'ino',
  'generation',
  'mode',
  'uid',
  'gid',
  'nlink',
  'parent',
  'size',
  'layout_version',
  'home',
  'coalesce(length(extents), 0)',
];
/** A double that is a time of our days, in milliseconds, is a whole number of such parts. */
const partsPerMs = 4096;
/** From here on these are not below 2^53. */
const endOfTimeMs = 2 ** 41;
const orNone = (value: string, isExact: string): string => `iif(${isExact}, ${value}, 'x')`;
/** A time as an integer, or no number where that would not be it exactly. */
function partsOf(time: string): string {
  const value = `cast(${time} * ${partsPerMs}.0 AS INTEGER)`;
  return orNone(value, `abs(${time}) < ${endOfTimeMs}.0 AND ${value} = ${time} * ${partsPerMs}.0`);
}
/** The same of how much later it is than another: most are as late as that, or a little later. */
function partsAfter(time: string, other: string): string {
  const value = `cast((${time} - ${other}) * ${partsPerMs}.0 AS INTEGER)`;
  const isNear = `abs(${time} - ${other}) < ${endOfTimeMs}.0`;
  const isExact = `${isNear} AND ${other} + ${value} / ${partsPerMs}.0 = ${time}`;
  return `iif(${time} = ${other}, 0, ${orNone(value, isExact)})`;
}
const columns = [
  ...integers,
  partsOf('mtime_ms'),
  partsAfter('ctime_ms', 'mtime_ms'),
  partsAfter('birthtime_ms', 'mtime_ms'),
  partsAfter('atime_ms', 'birthtime_ms'),
];
const width = columns.length;

/** Rows as one text of numbers; null when there are none. */
const numbersOf = (values: readonly string[], rows: string): string =>
  `SELECT cast(group_concat(concat_ws(' ', ${values.join(', ')}), ' ') AS BLOB) FROM ${rows}`;

/**
 * All inodes, in the order of their numbers. `inodeOf` reads one, for those whose numbers are not integers.
 */
export function* inodesOf(
  db: Database.Database,
  inodeOf: (ino: number) => InodeRow | undefined,
): Generator<InodeRow> {
  const next = db.prepare<[number], number | null>('SELECT min(ino) FROM inode WHERE ino > ?').pluck();
  // In the order of the numbers: the table is a tree of them.
  const within = 'inode WHERE ino BETWEEN ? AND ?';
  const prepare = <T>(sql: string) => db.prepare<[number, number], T>(sql);
  const texts = prepare<Buffer>(numbersOf(columns, within)).pluck();
  const blobs = prepare<Buffer | null>(
    `SELECT cast(group_concat(extents, '') AS BLOB) FROM ${within}`,
  ).pluck();
  const links = prepare<[number, string]>(`SELECT ino, target FROM ${within} AND target IS NOT NULL`).raw();
  const numbers = new Float64Array(chunkRows * width);
  for (let after = Number.MIN_SAFE_INTEGER; ; after += chunkRows) {
    const first = next.get(after) ?? null;
    if (first === null) return;
    after = first - 1;
    const range = [first, after + chunkRows] as const;
    const count = numbersIn(texts.get(...range), numbers);
    const words = wordsOf(blobs.get(...range) ?? Buffer.alloc(0));
    const rows = rowsOf(numbers.subarray(0, count), new Map(links.all(...range)), words);
    for (const row of rows) yield typeof row === 'number' ? existing(inodeOf(row)) : row;
  }
}

const existing = (row: InodeRow | undefined): InodeRow => {
  assert(row !== undefined, 'an inode that was just read');
  return row;
};

/** A row that is not all integers is no more than its number. */
function* rowsOf(
  numbers: Float64Array,
  targets: ReadonlyMap<number, string>,
  words: Uint32Array,
): Generator<InodeRow | number> {
  let end = 0;
  let before = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < numbers.length; at += width) {
    const ino = numbers[at] as number;
    assert(ino > before, 'SQLite reads a table in the order of its key');
    before = ino;
    const from = end;
    end += numbers[at + 10] as number;
    const mtimeMs = (numbers[at + 11] as number) / partsPerMs;
    const birthtimeMs = mtimeMs + (numbers[at + 13] as number) / partsPerMs;
    const row = {
      ino,
      generation: numbers[at + 1] as number,
      mode: numbers[at + 2] as number,
      uid: numbers[at + 3] as number,
      gid: numbers[at + 4] as number,
      nlink: numbers[at + 5] as number,
      parent: numbers[at + 6] as number,
      size: numbers[at + 7] as number,
      layoutVersion: numbers[at + 8] as number,
      atimeMs: birthtimeMs + (numbers[at + 14] as number) / partsPerMs,
      mtimeMs,
      ctimeMs: mtimeMs + (numbers[at + 12] as number) / partsPerMs,
      birthtimeMs,
      target: targets.get(ino),
      extents: extentsIn(words, from, end),
      home: numbers[at + 9] as number,
    };
    yield isWhole(row) ? row : ino;
  }
}

const isWhole = ({ atimeMs, mtimeMs, ctimeMs, birthtimeMs }: InodeRow): boolean =>
  !Number.isNaN(atimeMs + mtimeMs + ctimeMs + birthtimeMs);

const [space, minus, zero, nine] = [32, 45, 48, 57];

/** Numbers with spaces between them; how many there are. What is no integer becomes NaN. */
function numbersIn(text: Uint8Array | null | undefined, into: Float64Array): number {
  if (text === null || text === undefined) return 0;
  let count = 0;
  let value = 0;
  let sign = 1;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i] as number;
    if (byte >= zero && byte <= nine) value = value * 10 + byte - zero;
    else if (byte === minus) sign = -1;
    else if (byte !== space) value = Number.NaN;
    else {
      into[count++] = sign * value;
      value = 0;
      sign = 1;
    }
  }
  into[count++] = sign * value;
  return count;
}

/** All names, directory by directory. */
export function* direntsOf(db: Database.Database): Generator<DirentRow> {
  const chunk = 'SELECT * FROM dirent WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?';
  const prepare = <T>(sql: string) => db.prepare<[number, string, number], T>(sql).pluck();
  const inos = prepare<Buffer | null>(numbersOf(['parent', 'ino'], `(${chunk})`));
  const together = prepare<string | null>(`SELECT group_concat(name, '/') FROM (${chunk})`);
  const apart = prepare<string>(`SELECT name FROM (${chunk})`);
  const numbers = new Float64Array(chunkRows * 2);
  for (let after: [number, string] = [Number.MIN_SAFE_INTEGER, '']; ; ) {
    const count = numbersIn(inos.get(...after, chunkRows), numbers) / 2;
    if (count === 0) return;
    let names = together.get(...after, chunkRows)?.split('/') ?? [];
    // No name of a file has a slash.
    if (names.length !== count) names = apart.all(...after, chunkRows);
    for (let i = 0; i < count; i++)
      yield { parent: numbers[2 * i] as number, name: names[i] as string, ino: numbers[2 * i + 1] as number };
    after = [numbers[2 * (count - 1)] as number, names.at(-1) as string];
  }
}

/** The places of all that is stored, in order. */
export function* placesOf(db: Database.Database): Generator<Run> {
  // One number for both: an extent has fewer pages than the factor.
  const factor = 1024;
  const count = db.prepare<[], number>('SELECT count(*) FROM stored').pluck().get() ?? 0;
  const text = db
    .prepare<[], Buffer | null>(numbersOf([`place * ${factor} + count`], 'stored'))
    .pluck()
    .get();
  const packed = new Float64Array(count);
  numbersIn(text, packed);
  packed.sort();
  for (const each of packed) yield { page: Math.floor(each / factor), count: each % factor };
}
