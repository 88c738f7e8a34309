/**
 * The log of changes that SQLite may not have yet: two files, one of which is written. A record is a commit.
 *
 *   written ──long enough, and SQLite has all of it──▶ kept ──SQLite's log is on the disk──▶ free ──▶ written
 *
 * Records follow each other by their numbers. Reading ends at the first that is not whole, is not the next,
 * or is of another term: what a node of before had written behind the end of what survived.
 */
import { closeSync, constants, fsyncSync, openSync, readFileSync } from 'node:fs';
import { type ErrorCode, FsError, struct, u32, u53, u64 } from '@cluster-fs/transport';
import { dataSync, dataSyncNow, writeAllNow } from '../store/file-calls.ts';
import { sumOf } from '../store/sum.ts';

export const logRecord = struct('log record', 32, {
  magic: u32('`CFL1`; anything else is the end of the log'),
  length: u32('bytes of the changes behind this header'),
  checksum: u64('xxHash64 of everything behind this field'),
  term: u32('of the node that wrote it, as `logTerm` in metadata.db'),
  reserved: u32('zero'),
  sequence: u53('one more than that of the record before'),
});

const magic = 0x314c_4643; // 'CFL1', little-endian
/** What the checksum is of. */
const summedFrom = logRecord.offset.term;
const names = ['log-a', 'log-b'] as const;

/** The bodies of all records of a term behind number `after`, in their order. */
export function readRecords(directory: string, term: number, after: number): Uint8Array[] {
  const found = new Map<number, Uint8Array>();
  for (const name of names)
    for (const { sequence, body } of recordsIn(`${directory}/${name}`, term)) found.set(sequence, body);
  const bodies: Uint8Array[] = [];
  for (let next = after + 1; found.has(next); next++) bodies.push(found.get(next) as Uint8Array);
  return bodies;
}

function* recordsIn(path: string, term: number): Generator<{ sequence: number; body: Uint8Array }> {
  const file = readIfThere(path);
  const header = logRecord.bind(new DataView(file.buffer, file.byteOffset, file.length));
  let expected: number | undefined;
  for (let at = 0; at + logRecord.size <= file.length; ) {
    const { magic: found, length, checksum, term: of, sequence } = header.at(at);
    const end = at + logRecord.size + length;
    if (found !== magic || end > file.length || of !== term) return;
    if (sumOf(file.subarray(at + summedFrom, end)) !== checksum) return;
    if (expected !== undefined && sequence !== expected) return;
    yield { sequence, body: file.subarray(at + logRecord.size, end) };
    expected = sequence + 1;
    at = end;
  }
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return Buffer.alloc(0);
    throw new FsError(code as ErrorCode, 'open', { path, cause: error });
  }
}

const headerOf = ({ buffer, byteOffset }: Buffer) =>
  logRecord.bind(new DataView(buffer, byteOffset, logRecord.size)).at(0);

interface LogFile {
  readonly path: string;
  readonly fd: number;
}

export class ChangeLog {
  readonly #term: number;
  readonly #files: readonly [LogFile, LogFile];
  #active: 0 | 1 = 0;
  #end = 0;
  #sequence: number;
  #flushed: number;
  #hasFailed = false;
  /** Grows with the longest record, and is used again for each; the cursor is on the header at its begin. */
  #buffer = Buffer.allocUnsafeSlow(64 * 1024);
  #header = headerOf(this.#buffer);

  /** Requires: nothing in the files of `directory` is needed any more, on the disk too. */
  constructor(directory: string, { term, sequence }: { term: number; sequence: number }) {
    this.#term = term;
    this.#sequence = sequence;
    this.#flushed = sequence;
    const open = (name: string): LogFile => {
      const path = `${directory}/${name}`;
      return { path, fd: openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600) };
    };
    this.#files = [open(names[0]), open(names[1])];
    // Files that were just made are there after a loss of power.
    const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    fsyncSync(fd);
    closeSync(fd);
  }

  /** The number of the last record. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Bytes of the file that is written. */
  get length(): number {
    return this.#end;
  }

  /**
   * The disk has refused a part of the file that is written. The kernel may take that part for written from
   * then on, and the next flush would succeed without it (fsync(2), NOTES): nothing of the file may be
   * relied on.
   */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  /** Survives the death of this process when it returns; when it throws nothing was written. */
  append(body: Uint8Array): void {
    const length = logRecord.size + body.length;
    if (length > this.#buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(2 * length);
      this.#header = headerOf(this.#buffer);
    }
    const record = this.#buffer.subarray(0, length);
    const header = this.#header;
    header.magic = magic;
    header.length = body.length;
    header.term = this.#term;
    header.reserved = 0;
    header.sequence = this.#sequence + 1;
    record.set(body, logRecord.size);
    header.checksum = sumOf(record.subarray(summedFrom));
    const { fd, path } = this.#file;
    try {
      writeAllNow(fd, record, this.#end, path);
    } catch (error) {
      if (error instanceof FsError) throw error;
      const { code = 'EIO' } = error as NodeJS.ErrnoException;
      throw new FsError(code as ErrorCode, 'write', { path, cause: error });
    }
    this.#end += length;
    this.#sequence++;
  }

  /** Goes on in the other file. Requires: nothing in it is needed any more, on the disk too. */
  swap(): void {
    this.#active = this.#active === 0 ? 1 : 0;
    this.#end = 0;
    this.#flushed = this.#sequence;
    this.#hasFailed = false;
  }

  /** All records in the file that is written are on the disk when it resolves. Requires: not `hasFailed`. */
  async flush(): Promise<void> {
    const { fd, path } = this.#file;
    const active = this.#active;
    const sequence = this.#sequence;
    if (sequence === this.#flushed) return;
    try {
      await dataSync(fd, path);
    } catch (error) {
      // What has failed of a file that is written no more, SQLite has.
      if (active === this.#active) this.#hasFailed = true;
      throw error;
    }
    if (active === this.#active) this.#flushed = sequence;
  }

  /** As `flush`, at once. */
  flushNow(): void {
    if (this.#sequence === this.#flushed) return;
    const { fd, path } = this.#file;
    try {
      dataSyncNow(fd, path);
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
    this.#flushed = this.#sequence;
  }

  close(): void {
    for (const { fd } of this.#files) closeSync(fd);
  }

  get #file(): LogFile {
    return this.#files[this.#active];
  }
}
