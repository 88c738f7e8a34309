/** Reading a dump: its entries in order, checked as far as that goes without the file system. */
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FsError } from '@cluster-fs/transport';
import { extract, type Headers, type Entry as TarEntry } from 'tar-stream';
import {
  assertDump,
  damaged,
  decodeSparseMap,
  decodeTime,
  endBytes,
  endsEarly,
  notADump,
  type Piece,
  tarBlock,
} from './format.ts';

/** What tar-stream gives and its types do not tell. */
type FullHeaders = Headers & { readonly pax: Readonly<Record<string, string | undefined>> | null };
type FullEntry = TarEntry & { readonly header: FullHeaders; readonly offset: number };

export interface DumpEntry {
  readonly type: 'file' | 'directory' | 'symlink' | 'link';
  /** Names from the root on; empty for the root. */
  readonly names: readonly string[];
  /** The target of a symlink. */
  readonly target: string;
  /** Of a link: the names of what it is another name of. */
  readonly linked: readonly string[];
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly atimeMs: number;
  readonly mtimeMs: number;
  /** Bytes of the file, with its holes. */
  readonly size: number;
  /** Where the data of a file with holes goes. Read before `chunks`. */
  readonly pieces: readonly Piece[] | undefined;
  readonly chunks: AsyncIterable<Buffer>;
}

/**
 * The entries of a dump; each must be used before the next is asked for.
 *
 * @throws FsError EINVAL (no dump), EPROTONOSUPPORT (another version), EIO (damaged, or not whole)
 */
export async function* entriesOf(
  source: AsyncIterable<Buffer>,
  { signal, onBytes }: { readonly signal: AbortSignal; readonly onBytes: (count: number) => void },
): AsyncGenerator<DumpEntry> {
  const archive = extract();
  let total = 0;
  let end = 0;
  let isFirst = true;
  const counting = new Transform({
    transform: (chunk: Buffer, _, done) => {
      total += chunk.length;
      onBytes(chunk.length);
      done(null, chunk);
    },
  });
  // Its failure is that of the loop, or comes after it.
  const fed = pipeline(source, counting, archive, { signal }).then(
    () => undefined,
    (error: unknown) => error,
  );
  try {
    for await (const entry of archive as AsyncIterable<FullEntry>) {
      if (isFirst) assertDump(entry.header.name, entry.header.pax?.comment);
      isFirst = false;
      end = entry.offset + tarBlock + Math.ceil((entry.header.size ?? 0) / tarBlock) * tarBlock;
      yield await checked(entry);
      // What was not used of it.
      entry.resume();
    }
  } catch (error) {
    throw asDumpError(error, isFirst);
  } finally {
    archive.destroy();
  }
  const failure = await fed;
  if (isFirst) throw notADump();
  if (failure !== undefined) throw asDumpError(failure, isFirst);
  if (total < end + endBytes) throw endsEarly();
}

/** The library's errors have no codes. */
function asDumpError(error: unknown, isFirst: boolean): unknown {
  if (!(error instanceof Error) || 'code' in error) return error;
  if (/^Unexpected end of data/.test(error.message)) return isFirst ? notADump() : endsEarly();
  if (/^Invalid tar header/.test(error.message)) return isFirst ? notADump() : damaged('a header');
  return error;
}

async function checked(entry: FullEntry): Promise<DumpEntry> {
  const { header } = entry;
  const pax = header.pax ?? {};
  const isSparse = pax['GNU.sparse.major'] === '1';
  const size = isSparse ? Number(pax['GNU.sparse.realsize']) : (header.size ?? 0);
  if (!Number.isSafeInteger(size) || size < 0) throw damaged('a size');
  const bytes = new Bytes(entry);
  const mtimeMs = decodeTime(pax.mtime) ?? header.mtime?.getTime() ?? 0;
  return {
    type: typeOf(header),
    names: namesOf(isSparse ? (pax['GNU.sparse.name'] ?? '') : header.name),
    target: header.linkname ?? '',
    linked: header.type === 'link' ? namesOf(header.linkname ?? '') : [],
    mode: (header.mode ?? 0) & 0o7777,
    uid: Number(pax.uid ?? header.uid ?? 0),
    gid: Number(pax.gid ?? header.gid ?? 0),
    atimeMs: decodeTime(pax.atime) ?? mtimeMs,
    mtimeMs,
    size,
    pieces: isSparse ? await bytes.map(size, header.size ?? 0) : undefined,
    chunks: bytes.rest(),
  };
}

function typeOf({ type, name }: Headers): DumpEntry['type'] {
  if (type === 'file' || type === 'directory' || type === 'symlink' || type === 'link') return type;
  throw new FsError('ENOTSUP', 'load', { path: name, why: `entries of type ${type} are in no dump` });
}

/** A dump leads nowhere but below where it is loaded. */
function namesOf(path: string): string[] {
  const names = path.replace(/^\.\//, '').replace(/\/$/, '').split('/');
  if (path === './') return [];
  const isWrong = (name: string): boolean =>
    name === '' || name === '.' || name === '..' || name.includes('\0');
  if (!path.startsWith('./') || names.some(isWrong)) throw damaged(`the name ${JSON.stringify(path)}`);
  return names;
}

/** The content of an entry: a map first, when it is sparse, then the data. */
class Bytes {
  readonly #source: AsyncIterator<Buffer>;
  #buffered: Buffer = Buffer.alloc(0);
  #taken = 0;

  constructor(entry: AsyncIterable<Buffer>) {
    this.#source = entry[Symbol.asyncIterator]();
  }

  async map(size: number, stored: number): Promise<Piece[]> {
    const pieces = await decodeSparseMap(() => this.#line(), size);
    const skip = (tarBlock - (this.#taken % tarBlock)) % tarBlock;
    while (this.#buffered.length < skip) await this.#more();
    this.#take(skip);
    const data = pieces.reduce((sum, { length }) => sum + length, 0);
    if (this.#taken + data !== stored) throw damaged('the size of a sparse file');
    return pieces;
  }

  async *rest(): AsyncGenerator<Buffer> {
    if (this.#buffered.length > 0) yield this.#buffered;
    for (let next = await this.#next(); next.done !== true; next = await this.#next()) yield next.value;
  }

  /** Who reads hears of the end of the dump before the loop over the entries does. */
  async #next(): Promise<IteratorResult<Buffer>> {
    try {
      return await this.#source.next();
    } catch (error) {
      throw asDumpError(error, false);
    }
  }

  async #line(): Promise<string> {
    let end = this.#buffered.indexOf('\n');
    while (end < 0) {
      if (this.#buffered.length > 64) throw damaged('the map of a sparse file');
      await this.#more();
      end = this.#buffered.indexOf('\n');
    }
    return this.#take(end + 1).toString('latin1', 0, end);
  }

  async #more(): Promise<void> {
    const next = await this.#next();
    if (next.done === true) throw damaged('the map of a sparse file');
    this.#buffered = Buffer.concat([this.#buffered, next.value]);
  }

  #take(count: number): Buffer {
    const taken = this.#buffered.subarray(0, count);
    this.#buffered = this.#buffered.subarray(count);
    this.#taken += count;
    return taken;
  }
}
