/** What is stored: its rows against each other, against inodes, and every page against its sum. */
import { closeSync, openSync, readSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { verifyHeader } from '../store/store-file.ts';
import { extentPages } from '../store/stored.ts';
import { sumOf } from '../store/sum.ts';
import { type Finding, isType, type Rows } from './rows.ts';

const pageSize = 4096;

interface StoredRow {
  readonly ino: number;
  readonly file_page: number;
  readonly count: number;
  readonly place: number;
  readonly sums: Uint8Array;
}

interface Watch {
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

/** Pages that go from a row, by their index in it, and why. */
type Drops = Map<StoredRow, Map<number, string>>;

export async function* checkContent(rows: Rows, path: string, watch: Watch): AsyncGenerator<Finding> {
  const { db, inodes, where } = rows;
  for (const table of ['durable', 'dirty'] as const) {
    for (const ino of db.prepare<[], number>(`SELECT ino FROM ${table}`).pluck().all()) {
      if (inodes.has(ino)) continue;
      const run = (): unknown => db.prepare(`DELETE FROM ${table} WHERE ino = ?`).run(ino);
      const line = `inode ${ino}: is in ${table}, and not there`;
      yield { line, mend: { line: `inode ${ino}: removed from ${table}`, run } };
    }
  }
  const whole: StoredRow[] = [];
  const all = 'SELECT ino, file_page, count, place, sums FROM stored ORDER BY ino, file_page';
  for (const row of db.prepare<[], StoredRow>(all).all()) {
    const wrong = wrongWith(rows, row);
    if (wrong === undefined) whole.push(row);
    else yield { line: `${where(row.ino)}: ${wrong}`, mend: dropRow(rows, row) };
  }
  const drops: Drops = new Map();
  if (yield* checkPages(rows, path, { whole, drops, watch })) markTwice(rows, whole, drops);
  for (const [row, pages] of drops) yield* droppedPages(rows, row, pages);
  yield* filePagesTwice(rows, whole, drops);
}

function wrongWith({ inodes }: Rows, { ino, file_page, count, place, sums }: StoredRow): string | undefined {
  const what = `what is stored at file page ${file_page}`;
  if (!isType(inodes.get(ino), 'file')) return `${what} belongs to inode ${ino}, which is no file`;
  if (file_page < 0 || count < 1 || count > extentPages) return `${what} has ${count} pages`;
  if (place < 1) return `${what} is in place ${place}`;
  if (sums.length !== 8 * count) return `${what} has ${count} pages and ${sums.length / 8} sums`;
  return undefined;
}

function dropRow({ db, where }: Rows, { ino, file_page, count }: StoredRow) {
  const line = `${where(ino)}: dropped; lost: ${bytesText(file_page, count)}`;
  const statement = db.prepare('DELETE FROM stored WHERE ino = ? AND file_page = ?');
  return { line, run: () => statement.run(ino, file_page) };
}

/** Whether the data file could be read; then every page was. */
async function* checkPages(
  rows: Rows,
  path: string,
  { whole, drops, watch }: { whole: readonly StoredRow[]; drops: Drops; watch: Watch },
): AsyncGenerator<Finding, boolean> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    yield { line: `${path}: ${(error as Error).message}` };
    return false;
  }
  try {
    verifyHeader(fd, { segmentId: Buffer.from(rows.superblock('segmentId') ?? '', 'hex'), path });
    const redo = redoOf(rows);
    const total = whole.reduce((sum, { count }) => sum + count, 0);
    let done = 0;
    for (const row of whole) {
      // Signals are heard when the event loop turns.
      await setImmediate();
      watch.signal.throwIfAborted();
      for (const index of damagedIn(fd, row, redo)) drop(drops, row, index, 'damaged');
      done += row.count;
      watch.onProgress(done, total);
    }
    return true;
  } catch (error) {
    if (watch.signal.aborted) throw error;
    yield { line: `${path}: ${(error as Error).message}` };
    return false;
  } finally {
    closeSync(fd);
  }
}

/** Pages that the next start writes to their places before anything else. */
function redoOf({ db }: Rows): Map<number, Buffer> {
  const pages = new Map<number, Buffer>();
  const all = db.prepare<[], { place: number; bytes: Buffer }>('SELECT place, bytes FROM redo').iterate();
  for (const { place, bytes } of all)
    for (let i = 0; i * pageSize < bytes.length; i++)
      pages.set(place + i, bytes.subarray(i * pageSize, (i + 1) * pageSize));
  return pages;
}

function damagedIn(fd: number, { place, count, sums }: StoredRow, redo: Map<number, Buffer>): number[] {
  const bytes = Buffer.alloc(count * pageSize);
  let done = 0;
  for (let got = 1; got > 0 && done < bytes.length; done += got)
    got = readSync(fd, bytes, done, bytes.length - done, place * pageSize + done);
  const expected = new BigUint64Array(sums.slice().buffer);
  return Array.from({ length: count }, (_, i) => i).filter((i) => {
    const again = redo.get(place + i);
    const end = (i + 1) * pageSize;
    return sumOf(again ?? bytes.subarray(end - pageSize, end)) !== expected[i] || (!again && end > done);
  });
}

function drop(drops: Drops, row: StoredRow, index: number, why: string): void {
  const pages = drops.get(row) ?? new Map<number, string>();
  pages.set(index, why);
  drops.set(row, pages);
}

/** Of two rows that name a place and both fit what is there, the one that was stored first goes. */
function markTwice({ db }: Rows, whole: readonly StoredRow[], drops: Drops): void {
  const time = db.prepare<[number], number>('SELECT mtime_ms FROM durable WHERE ino = ?').pluck();
  const ageOf = (row: StoredRow): number => time.get(row.ino) ?? 0;
  const owners = new Map<number, { row: StoredRow; index: number }>();
  for (const row of [...whole].sort((a, b) => ageOf(b) - ageOf(a))) {
    for (let index = 0; index < row.count; index++) {
      if (drops.get(row)?.has(index)) continue;
      const place = row.place + index;
      if (owners.has(place)) drop(drops, row, index, 'overwritten by something newer');
      else owners.set(place, { row, index });
    }
  }
}

/** A finding for each run of pages; the row is cut once, with the first. */
function* droppedPages(rows: Rows, row: StoredRow, pages: Map<number, string>): Generator<Finding> {
  const { db, where } = rows;
  const remove = db.prepare('DELETE FROM stored WHERE ino = ? AND file_page = ?');
  const insert = db.prepare('INSERT INTO stored VALUES (?, ?, ?, ?, ?)');
  const kept = runsOf(Array.from({ length: row.count }, (_, i) => i).filter((i) => !pages.has(i)));
  const cut = (): void => {
    remove.run(row.ino, row.file_page);
    for (const { from, count } of kept) {
      const sums = row.sums.slice(8 * from, 8 * (from + count));
      insert.run(row.ino, row.file_page + from, count, row.place + from, sums);
    }
  };
  for (const [i, { from, count }] of runsOf([...pages.keys()].sort((a, b) => a - b)).entries()) {
    const text = bytesText(row.file_page + from, count);
    yield {
      line: `${where(row.ino)}: ${text}: ${pages.get(from)} in the store, place ${row.place + from}`,
      mend: { line: `${where(row.ino)}: lost: ${text}`, run: i === 0 ? cut : () => undefined },
    };
  }
}

function runsOf(indexes: readonly number[]): { from: number; count: number }[] {
  const runs: { from: number; count: number }[] = [];
  for (const index of indexes) {
    const last = runs.at(-1);
    if (last !== undefined && last.from + last.count === index) last.count++;
    else runs.push({ from: index, count: 1 });
  }
  return runs;
}

/** Which of two is the newer cannot be told when both are whole. */
function* filePagesTwice({ where }: Rows, whole: readonly StoredRow[], drops: Drops): Generator<Finding> {
  const owners = new Set<string>();
  for (const row of whole) {
    for (let i = 0; i < row.count; i++) {
      const key = `${row.ino} ${row.file_page + i}`;
      if (owners.has(key) && !drops.get(row)?.has(i))
        yield { line: `${where(row.ino)}: file page ${row.file_page + i} is stored twice` };
      owners.add(key);
    }
  }
}

const bytesText = (filePage: number, count: number): string =>
  `bytes ${filePage * pageSize} to ${(filePage + count) * pageSize}`;
