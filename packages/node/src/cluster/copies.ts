/**
 * Copies of files of other homes, for views from which no page can be taken and that keep what they show: of
 * clients without userfaultfd (read-only mounts among them), and those that follow by hand.
 *
 *   none ──somebody maps──▶ coming ──all is here at one moment──▶ whole ⇄ behind, until it is refreshed
 *     ▲                                                             │
 *     └────────────────── the last such view goes ──────────────────┘
 *
 * The pages of a copy are of no file, so the blocks of the file come and go beside it as if nobody mapped
 * them: no other node ever waits for such a view. A block whose copy is not what the file has any more gets
 * other pages; views that follow are told to swap, one that follows by hand hears of newer content.
 *
 * INVARIANT: a page that such a view may map is in the copy, or in quarantine until the view has let go.
 * INVARIANT: a block is `fresh` while this node has it without a break since it was copied: who changes it
 * elsewhere takes it from here first, and who stores into it here waits first.
 */
import { readSync, writeSync } from 'node:fs';
import { type ErrorCode, type Extent, FsError, type Hole, type Run } from '@cluster-fs/transport';
import { InodeCopy, pageSize, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { moved, type ViewCopies } from '../coordinator/elsewhere.ts';
import { fill } from '../coordinator/holes.ts';
import { hasSamePages } from '../coordinator/only-moved.ts';
import { mayMap, type Party } from '../coordinator/quarantine.ts';
import { isOpen, showCopy, tellBehind } from '../coordinator/remap.ts';
import { consume, noSpace, record } from '../coordinator/reserve.ts';
import { clip, merge, pageCountOf, pagesLeft, subtract, without } from '../coordinator/runs.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { Range } from '../store/stored.ts';
import { blockPages, blocksIn, inoOf, rangeOf } from './blocks.ts';
import type { CacheBudget } from './cache-budget.ts';
import type { Homes } from './homes.ts';
import { blocksOfFile } from './layout.ts';

/** Blocks that are fetched, and then copied, in one turn: the cache may have room for few more. */
const blocksAtOnce = 16;
/** The same in the turn in which a view is given: nobody else is served meanwhile. */
const mostAtLast = 64;
/**
 * How long after a change elsewhere views are shown it, at the earliest: who stores there all the time is not
 * interrupted more often.
 */
const refreshMs = 50;
/** The same when the home could not give it. */
const retryMs = 500;
/** What was asked for in vain is asked for again after so long, and then after twice as long each time. */
const againMs = 1;
const longestAgainMs = 10;
/** How long a view is not given because others change the file while it is copied. */
const busyMs = 10_000;

interface Copy {
  readonly ino: number;
  /** In file order. */
  extents: readonly Extent[];
  readonly fresh: Set<number>;
  /** Who is about to map it. */
  users: number;
  timer: NodeJS.Timeout | undefined;
  /** Views of before a crash that show something else than the copy, until it is whole again. */
  readonly late: Set<View>;
  /** What is being fetched into it. */
  coming: Promise<void> | undefined;
  /** It could not be refreshed, which is told once. */
  hasFailed: boolean;
}

/** Nothing is wrong: the copy has to be refreshed first. */
class Behind extends FsError {
  constructor() {
    super('EBUSY', 'map', { why: 'others change the file all the time' });
  }
}

export class Copies implements ViewCopies {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #budget: CacheBudget;
  readonly #copies = new Map<number, Copy>();

  constructor(c: Coordinator, homes: Homes, budget: CacheBudget) {
    this.#c = c;
    this.#homes = homes;
    this.#budget = budget;
  }

  isFor(ino: number, follow: View['follow'], session: Session): boolean {
    return !this.#homes.isOwn(ino) && (session.userfault === undefined || follow === 'manual');
  }

  async serve<T>(ino: number, use: () => Promise<T>): Promise<T> {
    const copy = this.#copies.get(ino) ?? this.#begin(ino);
    copy.users++;
    try {
      await this.#pass(copy);
      const endMs = performance.now() + busyMs;
      for (let waitMs = againMs; ; waitMs = Math.min(2 * waitMs, longestAgainMs)) {
        try {
          return await use();
        } catch (error) {
          if (!(error instanceof Behind) || performance.now() > endMs) throw error;
        }
        // A client that owes an answer may be in the way.
        await this.#c.answers.next(waitMs);
        await this.#pass(copy);
      }
    } finally {
      copy.users--;
      this.#endUnused(copy);
    }
  }

  extentsOf(ino: number): readonly Extent[] {
    const copy = this.#copies.get(ino);
    // It is becoming the file of this node, which has views of the file itself.
    if (this.#homes.isOwn(ino) || this.#homes.moving?.isTaking(ino) === true) throw moved('map');
    if (copy === undefined) throw new Behind();
    const behind = this.#behind(copy);
    // Who stores here all the time has done so again by now: what is here need not be waited for.
    if (behind.length > mostAtLast || !behind.every((block) => this.#isHere(block))) throw new Behind();
    if (behind.length > 0) this.#take(copy, behind);
    return copy.extents;
  }

  isKept(ino: number, extents: readonly Extent[]): boolean {
    return this.#c.isHeldBack(subtract(extents, this.#copies.get(ino)?.extents ?? []));
  }

  /** The first one that comes has brought the copy, until it is refreshed. */
  goOn(view: View): void {
    const c = this.#c;
    const { ino, extents } = view;
    const copy = this.#copies.get(ino) ?? this.#begin(ino);
    c.journal.afterCommit(() => this.#refreshSoon(copy, 0));
    const others = subtract(extents, copy.extents);
    if (others.length === 0) return;
    if (copy.extents.length > 0) {
      c.keepFor(view, others);
      copy.late.add(view);
      return;
    }
    const runs = c.takeBack(extents);
    // What another view keeps already is for that one.
    if (pageCountOf(runs) < pageCountOf(extents)) {
      c.keepFor(view, subtract(extents, runs));
      copy.late.add(view);
    }
    record(c, runs, c.ownReservations);
    this.#become(copy, within(extents, runs));
  }

  released({ ino }: View): void {
    const copy = this.#copies.get(ino);
    if (copy !== undefined) this.#endUnused(copy);
  }

  /** The block is not here any more, or not by the same right: what comes may be something else. */
  left(block: number): void {
    const copy = this.#copies.get(inoOf(block));
    if (copy?.fresh.delete(block) === true) this.#refreshSoon(copy, refreshMs);
  }

  /** The file has another home, which this node has to ask anew. */
  rehomed(ino: number): void {
    const copy = this.#copies.get(ino);
    copy?.fresh.clear();
    if (copy !== undefined) this.#refreshSoon(copy, refreshMs);
  }

  /** The file has other pages than before in these ranges, or another size. */
  relaid(ino: number, ranges: readonly Hole[]): void {
    const copy = this.#copies.get(ino);
    if (copy === undefined) return;
    for (const { filePage, count } of ranges)
      for (const block of blocksIn(ino, { from: filePage, count })) copy.fresh.delete(block);
    this.#refreshSoon(copy, refreshMs);
  }

  /** Whether the bytes of a block may go from its own pages, and the right to it stay. */
  has(block: number): boolean {
    return this.#copies.get(inoOf(block))?.fresh.has(block) === true;
  }

  close(): void {
    for (const { timer } of this.#copies.values()) clearTimeout(timer);
    this.#copies.clear();
  }

  #begin(ino: number): Copy {
    const copy: Copy = {
      ino,
      extents: [],
      fresh: new Set(),
      users: 0,
      timer: undefined,
      late: new Set(),
      coming: undefined,
      hasFailed: false,
    };
    this.#copies.set(ino, copy);
    return copy;
  }

  #endUnused(copy: Copy): void {
    if (copy.users > 0 || this.#viewsOf(copy).length > 0 || this.#copies.get(copy.ino) !== copy) return;
    this.#copies.delete(copy.ino);
    clearTimeout(copy.timer);
    const { extents } = copy;
    copy.extents = [];
    this.#budget.keptPages -= pageCountOf(extents);
    this.#c.journal
      .mutate(() => {
        consume(this.#c, extents, this.#c.ownReservations);
        this.#c.freePages(extents);
      })
      .catch((error: unknown) => this.#c.hub.report(error));
  }

  #viewsOf({ ino }: Copy): View[] {
    return [...this.#c.viewsOf(ino)].filter(({ isCopy }) => isCopy);
  }

  /** Whether anybody is to be told of what is new. */
  #isFollowed(copy: Copy): boolean {
    return this.#viewsOf(copy).some((view) => !view.behind && !view.session.ended);
  }

  #refreshSoon(copy: Copy, afterMs: number): void {
    if (copy.timer !== undefined || !this.#isFollowed(copy)) return;
    copy.timer = setTimeout(() => {
      copy.timer = undefined;
      void this.#refresh(copy);
    }, afterMs);
    copy.timer.unref();
  }

  async #refresh(copy: Copy): Promise<void> {
    let nextMs = refreshMs;
    try {
      // One that is under way may be past what is new: a view that came late, another size.
      await copy.coming?.catch(() => undefined);
      await this.#pass(copy);
      copy.hasFailed = false;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      // The home is away, or is another one by now: views show what they have until it can be asked.
      if (!isPassing(error) && !copy.hasFailed) this.#c.hub.report(error);
      copy.hasFailed ||= !isPassing(error);
      nextMs = retryMs;
    }
    if (this.#copies.get(copy.ino) === copy && this.#behind(copy).length > 0) this.#refreshSoon(copy, nextMs);
  }

  /** Blocks of the file, or of the copy, that are not known to be the same. */
  #behind({ ino, extents, fresh }: Copy): number[] {
    if (!readInode(this.#c.segment, ino, seen)) return [];
    const blocks = new Set(blocksOfFile(this.#c, ino));
    for (const { filePage, count } of extents)
      for (const block of blocksIn(ino, { from: filePage, count })) blocks.add(block);
    return [...blocks].filter((block) => !fresh.has(block)).sort((a, b) => a - b);
  }

  /** Brings all that is behind up to date, each block as it is when its turn comes; one at a time. */
  #pass(copy: Copy): Promise<void> {
    copy.coming ??= this.#bring(copy).finally(() => {
      copy.coming = undefined;
    });
    return copy.coming;
  }

  async #bring(copy: Copy): Promise<void> {
    const { ino } = copy;
    const behind = this.#behind(copy);
    // Before anything is fetched that could not stay.
    if (behind.length > 0) this.#assertRoom(pageCountOf(this.#c.extents(ino)) - pageCountOf(copy.extents));
    for (let at = 0; at < behind.length; at += blocksAtOnce) {
      const blocks = behind.slice(at, at + blocksAtOnce);
      for (const run of inOrder(blocks)) await this.#homes.acquire(ino, run, 'read');
      if (this.#copies.get(ino) !== copy || !readInode(this.#c.segment, ino, seen)) return;
      const here = blocks.filter((block) => this.#isHere(block));
      await this.#c.journal.mutate(() => this.#take(copy, here));
    }
    await this.#c.journal.mutate(() => this.#tellSize(copy));
  }

  /** A hole is there always: where the file has none its home has said. */
  #isHere(block: number): boolean {
    const range = rangeOf(block);
    const isHole = clip(this.#c.extents(inoOf(block)), range.from, range.count).length === 0;
    return isHole || this.#homes.isStill(block);
  }

  /** What is here of these blocks is in the copy from now on. Requires: inside mutate, in one turn. */
  #take(copy: Copy, blocks: readonly number[]): void {
    const { fresh } = copy;
    for (const block of blocks) fresh.add(block);
    this.#c.writer.onRollback(() => {
      for (const block of blocks) fresh.delete(block);
    });
    const changed = blocks.filter((block) => !this.#isSame(copy, block));
    if (changed.length > 0) this.#put(copy, changed);
  }

  #isSame({ extents }: Copy, block: number): boolean {
    const { from, count } = rangeOf(block);
    const own = clip(extents, from, count);
    const now = clip(this.#c.extents(inoOf(block)), from, count);
    return hasSamePages(own, now) && this.#read(own, block).equals(this.#read(now, block));
  }

  #read(extents: readonly Extent[], block: number): Buffer {
    const { from } = rangeOf(block);
    const bytes = Buffer.alloc(blockPages * pageSize);
    for (const { filePage, page, count } of extents)
      readSync(this.#c.data.fd, bytes, (filePage - from) * pageSize, count * pageSize, page * pageSize);
    return bytes;
  }

  #put(copy: Copy, blocks: readonly number[]): void {
    const c = this.#c;
    const { ino, extents: before } = copy;
    const file = c.extents(ino);
    const source = blocks.flatMap((block) => clip(file, rangeOf(block).from, blockPages));
    const added = this.#copied(source, blocks);
    let after = before;
    for (const block of blocks) after = without(after, rangeOf(block).from, blockPages);
    after = merge(after, added);
    const left = pagesLeft(before, after);
    this.#become(copy, after);
    this.#show(copy, { blocks, left });
  }

  #become(copy: Copy, extents: readonly Extent[]): void {
    const before = copy.extents;
    const more = pageCountOf(extents) - pageCountOf(before);
    copy.extents = extents;
    this.#budget.keptPages += more;
    this.#c.writer.onRollback(() => {
      copy.extents = before;
      this.#budget.keptPages -= more;
    });
  }

  /** The same bytes in pages of the copy. */
  #copied(source: readonly Extent[], blocks: readonly number[]): Extent[] {
    const c = this.#c;
    const count = pageCountOf(source);
    if (count === 0) return [];
    this.#assertRoom(count);
    const runs = c.writer.pages.allocate(count);
    if (runs === undefined) throw noSpace(c, count);
    record(c, runs, c.ownReservations);
    c.writer.onRollback(() => c.data.punch(runs));
    const added = fill(source, runs);
    for (const block of blocks) {
      const { from } = rangeOf(block);
      const bytes = this.#read(clip(source, from, blockPages), block);
      for (const to of clip(added, from, blockPages)) this.#write(bytes, to, from);
    }
    return merge([], added);
  }

  #assertRoom(pages: number): void {
    if (pages <= this.#budget.roomToKeep) return;
    const why =
      'the home of the file is another node, and this one has no memory for the copy that is needed';
    throw new FsError('ENOSPC', 'map', { why });
  }

  #write(bytes: Buffer, { filePage, page, count }: Extent, from: number): void {
    try {
      writeSync(this.#c.data.fd, bytes, (filePage - from) * pageSize, count * pageSize, page * pageSize);
    } catch (error) {
      const { code = 'EIO' } = error as NodeJS.ErrnoException;
      throw new FsError(code as ErrorCode, 'map', { why: 'tmpfs', cause: error });
    }
  }

  /** Views swap, or hear of it; what they may still map is kept for them. */
  #show(copy: Copy, { blocks, left }: { blocks: readonly number[]; left: readonly Run[] }): void {
    const c = this.#c;
    const { ino, extents } = copy;
    const { from } = rangeOf(blocks[0] as number);
    const range = { from, count: rangeOf(blocks.at(-1) as number).from + blockPages - from };
    const views = this.#viewsOf(copy);
    const parties: Party[] = views.filter((view) => mayMap(view, left)).map((view) => ({ view }));
    consume(c, left, c.ownReservations);
    c.confine({ runs: left, ino, path: views[0]?.path ?? '', parties });
    for (const view of views) {
      if (view.from + view.pages <= range.from || range.from + range.count <= view.from) continue;
      this.#tell(view, range, extents);
    }
  }

  #tell(view: View, range: Range, extents: readonly Extent[]): void {
    if (!isOpen(this.#c, view)) return;
    if (view.follow === 'manual') tellBehind(this.#c, view);
    else this.#c.journal.afterCommit(() => showCopy(this.#c, view, range, extents));
  }

  /** Where the file has grown or shrunk without pages no block tells. */
  #tellSize(copy: Copy): void {
    if (!readInode(this.#c.segment, copy.ino, seen)) return;
    const { size } = seen;
    if (copy.late.size > 0 && this.#behind(copy).length === 0) {
      for (const view of copy.late) this.#tell(view, { from: view.from, count: view.pages }, copy.extents);
      copy.late.clear();
    }
    for (const view of this.#viewsOf(copy))
      if (view.size !== size && !view.behind) this.#tell(view, { from: view.from, count: 0 }, copy.extents);
  }
}

/**
 * Copies are only read: what is stored into one while the file gets newer content would be lost, and nothing
 * can make a store wait. ENOTSUP.
 */
export function assertMayMap(
  { mode, follow }: { readonly mode: View['mode']; readonly follow: View['follow'] },
  { userfault }: Session,
): void {
  if (mode === 'r' || (userfault !== undefined && follow === 'live')) return;
  const what = follow === 'manual' ? 'a view that follows by hand' : 'a client without userfaultfd';
  throw new FsError('ENOTSUP', 'map', {
    why: `the home of the file is another node: ${what} can only read it`,
  });
}

/** Read again and again. */
const seen = new InodeCopy();

/** The home is away, or has given the file to another node: it is asked again. */
const isPassing = ({ code }: FsError): boolean =>
  code === 'ECONNRESET' ||
  code === 'EAGAIN' ||
  code === 'ETIMEDOUT' ||
  code === 'ESTALE' ||
  code === 'EHOSTUNREACH';

/** The parts of `extents` whose pages are in `runs`. */
const within = (extents: readonly Extent[], runs: readonly Run[]): Extent[] =>
  extents.flatMap(({ filePage, page, count }) =>
    subtract([{ page, count }], subtract([{ page, count }], runs)).map((run) => ({
      filePage: filePage + run.page - page,
      ...run,
    })),
  );

/** Blocks that follow each other, as ranges of file pages. */
function inOrder(blocks: readonly number[]): Range[] {
  const ranges: { from: number; count: number }[] = [];
  for (const block of blocks) {
    const { from, count } = rangeOf(block);
    const last = ranges.at(-1);
    if (last !== undefined && last.from + last.count === from) last.count += count;
    else ranges.push({ from, count });
  }
  return ranges;
}
