/**
 * Puts what the store has of absent pages into `data`.
 *
 *   absent ──read, compared with its sum──▶ put ──▶ present
 *                       └── damaged: stays absent
 *
 * A page is put in one turn of the event loop, so nothing of the node's own sees it half done, and by pwrite:
 * tmpfs shows a page to nobody before it is whole, and all processes see it at once.
 * INVARIANT: what an absent page holds is as the store says, and zeros where it says nothing. So it is clean.
 * INVARIANT: what was read off the event loop is put only where a page is still absent and the store still
 * says of it what was compared: then these are its bytes, whatever happened meanwhile.
 */
import { writeSync } from 'node:fs';
import { type ErrorCode, type Extent, FsError, type Run } from '@cluster-fs/transport';
import {
  absentRuns,
  InodeCopy,
  isFile,
  pageSize,
  readInode,
  type Segment,
  setAbsent,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { clip, splice } from '../coordinator/runs.ts';
import type { MetadataStore } from '../metadata/store.ts';
import { PageBuffer, piecesOf } from './page-buffer.ts';
import type { StoreFile } from './store-file.ts';
import type { Range, StoredExtent } from './stored.ts';

/** Pieces that are read at once; more have to wait. Each takes memory, and the pool has four threads. */
const mostPieces = 8;

/** Pages of a file that were read off the event loop. */
export interface Piece extends Range {
  readonly ino: number;
  readonly pages: PageBuffer;
  /** File pages that are damaged. */
  readonly bad: readonly number[];
}

/** What came of a piece. */
export interface Put {
  /** File pages that are absent, and damaged. */
  readonly bad: readonly number[];
  /** Whether others are absent, of which the store says something else by now. */
  readonly isStale: boolean;
}

/** A page that somebody waits for, and not for what is around it. */
export interface First {
  readonly filePage: number;
  /** Called as soon as it is. */
  isThere(): void;
}

interface FillerParts {
  readonly store: MetadataStore;
  readonly file: StoreFile;
}

export class Filler {
  readonly file: StoreFile;
  readonly #c: Coordinator;
  readonly #published: Segment;
  readonly #store: MetadataStore;
  /** What is filled at once. */
  readonly #own = new PageBuffer();
  /** What the store says now of a piece. */
  readonly #now = new PageBuffer();
  /** Those that are not used. */
  readonly #buffers: PageBuffer[] = [];
  #pieces = 0;
  readonly #waiting: (() => void)[] = [];
  #filledPages = 0;

  constructor(c: Coordinator, { store, file }: FillerParts) {
    this.#c = c;
    this.#published = c.journal.published;
    this.#store = store;
    this.file = file;
  }

  get filledPages(): number {
    return this.#filledPages;
  }

  /**
   * Fills what is absent of a range; the file pages that are damaged. ENOSPC when tmpfs is full: what was
   * filled until then stays.
   */
  fillNow(ino: number, range: Range): number[] {
    const bad: number[] = [];
    for (const piece of piecesOf(range)) bad.push(...(this.#fill(ino, piece, { mayWait: true }) ?? []));
    return bad;
  }

  /**
   * As `fillNow`, without waiting for the disk: undefined, and nothing was done, when it would have to.
   * Requires: one piece at most.
   */
  fillCached(ino: number, range: Range, first?: First): number[] | undefined {
    return this.#fill(ino, range, { mayWait: false, first });
  }

  #fill(
    ino: number,
    range: Range,
    { mayWait, first }: { mayWait: boolean; first?: First | undefined },
  ): number[] | undefined {
    const pages = this.#own;
    const absent = this.#describe(ino, range, pages);
    if (absent === undefined) return [];
    const bad = mayWait ? this.file.readNow(pages) : this.file.readCached(pages);
    if (bad !== undefined) this.#putInOrder(ino, without(absent, bad), first);
    return bad;
  }

  #putInOrder(ino: number, extents: readonly Extent[], first: First | undefined): void {
    const page = first === undefined ? [] : clip(extents, first.filePage, 1);
    if (first === undefined || page.length === 0) {
      this.#put(ino, extents, this.#own);
      return;
    }
    this.#put(ino, page, this.#own);
    first.isThere();
    this.#put(ino, without(extents, [first.filePage]), this.#own);
  }

  /**
   * Reads what is absent of a piece, off the event loop; undefined when nothing is, or the store was closed.
   * Requires: what it gives is put.
   */
  async read(ino: number, range: Range): Promise<Piece | undefined> {
    const pages = await this.#takeBuffer();
    let piece: Piece | undefined;
    try {
      const absent = this.#describe(ino, range, pages);
      const bad = absent === undefined ? undefined : await this.file.read(pages);
      if (bad !== undefined) piece = { ino, from: pages.from, count: pages.count, pages, bad };
      return piece;
    } finally {
      if (piece === undefined) this.#giveBuffer(pages);
    }
  }

  /** Puts what is still absent of a piece. Requires: the piece is not used again. */
  put({ ino, from, count, pages, bad }: Piece): Put {
    try {
      const now = this.#now;
      const absent = this.#describe(ino, { from, count }, now) ?? [];
      const stale: number[] = [];
      for (const e of absent)
        for (let at = e.filePage; at < e.filePage + e.count; at++)
          if (!pages.saysTheSame(now, at)) stale.push(at);
      this.#put(ino, without(without(absent, stale), bad), pages);
      const left = without(absent, stale);
      const stillBad = bad.filter((page) => clip(left, page, 1).length > 0);
      return { bad: stillBad, isStale: stale.length > 0 };
    } finally {
      this.#giveBuffer(pages);
    }
  }

  /** What is absent of a range, and in `pages` what the store says of it; undefined when nothing is. */
  #describe(ino: number, range: Range, pages: PageBuffer): Extent[] | undefined {
    const absent = this.#isThere(ino) ? this.#absentIn(ino, range) : [];
    const [first, last] = [absent[0], absent.at(-1)];
    if (first === undefined || last === undefined) return undefined;
    const end = last.filePage + last.count;
    const stored: StoredExtent[] = this.#store.storedIn(ino, first.filePage, end);
    pages.describe({ from: first.filePage, count: end - first.filePage }, stored, absent);
    return absent;
  }

  /** Not when the store was closed: the node stops, and has no segment any more. */
  #isThere(ino: number): boolean {
    return !this.file.isClosed && isThere(this.#c.segment, ino);
  }

  /** Those that are absent and in the store, and not with other nodes. */
  #absentIn(ino: number, { from, count }: Range): Extent[] {
    const absent = absentOf(this.#published, clip(this.#c.extents(ino), from, count));
    const { blocks } = this.#c;
    if (absent.length === 0 || blocks?.isShared(ino) !== true) return absent;
    return absent
      .flatMap(onePageEach)
      .filter(({ filePage }) => blocks.holds(ino, { from: filePage, count: 1 }, 'read'));
  }

  #put(ino: number, extents: readonly Extent[], pages: PageBuffer): void {
    for (const { filePage, page, count } of extents) {
      this.#c.evictor?.touched(ino, { from: filePage, count });
      this.#write({ page, count }, pages.bytes, (filePage - pages.from) * pageSize);
    }
  }

  /** A page counts as present as soon as it is: a view may have stored into it in the next moment. */
  #write({ page, count }: Run, bytes: Buffer, from: number): void {
    const { fd, path } = this.#c.data;
    for (let done = 0; done < count; ) {
      const left = (count - done) * pageSize;
      let pages = 0;
      try {
        const written = writeSync(fd, bytes, from + done * pageSize, left, (page + done) * pageSize);
        pages = Math.floor(written / pageSize);
      } catch (error) {
        const { code = 'EIO' } = error as NodeJS.ErrnoException;
        throw new FsError(code as ErrorCode, 'write', { path, why: 'tmpfs', cause: error });
      }
      if (pages === 0) throw new FsError('ENOSPC', 'write', { path, why: 'tmpfs' });
      setAbsent(this.#published, { page: page + done, count: pages }, false);
      this.#filledPages += pages;
      done += pages;
    }
  }

  async #takeBuffer(): Promise<PageBuffer> {
    if (this.#pieces === mostPieces) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#pieces++;
    return this.#buffers.pop() ?? new PageBuffer();
  }

  #giveBuffer(buffer: PageBuffer): void {
    this.#buffers.push(buffer);
    const next = this.#waiting.shift();
    if (next === undefined) this.#pieces--;
    else next();
  }
}

export const isThere = (segment: Segment, ino: number): boolean => {
  const inode = new InodeCopy();
  return readInode(segment, ino, inode) && isFile(inode.mode);
};

/** The absent ones of the pages that `extents` name. */
export function absentOf(published: Segment, extents: readonly Extent[]): Extent[] {
  const absent: Extent[] = [];
  for (const e of extents)
    for (const { page, count } of absentRuns(published, e))
      absent.push({ filePage: e.filePage + page - e.page, page, count });
  return absent;
}

const onePageEach = ({ filePage, page, count }: Extent): Extent[] =>
  Array.from({ length: count }, (_, i) => ({ filePage: filePage + i, page: page + i, count: 1 }));

/** Extents without some of their pages. */
const without = (extents: readonly Extent[], pages: readonly number[]): readonly Extent[] =>
  pages.reduce<readonly Extent[]>((left, page) => splice(left, page, 1, []), extents);
