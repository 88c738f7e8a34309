/**
 * Keeping what is in memory below a limit: pages that are in the store as they are in memory give way.
 *
 * Policy: by chunks of 1 MiB of a file, in the order of eviction-line.ts; of what is cold, files that nobody
 * has open or mapped go before those that somebody has. A sixteenth of the memory is kept for pages that
 * somebody waits to read: who writes waits for the disk before that is used.
 *
 *   present ──write back if dirty──▶ clean ──views armed, compared──▶ absent ──punch
 *                                                └── stored into meanwhile, pinned, in use: stays
 *
 * INVARIANT: a page becomes absent only while it is as the store says: its file's layout is held, so no write
 * by API is under way, and stores through views wait in their fault.
 */
import { type Extent, FsError, native, type Run } from '@cluster-fs/transport';
import {
  countEviction,
  counter,
  InodeCopy,
  isFile,
  pageSize,
  readInode,
  type Segment,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { addressRange, arm, unsettledView } from '../coordinator/remap.ts';
import { clip, overlap, pageCountOf } from '../coordinator/runs.ts';
import type { Session } from '../coordinator/session.ts';
import { exceeded } from '../limits.ts';
import { EvictionLine } from './eviction-line.ts';
import { readAll } from './file-calls.ts';
import type { Pager } from './pager.ts';
import { knownSum, without } from './snapshot.ts';
import type { Range } from './stored.ts';
import { sumsOf } from './sum.ts';
import type { WriteBack } from './write-back.ts';

export const chunkPages = 256;

const zeros = Buffer.alloc(pageSize);

/** A chunk of a file as one number: a file has at most so many, and inodes have less than 30 bits. */
const chunksOfFile = 2 ** 24;
const keyOf = (ino: number, chunk: number): number => ino * chunksOfFile + chunk;
const inoOf = (key: number): number => Math.floor(key / chunksOfFile);

/** How long who needs room waits for others to make progress. */
const patienceMs = 2000;
const lookAgainMs = 10;
/** How long it is taken for true what tmpfs has left: others may fill it. */
const roomAgeMs = 10;
/** How long copies of other nodes' blocks may take to leave: what was stored into them goes home first. */
const giveWayMs = 100;

export interface EvictorReport {
  readonly memoryLimitBytes: number;
  readonly residentBytes: number;
  readonly evictedBytes: number;
  readonly pinnedFiles: number;
}

export class Evictor {
  readonly #c: Coordinator;
  readonly #published: Segment;
  readonly #pager: Pager;
  readonly #writeBack: WriteBack;
  readonly #limitPages: number;
  /** Chunks with pages in memory. */
  readonly #line: EvictionLine;
  readonly #pins = new Map<number, Set<Session>>();
  #running: Promise<void> | undefined;
  #evictedPages = 0;
  #roomPages = Number.POSITIVE_INFINITY;
  #roomSeenMs = Number.NEGATIVE_INFINITY;

  constructor(c: Coordinator, { pager, writeBack, limitPages }: EvictorParts) {
    this.#c = c;
    this.#published = c.journal.published;
    this.#pager = pager;
    this.#writeBack = writeBack;
    this.#limitPages = limitPages;
    this.#line = new EvictionLine(limitPages);
  }

  get report(): EvictorReport {
    return {
      memoryLimitBytes: this.#limitPages * pageSize,
      residentBytes: this.residentPages * pageSize,
      evictedBytes: this.#evictedPages * pageSize,
      pinnedFiles: this.#pins.size,
    };
  }

  /** Pages that take memory, or may any moment: of files, set aside, or waiting for their holders. */
  get residentPages(): number {
    const { pages } = this.#c.writer;
    const movingTo = [...this.#c.ownReservations].reduce((sum, { left }) => sum + pageCountOf(left), 0);
    return pages.pageCount - pages.free - this.#pager.absentPages - movingTo;
  }

  /** Pages of a file come in, or are written. */
  touched(ino: number, { from, count }: Range): void {
    for (let chunk = Math.floor(from / chunkPages); chunk * chunkPages < from + count; chunk++)
      this.#line.touched(keyOf(ino, chunk));
  }

  /** Everything that is in memory goes into the line. */
  start(): void {
    const inode = new InodeCopy();
    for (let ino = 1; ino < this.#c.writer.inodeLimit; ino++) {
      if (!readInode(this.#c.segment, ino, inode) || !isFile(inode.mode)) continue;
      if (this.#c.blocks?.isOwn(ino) === false) continue;
      for (const { filePage, count } of this.#c.extents(ino)) this.touched(ino, { from: filePage, count });
    }
  }

  /**
   * Makes room for pages that are to come: of a write, or with `isRead` of somebody who waits for them.
   * ENOSPC when what is in memory does not give way: it is pinned, in use by clients that cannot wait for
   * pages, or set aside for writes that do not come to an end.
   */
  async makeRoom(pages: number, { isRead = false } = {}): Promise<void> {
    const limit = (): number => (isRead ? this.#room : this.#writeLimitPages);
    let endMs = performance.now() + patienceMs;
    while (this.residentPages + pages > limit()) {
      const before = { resident: this.residentPages, evicted: this.#evictedPages };
      await this.#run(pages);
      // What is freed and not evicted is free with the next commit.
      await this.#c.journal.nextFlush();
      if (this.residentPages < before.resident || this.#evictedPages > before.evicted) {
        endMs = performance.now() + patienceMs;
        continue;
      }
      if (this.residentPages + pages <= this.#room) return;
      // Writes of others that are under way come to their ends, and what they wrote can go.
      if (this.#isUnderWay() && performance.now() < endMs) {
        await this.#c.answers.next(lookAgainMs);
        continue;
      }
      throw new FsError('ENOSPC', 'write', { why: this.#whyFull() });
    }
  }

  #whyFull(): string {
    const mib = (pages: number): string => `${Math.floor((pages * pageSize) / 2 ** 20)} MiB`;
    if (this.#room < this.#limitPages)
      return `others have filled tmpfs, and left ${mib(this.#room)} of ${mib(this.#limitPages)} of memory`;
    return `memory (${mib(this.#limitPages)}) is full of pages that are in use; more: serve --memory`;
  }

  /** Pages that memory has room for: as many as the limit, unless others have filled the tmpfs. */
  get #room(): number {
    const nowMs = performance.now();
    if (nowMs - this.#roomSeenMs >= roomAgeMs) {
      this.#roomPages = Math.floor(this.#c.data.roomBytes() / pageSize);
      this.#roomSeenMs = nowMs;
    }
    return Math.min(this.#limitPages, this.#roomPages);
  }

  /** Who found tmpfs full knows better than what was seen a moment ago. */
  lookAgain(): void {
    this.#roomSeenMs = Number.NEGATIVE_INFINITY;
  }

  /** Whether pages are set aside or confined, of which the next moment may make pages that can go. */
  #isUnderWay(): boolean {
    const { segment } = this.#c;
    return counter(segment, 'reservedPages') + counter(segment, 'heldPages') > 0;
  }

  get #writeLimitPages(): number {
    return this.#room - Math.floor(this.#limitPages / 16);
  }

  /** How much is brought in ahead of one reader: it must be there still when the reader comes. */
  get mostAheadPages(): number {
    return Math.floor(this.#limitPages / 16);
  }

  /** Whether there is room for `pages` without waiting. Begins to make some when it gets scarce. */
  hasRoom(pages: number): boolean {
    const left = this.#room - this.residentPages - pages;
    if (left < this.#limitPages / 16) this.#begin();
    return left >= 0;
  }

  /** Takes a file out of memory as far as it can be; how many pages went. */
  async evictFile(ino: number): Promise<number> {
    const pages = Math.max(0, ...this.#c.extents(ino).map((e) => e.filePage + e.count));
    if (this.#writeBack.dirty.has(ino) || this.#writeBack.isUnderWay(ino)) await this.#writeBack.sync([ino]);
    let evicted = 0;
    for (let from = 0; from < pages; from += chunkPages)
      evicted += await this.#evict(ino, { from, count: chunkPages });
    return evicted;
  }

  /** A file stays in memory until the session ends or lets go of it. EMFILE when it keeps too many. */
  pin(session: Session, ino: number): void {
    const isNew = this.#pins.get(ino)?.has(session) !== true;
    let own = 0;
    for (const sessions of this.#pins.values()) if (sessions.has(session)) own++;
    if (isNew && own >= this.#c.limits.pins) throw exceeded(this.#c.limits, 'pins', { syscall: 'pin' });
    this.#pins.set(ino, (this.#pins.get(ino) ?? new Set()).add(session));
  }

  unpin(session: Session, ino?: number): void {
    for (const [pinned, sessions] of ino === undefined ? this.#pins : [[ino, this.#pins.get(ino)] as const]) {
      if (sessions?.delete(session) === true && sessions.size === 0) this.#pins.delete(pinned);
    }
  }

  /** The file is no more. */
  forget(ino: number): void {
    this.#pins.delete(ino);
  }

  #begin(): void {
    if (this.#running !== undefined) return;
    this.#run(this.#limitPages / 8).catch((error: unknown) => this.#c.hub.report(error));
  }

  /** One at a time. */
  #run(pages: number): Promise<void> {
    this.#running ??= this.#shrink(pages).finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Evicts until there is room to write `pages`, or everything was looked at once. */
  async #shrink(pages: number): Promise<void> {
    const missing = (): number => this.residentPages + pages - this.#writeLimitPages;
    const isEnough = (): boolean => missing() <= 0;
    if (isEnough()) return;
    await this.#giveWay(missing());
    if (isEnough()) return;
    // What cannot be written stays; the rest can still go.
    await this.#writeBack.sync().catch((error: unknown) => this.#c.hub.report(error));
    const { cold, hot } = this.#line.inOrder();
    const isUsed = (key: number): boolean => this.#isInUse(inoOf(key));
    const order = [...cold.filter((key) => !isUsed(key)), ...cold.filter(isUsed), ...hot];
    for (const key of order) {
      if (isEnough()) return;
      const ino = inoOf(key);
      if (!this.#line.has(key)) continue;
      if (this.#writeBack.isUnderWay(ino))
        await this.#writeBack.sync([ino]).catch((error: unknown) => this.#c.hub.report(error));
      await this.#evict(ino, { from: (key % chunksOfFile) * chunkPages, count: chunkPages });
    }
  }

  /** Copies of other nodes' blocks leave before pages that the disk would have to give again. */
  async #giveWay(pages: number): Promise<void> {
    const leaving = this.#c.blocks?.giveWay(pages) ?? 0;
    const before = this.residentPages;
    const endMs = performance.now() + giveWayMs;
    while (this.residentPages > before - leaving && performance.now() < endMs)
      await this.#c.answers.next(lookAgainMs);
  }

  #isInUse(ino: number): boolean {
    return this.#c.references.has(ino);
  }

  /** How many pages went. */
  #evict(ino: number, range: Range): Promise<number> {
    if (this.#c.blocks?.isOwn(ino) === false) {
      this.#line.gone(keyOf(ino, Math.floor(range.from / chunkPages)));
      return Promise.resolve(0);
    }
    // What other nodes have of it goes first: of what is absent here, the store has the bytes.
    return this.#c.exclusive(ino, () =>
      this.#c.holding(ino, 'write', () => this.#evictHeld(ino, range), range),
    );
  }

  async #evictHeld(ino: number, range: Range): Promise<number> {
    const inode = new InodeCopy();
    const isThere =
      readInode(this.#c.segment, ino, inode) && isFile(inode.mode) && this.#c.blocks?.isOwn(ino) !== false;
    const extents = isThere ? clip(this.#c.extents(ino), range.from, range.count) : [];
    const present = this.#pager.presentOf(extents);
    const key = keyOf(ino, Math.floor(range.from / chunkPages));
    if (present.length === 0) this.#line.gone(key);
    if (present.length === 0 || this.#mustStay(ino, range)) return 0;
    const views = [...this.#c.viewsOf(ino)].filter((view) => overlap(view.extents, present));
    const stores = views.some(({ mode }) => mode === 'rw');
    const clean = stores ? present : this.#clean(ino, present);
    if (clean.length === 0) return 0;
    const armed = views.flatMap((view) => {
      const place = addressRange(view, range.from, range.count);
      if (place === undefined) return [];
      arm(this.#c, view, place, { writeProtect: view.mode === 'rw' });
      return [{ view, place }];
    });
    let evicted = 0;
    try {
      const unchanged = stores ? await this.#unchanged(ino, present) : clean;
      this.#drop(unchanged);
      evicted = pageCountOf(unchanged);
    } finally {
      for (const { view, place } of armed) if (view.mode === 'rw') letStore(view.session, place);
    }
    if (this.#pager.presentOf(extents).length === 0) this.#line.evicted(key, pageCountOf(present));
    return evicted;
  }

  /** What somebody needs in memory, or may be about to map or store into. */
  #mustStay(ino: number, range: Range): boolean {
    // A client of before a crash, or whose session ended with this node, may store where no view is known.
    if (this.#c.keepsBack) return true;
    // What the store has of it is not what was read for it.
    if (this.#writeBack.isUnderWay(ino)) return true;
    if (this.#pins.has(ino) || unsettledView(this.#c, ino, range) !== undefined) return true;
    for (const grant of this.#c.brokenGrants) if (grant.ino === ino) return true;
    for (const view of this.#c.viewsOf(ino)) if (view.session.userfault === undefined) return true;
    return false;
  }

  /** The pages that are not dirty. Requires: nobody stores but by API, which says where. */
  #clean(ino: number, present: readonly Extent[]): readonly Extent[] {
    const dirty = this.#writeBack.dirty.of(ino) ?? [];
    if (dirty === 'all') return [];
    const pages = dirty.flatMap(({ from, count }) => clip(present, from, count));
    return pages.length === 0 ? present : without(present, pages);
  }

  /** The pages that are as they are stored. Requires: nobody can store into them. */
  async #unchanged(ino: number, present: readonly Extent[]): Promise<Extent[]> {
    const unchanged: Extent[] = [];
    for (const { filePage, page, count } of present) {
      const bytes = Buffer.allocUnsafeSlow(count * pageSize);
      await readAll(this.#c.data.fd, bytes, page * pageSize, this.#c.data.path);
      const known = this.#writeBack.stored(ino);
      const sums = sumsOf(bytes);
      for (let i = 0; i < count; i++) {
        const bytesOfPage = bytes.subarray(i * pageSize, (i + 1) * pageSize);
        const stored = knownSum(known, filePage + i);
        // Zeros have no place.
        if (stored === undefined ? bytesOfPage.equals(zeros) : stored === sums[i])
          unchanged.push({ filePage: filePage + i, page: page + i, count: 1 });
      }
    }
    return unchanged;
  }

  #drop(pages: readonly Run[]): void {
    // A reader that looks in between sees them absent, or sees the counter move. In this order.
    this.#pager.setAbsent(pages);
    countEviction(this.#published);
    this.#c.data.punch(pages);
    this.#evictedPages += pageCountOf(pages);
  }
}

interface EvictorParts {
  readonly pager: Pager;
  readonly writeBack: WriteBack;
  readonly limitPages: number;
}

/** Stores into what stayed go on; those into what went wait for it to come back. */
function letStore(
  { userfault, ended }: Session,
  { address, length }: { address: number; length: number },
): void {
  if (userfault === undefined || ended) return;
  try {
    native.writeProtectUserfault(userfault, address, length, false);
  } catch (error) {
    // Unmapped meanwhile: nobody waits there.
    if (!(error instanceof FsError)) throw error;
  }
}
