/**
 * The store's data file: pages of files in places, see docs/store.md. It knows nothing of files and names.
 */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  bytes,
  type ErrorCode,
  FsError,
  f64,
  native,
  type Run,
  signature,
  struct,
  u16,
  u32,
} from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import { pageCountOf } from '../coordinator/runs.ts';
import * as files from './file-calls.ts';
import { PageBuffer, piecesOf } from './page-buffer.ts';
import { Places } from './places.ts';
import type { StoredExtent } from './stored.ts';

export const storeHeader = struct('store header', 64, {
  magic: u32('`CFD1`; anything else is not a store'),
  version: u32('format version; a node refuses one that it does not know'),
  layoutHash: u32('crc32 over this table'),
  pageShift: u16('log2 of the page size'),
  reserved0: u16('zero'),
  segmentId: bytes(16, 'the UUID of the segment, as in metadata.db: the two belong together'),
  createdMs: f64('milliseconds since 1970'),
  checksum: u32('crc32 of everything above'),
  reserved1: bytes(20, 'zero'),
});

const magic = 0x3144_4643; // 'CFD1', little-endian
/** History: 1, the first. */
const formatVersion = 1;
const layoutHash = crc32(signature([storeHeader]));

/** Written at once: into the page cache, which takes less time than a way to the pool. */
const shortBytes = 16 * pageSize;

/** So much longer than its places the file may be until `trim`: who syncs again and again writes there. */
const slackBytes = 256 * pageSize;

/** Released places that are kept as they are until `trim`, unless they are taken again: half a MiB. */
const mostReleased = 128;

export class StoreFile {
  readonly path: string;
  readonly places: Places;
  readonly #fd: number;
  /** Reads off the event loop that are under way. */
  #reads = 0;
  #isClosed = false;
  #tellsWhatIsCached = true;
  /** Places that may be no holes yet; some may be taken again. */
  #released: Run[] = [];
  #releasedPages = 0;
  #releases = 0;
  /** Bytes of the file at most. */
  #length = 0;

  /** Opens the file, or makes it when there is none and nothing is stored. `used` is what SQLite names. */
  constructor(path: string, { segmentId, used }: { segmentId: Uint8Array; used: Iterable<Run> }) {
    this.path = path;
    this.places = new Places(used);
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      if (fstatSync(this.#fd).size === 0)
        format(this.#fd, { segmentId, isExpected: this.places.end > 1, path });
      else verifyHeader(this.#fd, { segmentId, path });
      this.#length = fstatSync(this.#fd).size;
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** Writes pages to a run of places. Durable after `flush`. */
  async write(place: number, pages: Uint8Array): Promise<void> {
    this.#length = Math.max(this.#length, place * pageSize + pages.length);
    if (pages.length <= shortBytes) files.writeAllNow(this.#fd, pages, place * pageSize, this.path);
    else await files.writeAll(this.#fd, pages, place * pageSize, this.path);
  }

  /** Writes what the redo log has, and flushes it. Requires: nobody writes. */
  redo(pieces: Iterable<{ readonly place: number; readonly bytes: Uint8Array }>): void {
    let count = 0;
    for (const { place, bytes } of pieces) {
      files.writeAllNow(this.#fd, bytes, place * pageSize, this.path);
      this.#length = Math.max(this.#length, place * pageSize + bytes.length);
      count++;
    }
    if (count > 0) files.dataSyncNow(this.#fd, this.path);
  }

  async flush(): Promise<void> {
    await files.dataSync(this.#fd, this.path);
  }

  /** Reads pages and compares each with its sum; the file pages that are damaged. */
  readNow(pages: PageBuffer): number[] {
    try {
      return damagedFrom(native.readPagesNow(this.#fd, pages), pages);
    } catch (error) {
      noneOf(error);
    }
    const isWhole = (one: native.PagesRead): boolean => {
      try {
        return native.readPagesNow(this.#fd, one) > 0;
      } catch (error) {
        return noneOf(error) > 0;
      }
    };
    return each(pages).flatMap(({ filePage, page }) => (isWhole(page) ? [] : [filePage]));
  }

  /** The file pages of an extent that are damaged. */
  damagedOf(e: StoredExtent): number[] {
    const pages = new PageBuffer();
    const bad: number[] = [];
    for (const piece of piecesOf({ from: e.filePage, count: e.count })) {
      pages.describe(piece, [e], [{ filePage: piece.from, page: 0, count: piece.count }]);
      bad.push(...this.readNow(pages));
    }
    return bad;
  }

  /** As `readNow`, from memory alone: undefined when the disk would have to be waited for. */
  readCached(pages: PageBuffer): number[] | undefined {
    if (!this.#tellsWhatIsCached) return this.readNow(pages);
    try {
      const good = native.readCachedPages(this.#fd, pages);
      return good === undefined ? undefined : damagedFrom(good, pages);
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== 'ENOTSUP') throw error;
      this.#tellsWhatIsCached = false;
      return this.readNow(pages);
    }
  }

  /** As `readNow`, off the event loop; undefined when the file was closed meanwhile. */
  async read(pages: PageBuffer): Promise<number[] | undefined> {
    if (this.#isClosed) return undefined;
    this.#reads++;
    try {
      const bad = await this.#readOnPool(pages);
      return this.#isClosed ? undefined : bad;
    } finally {
      this.#reads--;
      this.#closeIfUnused();
    }
  }

  async #readOnPool(pages: PageBuffer): Promise<number[]> {
    try {
      return damagedFrom(await native.readPages(this.#fd, pages), pages);
    } catch (error) {
      noneOf(error);
    }
    const bad: number[] = [];
    for (const { filePage, page } of each(pages))
      if ((await native.readPages(this.#fd, page).catch(noneOf)) === 0) bad.push(filePage);
    return bad;
  }

  /** How often places were released. */
  get releases(): number {
    return this.#releases;
  }

  /** Frees places that no state names any more. Who syncs again and again gets them again. */
  release(runs: readonly Run[]): void {
    this.places.release(runs);
    this.#releases++;
    this.#released.push(...runs);
    this.#releasedPages += pageCountOf(runs);
    if (this.#releasedPages <= mostReleased) return;
    this.#released = this.places.freeWithin(this.#released);
    this.#releasedPages = pageCountOf(this.#released);
    if (this.#releasedPages > mostReleased / 2) this.trim();
    else this.#cutBehind(slackBytes);
  }

  /** Gives what was released, and is free still, back to the disk. */
  trim(): void {
    if (this.#released.length === 0) return;
    const released = this.#released.splice(0);
    this.#releasedPages = 0;
    for (const { page, count } of this.places.freeWithin(released)) {
      try {
        native.punchHole(this.#fd, page * pageSize, count * pageSize);
      } catch (error) {
        // A file system without holes: the places are used again all the same.
        if (!(error instanceof FsError) || error.code !== 'ENOTSUP') throw error;
      }
    }
    this.#cutBehind(0);
  }

  /** Makes the file no longer than its places, if it is longer by more than that. */
  #cutBehind(slack: number): void {
    const end = this.places.end * pageSize;
    if (this.#length <= end + slack) return;
    ftruncateSync(this.#fd, end);
    this.#length = end;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Safe to call twice. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#closeIfUnused();
  }

  /** A read of a pool thread that is under way must not meet another file by the same number. */
  #closeIfUnused(): void {
    if (!this.#isClosed || this.#reads > 0) return;
    closeSync(this.#fd);
  }
}

/** The pages that are not as they were written, when `good` are, from the first on. */
function damagedFrom(good: number, { from, count, places, sums, bytes }: PageBuffer): number[] {
  const bad: number[] = [];
  if (good === count) return bad;
  const found = new BigUint64Array(sums.length);
  native.sumPages({ bytes, sums: found, count });
  for (let i = good; i < count; i++) if (places[i] !== 0 && found[i] !== sums[i]) bad.push(from + i);
  return bad;
}

/** No page, when the disk cannot give it. Of many that it cannot give, some may be readable by themselves. */
function noneOf(error: unknown): number {
  if (error instanceof FsError && error.code === 'EIO') return 0;
  throw error;
}

const each = ({ from, count, places, sums, bytes }: PageBuffer) =>
  Array.from({ length: count }, (_, i) => ({
    filePage: from + i,
    page: {
      places: places.subarray(i, i + 1),
      sums: sums.subarray(i, i + 1),
      bytes: bytes.subarray(i * pageSize, (i + 1) * pageSize),
      count: 1,
    },
  }));

function format(
  fd: number,
  { segmentId, isExpected, path }: { segmentId: Uint8Array; isExpected: boolean; path: string },
): void {
  if (isExpected) {
    const why =
      'empty, and the metadata beside it names data in it: every file that was stored there is lost';
    throw new FsError('EIO', 'open', { path, why });
  }
  const page = Buffer.alloc(pageSize);
  const header = storeHeader.bind(new DataView(page.buffer, page.byteOffset, page.length)).at(0);
  Object.assign(header, { magic, version: formatVersion, layoutHash, pageShift: Math.log2(pageSize) });
  Object.assign(header, { segmentId, createdMs: Date.now() });
  header.checksum = crc32(page.subarray(0, storeHeader.offset.checksum));
  writeSync(fd, page, 0, page.length, 0);
  // A small sync flushes SQLite alone, and a store whose metadata names places must have its data file.
  fsyncSync(fd);
  const directory = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  fsyncSync(directory);
  closeSync(directory);
}

/** @throws FsError EINVAL (no store, or another's), EPROTONOSUPPORT, EIO */
export function verifyHeader(fd: number, { segmentId, path }: { segmentId: Uint8Array; path: string }): void {
  const fail = (code: ErrorCode, why: string): never => {
    throw new FsError(code, 'open', { path, why });
  };
  const page = Buffer.alloc(pageSize);
  readSync(fd, page, 0, page.length, 0);
  const header = storeHeader.bind(new DataView(page.buffer, page.byteOffset, page.length)).at(0);
  if (header.magic !== magic) fail('EINVAL', 'not the data file of a store');
  if (header.version !== formatVersion)
    fail('EPROTONOSUPPORT', `version ${header.version}, this build knows 1`);
  if (header.layoutHash !== layoutHash) fail('EPROTONOSUPPORT', 'another layout than that of this build');
  if (crc32(page.subarray(0, storeHeader.offset.checksum)) !== header.checksum)
    fail('EIO', 'the header is damaged');
  if (!Buffer.from(segmentId).equals(header.segmentId)) fail('EINVAL', 'belongs to another metadata.db');
}
