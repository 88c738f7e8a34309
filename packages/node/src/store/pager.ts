/**
 * Bringing absent pages back: on the touch of a view, on a read by API, and before anything of the node's own
 * looks at them.
 *
 *   a touch ──▶ its block of 64 KiB ──▶ wake    from the page cache at once, and its page before the others;
 *          │                                    from the disk off the event loop
 *          └──▶ pieces ahead of it ──▶ wake     where touches go on in order, off the event loop
 *
 * How a page is filled: filler.ts.
 * INVARIANT: a view over an absent page is registered with its client's userfaultfd, or was never given the
 * page.
 */
import {
  type Extent,
  FsError,
  native,
  type Reply,
  type Request,
  type Run,
  type Spinner,
} from '@cluster-fs/transport';
import {
  absentRuns,
  counter,
  hasAbsent,
  InodeCopy,
  pageSize,
  readInode,
  rootIno,
  type Segment,
  setAbsent,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { poison } from '../coordinator/poison.ts';
import { addressRange, arm } from '../coordinator/remap.ts';
import { clip, pageCountOf, subtract } from '../coordinator/runs.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { MetadataStore } from '../metadata/store.ts';
import { absentOf, Filler, type First, isThere, type Piece } from './filler.ts';
import { piecesOf } from './page-buffer.ts';
import { blockPages, ReadAhead } from './read-ahead.ts';
import type { StoreFile } from './store-file.ts';
import type { Range } from './stored.ts';

/** A hole that is touched beside absent pages is filled with zeros up to here. */
const mostZeroPages = 256;

export interface Damage {
  readonly ino: number;
  /** One of its names; undefined when it has none any more. */
  readonly path: string | undefined;
  readonly bytes: number;
}

export interface PagerReport {
  readonly absentBytes: number;
  /** Touches of views that waited for a page. */
  readonly faults: number;
  readonly fetchedBytes: number;
  /** Files and bytes of them that could not be read back as they were written. */
  readonly damage: readonly Damage[];
}

interface PagerParts {
  readonly store: MetadataStore;
  /** Undefined when what is absent is with other nodes, and nowhere else. */
  readonly file: StoreFile | undefined;
  readonly spinner: Spinner;
}

/** A page that somebody waits for, and the block that it is in. */
interface Touch {
  readonly filePage: number;
  readonly block: Range;
}

const isFull = (error: unknown): boolean => error instanceof FsError && error.code === 'ENOSPC';

export class Pager {
  readonly #c: Coordinator;
  readonly #published: Segment;
  readonly #store: MetadataStore;
  readonly #filler: Filler | undefined;
  readonly #ahead: ReadAhead;
  readonly #spinner: Spinner;
  readonly #polls = new Map<Session, native.DescriptorPoll>();
  /** What is being read for touches off the event loop, by inode. */
  readonly #coming = new Map<number, Set<Range>>();
  /** File pages that are damaged, by inode. */
  readonly #damage = new Map<number, Set<number>>();
  #faults = 0;

  constructor(c: Coordinator, { store, file, spinner }: PagerParts) {
    this.#c = c;
    this.#spinner = spinner;
    this.#published = c.journal.published;
    this.#store = store;
    this.#filler = file === undefined ? undefined : new Filler(c, { store, file });
    this.#ahead = new ReadAhead({
      bring: (view, piece) => this.#bringAhead(view, piece),
      hasRoom: (pages) => file?.isClosed === false && c.evictor?.hasRoom(pages) !== false,
      mostPages: () => c.evictor?.mostAheadPages ?? Number.POSITIVE_INFINITY,
    });
  }

  get report(): PagerReport {
    return {
      absentBytes: this.absentPages * pageSize,
      faults: this.#faults,
      fetchedBytes: (this.#filler?.filledPages ?? 0) * pageSize,
      damage: [...this.#damage].flatMap(([ino, pages]) => this.#damageOf(ino, pages)),
    };
  }

  /** None when it was removed, or has new content where it was damaged. */
  #damageOf(ino: number, pages: Set<number>): Damage[] {
    const isThere = readInode(this.#c.segment, ino, new InodeCopy());
    const extents = isThere ? this.#c.extents(ino) : [];
    for (const page of pages) if (this.absentOf(clip(extents, page, 1)).length === 0) pages.delete(page);
    if (pages.size > 0) return [{ ino, path: pathOf(this.#store, ino), bytes: pages.size * pageSize }];
    this.#damage.delete(ino);
    return [];
  }

  /** The file is no more. */
  forgetDamage(ino: number): void {
    this.#damage.delete(ino);
  }

  get absentPages(): number {
    return counter(this.#published, 'absentPages');
  }

  /** The absent ones of the pages that `extents` name. */
  absentOf(extents: readonly Extent[]): Extent[] {
    return absentOf(this.#published, extents);
  }

  /** The others. */
  presentOf(extents: readonly Extent[]): Extent[] {
    return extents.flatMap(({ filePage, page, count }) =>
      subtract([{ page, count }], absentRuns(this.#published, { page, count })).map((run) => ({
        filePage: filePage + run.page - page,
        ...run,
      })),
    );
  }

  /** These pages are in the store and not in `data`. Requires: they are holes there. */
  setAbsent(runs: readonly Run[]): void {
    for (const run of runs) setAbsent(this.#published, run, true);
  }

  /** Pages of nobody: what they held is gone with them. */
  forget(runs: readonly Run[]): void {
    for (const run of runs) if (hasAbsent(this.#published, run)) setAbsent(this.#published, run, false);
  }

  /**
   * Brings a range of a file in, at once. EIO names what is damaged, after everything else was brought in;
   * ENOSPC when tmpfs is full.
   */
  fetchNow(ino: number, range: Range): void {
    if (this.#filler !== undefined) this.#assertWhole(ino, this.#filler.fillNow(ino, range));
  }

  /** As `fetchNow`, off the event loop, and with turns for others in between. */
  async fetch(ino: number, range: Range): Promise<void> {
    await this.#acquire(ino, range);
    if (this.#filler === undefined) return;
    let before: Promise<void> | undefined;
    for (const piece of piecesOf(range)) {
      if (piece.from >= this.#pagesOf(ino)) break;
      await this.#makeRoom(ino, piece);
      if (this.#filler.file.isClosed) throw new FsError('ECONNRESET', 'read', { why: 'the node stopped' });
      const brought = this.#fetchPiece(this.#filler, ino, piece);
      // What fails is told when its turn comes, or after another failure not at all.
      brought.catch(() => undefined);
      await before;
      before = brought;
    }
    await before;
  }

  /**
   * What other nodes have of it, a piece after the other: there may be memory for less than all at once.
   */
  async #acquire(ino: number, range: Range): Promise<void> {
    const { blocks } = this.#c;
    if (blocks === undefined) return;
    const end = Math.min(range.from + range.count, this.#pagesOf(ino));
    let before: Promise<void> | undefined;
    for (const piece of piecesOf({ from: range.from, count: Math.max(0, end - range.from) })) {
      const coming = blocks.acquire(ino, piece, 'read');
      // What fails is told when its turn comes, or after another failure not at all.
      coming.catch(() => undefined);
      await before;
      before = coming;
    }
    await before;
  }

  /** 0 when there is no such file any more. */
  #pagesOf(ino: number): number {
    return isThere(this.#c.segment, ino) ? Math.ceil(this.#c.inode(ino).size / pageSize) : 0;
  }

  async #fetchPiece(filler: Filler, ino: number, range: Range): Promise<void> {
    if (range.count <= blockPages) {
      const bad = filler.fillCached(ino, range);
      if (bad !== undefined) return this.#assertWhole(ino, bad);
    }
    const piece = await filler.read(ino, range);
    if (piece !== undefined) this.#put(filler, piece);
  }

  /** EIO names what of a piece is damaged. */
  #put(filler: Filler, piece: Piece): void {
    const { bad, isStale } = filler.put(piece);
    if (isStale) this.fetchNow(piece.ino, piece);
    this.#assertWhole(piece.ino, bad);
  }

  async #makeRoom(ino: number, { from, count }: Range): Promise<void> {
    const absent = pageCountOf(this.absentOf(clip(this.#c.extents(ino), from, count)));
    if (absent > 0) await this.#c.evictor?.makeRoom(absent, { isRead: true });
  }

  /** A view is mapped: its touches of absent pages must wait from here on. */
  watch(view: View): void {
    if (view.session.userfault === undefined) return;
    const range = addressRange(view, view.from, view.pages);
    const isWhole = this.absentOf(view.extents).length === 0;
    if (!isWhole && range !== undefined) arm(this.#c, view, range, { writeProtect: false });
    this.#c.blocks?.watch(view);
  }

  /** Takes the faults of a session's views. */
  listen(session: Session): void {
    const { userfault } = session;
    if (userfault === undefined) return;
    const poll = native.pollDescriptor(userfault, () => this.#onFaults(session, userfault));
    poll.watch({ readable: true, writable: false });
    poll.unref();
    this.#polls.set(session, poll);
  }

  /** Requires: before the session's userfaultfd is closed. */
  leave(session: Session): void {
    this.#polls.get(session)?.close();
    this.#polls.delete(session);
  }

  #onFaults(session: Session, userfault: number): void {
    for (const event of native.readUserfaultEvents(userfault)) {
      if (event.type !== 'fault') continue;
      for (const view of session.views.values()) {
        const { address } = view;
        if (address === undefined || event.address < address) continue;
        if (event.address >= address + view.pages * pageSize) continue;
        const filePage = view.from + Math.floor((event.address - address) / pageSize);
        const access = event.write || event.writeProtect ? 'write' : 'read';
        if (this.#c.blocks?.fault(view, filePage, access) === true) continue;
        // A store into a page that is being moved waits for the move.
        if (!event.writeProtect) this.#onFault(view, filePage);
      }
    }
  }

  #onFault(view: View, filePage: number): void {
    this.#faults++;
    const { ino } = view;
    const onPage = this.absentOf(clip(view.extents, filePage, 1));
    if (onPage.length === 0) {
      // What moves just now is woken by its remap.
      const waits = view.unanswered.some((r) => r.from <= filePage && filePage < r.from + r.count);
      if (waits) return;
      // Else the page came while the fault was on its way, or the file has none there.
      if (clip(view.extents, filePage, 1).length > 0) wake(view, { from: filePage, count: 1 });
      else putZeros(view, holeAt(view, filePage));
      return;
    }
    const block = { from: filePage - (filePage % blockPages), count: blockPages };
    this.#ahead.touched(view, block.from);
    if (!this.#isComing(ino, filePage)) this.#bringBlock(view, filePage, block);
    this.#ahead.pump();
    // Who touches one page goes on to touch others.
    this.#spinner.expect();
  }

  #isComing(ino: number, filePage: number): boolean {
    for (const { from, count } of this.#coming.get(ino) ?? [])
      if (from <= filePage && filePage < from + count) return true;
    return false;
  }

  #bringBlock(view: View, filePage: number, block: Range): void {
    const hasRoom = this.#c.evictor?.hasRoom(blockPages) !== false;
    // Nothing gives way while clients of before are not back, and who waits here may be one of them.
    if (hasRoom || this.#c.unresolved.size > 0) this.#bring(view, { filePage, block });
    else this.#bringWithRoom(view, { filePage, block });
  }

  #bringWithRoom(view: View, touch: Touch): void {
    // Whoever waits must not wait for ever: when nothing gives way, the limit does.
    this.#makeRoom(view.ino, touch.block)
      .catch((error: unknown) => {
        if (!isFull(error)) this.#c.hub.report(error);
      })
      .finally(() => this.#bring(view, touch, { isLast: true }));
  }

  /** Answers the touch of a page; when tmpfs is full, after something has gone. */
  #bring(view: View, touch: Touch, { isLast = false } = {}): void {
    const { ino } = view;
    const { filePage, block } = touch;
    const filler = this.#filler;
    if (!isThere(this.#c.segment, ino)) return;
    try {
      const bad = filler === undefined ? [] : filler.fillCached(ino, block, this.#first(ino, filePage));
      if (filler !== undefined && bad === undefined) {
        void this.#bringLater(filler, view, touch, { isLast });
        return;
      }
      this.#assertWhole(ino, bad ?? []);
    } catch (error) {
      if (!isLast && this.#isFullNow(error)) {
        this.#bringWithRoom(view, touch);
        return;
      }
      this.#failed(view, filePage, error);
    }
    this.#wakeAll(ino, block);
  }

  /** Who touches a page goes on while the others of its block are put. */
  #first(ino: number, filePage: number): First {
    return { filePage, isThere: () => this.#wakeAll(ino, { from: filePage, count: 1 }) };
  }

  /** Whether others have filled tmpfs, and something of this node may give way. */
  #isFullNow(error: unknown): boolean {
    if (!isFull(error) || this.#c.evictor === undefined) return false;
    this.#c.evictor.lookAgain();
    return true;
  }

  /** Answers the touch of a page when the disk has given its block. */
  async #bringLater(
    filler: Filler,
    view: View,
    touch: Touch,
    { isLast }: { isLast: boolean },
  ): Promise<void> {
    const { filePage, block } = touch;
    try {
      await this.#bringOffLoop(filler, view.ino, block);
    } catch (error) {
      if (!isLast && this.#isFullNow(error)) {
        this.#bringWithRoom(view, touch);
        return;
      }
      this.#failed(view, filePage, error);
    }
    this.#wakeAll(view.ino, block);
    this.#spinner.expect();
  }

  async #bringAhead(view: View, range: Range): Promise<boolean> {
    const { ino } = view;
    if (this.#filler === undefined || this.#c.views.get(ino)?.has(view) !== true) return false;
    let isThere = true;
    try {
      await this.#bringOffLoop(this.#filler, ino, range);
    } catch (error) {
      isThere = false;
      // Who touches what did not come is told when that is tried again.
      if (!isFull(error)) this.#c.hub.report(error);
    }
    this.#wakeAll(ino, range);
    this.#spinner.expect();
    return isThere;
  }

  async #bringOffLoop(filler: Filler, ino: number, range: Range): Promise<void> {
    const coming = this.#coming.get(ino) ?? new Set();
    this.#coming.set(ino, coming.add(range));
    try {
      const piece = await filler.read(ino, range);
      if (piece !== undefined) this.#put(filler, piece);
    } finally {
      coming.delete(range);
      if (coming.size === 0) this.#coming.delete(ino);
    }
  }

  /** The page that was touched may be whole. */
  #failed(view: View, filePage: number, error: unknown): void {
    this.#c.hub.report(error);
    if (this.absentOf(clip(view.extents, filePage, 1)).length > 0) poison(view, { from: filePage, count: 1 });
  }

  #wakeAll(ino: number, range: Range): void {
    for (const view of this.#c.viewsOf(ino)) wake(view, range);
  }

  /** EIO names pages that are damaged. */
  #assertWhole(ino: number, bad: readonly number[]): void {
    if (bad.length === 0) return;
    const known = this.#damage.get(ino) ?? new Set();
    for (const filePage of bad) known.add(filePage);
    this.#damage.set(ino, known);
    const offset = Math.min(...bad) * pageSize;
    const path = pathOf(this.#store, ino) ?? `inode ${ino}`;
    const why = `byte ${offset} is not in ${this.#filler?.file.path} as it was written`;
    throw new FsError('EIO', 'read', { path, why });
  }
}

function pathOf(store: MetadataStore, ino: number): string | undefined {
  const names: string[] = [];
  for (let at = ino; at !== rootIno; ) {
    const row = store.nameOf(at);
    if (row === undefined) return undefined;
    names.unshift(row.name);
    at = row.parent;
  }
  return `/${names.join('/')}`;
}

function wake(view: View, { from, count }: Range): void {
  const range = addressRange(view, from, count);
  if (range === undefined || view.session.userfault === undefined || view.session.ended) return;
  try {
    native.wakeUserfault(view.session.userfault, range.address, range.length);
  } catch (error) {
    // Unmapped meanwhile, or its process is gone: nobody waits there.
    if (!(error instanceof FsError)) throw error;
  }
}

/** The hole of a view's file from a page on, as far as it is worth filling at once. */
function holeAt({ extents, from, pages }: View, filePage: number): Range {
  const next = extents.find((e) => e.filePage > filePage)?.filePage ?? Number.POSITIVE_INFINITY;
  return { from: filePage, count: Math.min(next, from + pages, filePage + mostZeroPages) - filePage };
}

/**
 * Zeros for who touches a hole beside absent pages: its memory waits for the node as theirs does. Perhaps not
 * all of the hole is registered: then as much of it as is in the block, or the page that is touched.
 */
function putZeros(view: View, hole: Range): void {
  const inBlock = Math.min(hole.count, blockPages - (hole.from % blockPages));
  for (const count of [hole.count, inBlock, 1]) if (putZerosAt(view, { from: hole.from, count })) return;
  wake(view, hole);
}

function putZerosAt(view: View, hole: Range): boolean {
  const range = addressRange(view, hole.from, hole.count);
  if (range === undefined || view.session.userfault === undefined || view.session.ended) return true;
  try {
    return native.zeroUserfault(view.session.userfault, range.address, range.length) > 0;
  } catch (error) {
    // Not all of it is registered, or it is mapped anew meanwhile, or gone.
    if (error instanceof FsError) return false;
    throw error;
  }
}

/** Brings pages in for a client that reads them by API. */
export async function fetchFor(c: Coordinator, request: Request<'fetch'>): Promise<Reply<'fetch'>> {
  await c.pager?.fetch(request.ino, { from: request.from, count: request.count });
  return {};
}
