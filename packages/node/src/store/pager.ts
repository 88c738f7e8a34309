/**
 * Bringing absent pages back: on the touch of a view, on a read by API, and before anything of the node's own
 * looks at them.
 *
 *   absent (a hole of `data`) ──touch, read, fetch──▶ read from the store, verified ──▶ present ──▶ wake
 *                                                                  └── damaged: stays absent, EIO
 *
 * A page is filled in one turn of the event loop, so nothing else sees it half done, and by pwrite into
 * `data`: tmpfs shows a page to nobody before it is whole, and all processes see it at once.
 * INVARIANT: what an absent page holds is as the store says, and zeros where it says nothing. So it is clean.
 * INVARIANT: a view over an absent page is registered with its client's userfaultfd, or was never given the
 * page.
 */
import { writeSync } from 'node:fs';
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
  InodeCopy,
  isFile,
  pageSize,
  readInode,
  rootIno,
  type Segment,
  setAbsent,
} from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { addressRange, arm } from '../coordinator/remap.ts';
import { clip, pageCountOf, subtract } from '../coordinator/runs.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { MetadataStore } from '../metadata/store.ts';
import type { StoreFile } from './store-file.ts';
import { partsWithin, type Range, type StoredExtent } from './stored.ts';

/** Pages that a touch brings in: 64 KiB, aligned in the file. */
const blockPages = 16;
/** A sequential reader is ahead of its touches by up to this much. */
const maxAheadPages = 256;
/** Pages that are brought in by one turn of the event loop, when somebody asks for many. */
const turnPages = 256;

/** Pages on their way, in one turn of the event loop. */
const scratch = Buffer.allocUnsafeSlow(turnPages * pageSize);

/** Where the last touches of a file went, to see that they go on. */
interface Stream {
  next: number;
  ahead: number;
}

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

export class Pager {
  readonly #c: Coordinator;
  readonly #published: Segment;
  readonly #store: MetadataStore;
  readonly #file: StoreFile | undefined;
  readonly #spinner: Spinner;
  readonly #polls = new Map<Session, native.DescriptorPoll>();
  readonly #streams = new Map<number, Stream>();
  /** File pages that are damaged, by inode. */
  readonly #damage = new Map<number, Set<number>>();
  #faults = 0;
  #fetchedPages = 0;

  constructor(c: Coordinator, { store, file, spinner }: PagerParts) {
    this.#c = c;
    this.#spinner = spinner;
    this.#published = c.journal.published;
    this.#store = store;
    this.#file = file;
  }

  get report(): PagerReport {
    return {
      absentBytes: this.absentPages * pageSize,
      faults: this.#faults,
      fetchedBytes: this.#fetchedPages * pageSize,
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

  get absentPages(): number {
    return counter(this.#published, 'absentPages');
  }

  /** The absent ones of the pages that `extents` name. */
  absentOf(extents: readonly Extent[]): Extent[] {
    return extents.flatMap(({ filePage, page, count }) =>
      absentRuns(this.#published, { page, count }).map((run) => ({
        filePage: filePage + run.page - page,
        page: run.page,
        count: run.count,
      })),
    );
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
    for (const run of runs) {
      if (absentRuns(this.#published, run).length > 0) setAbsent(this.#published, run, false);
    }
  }

  /**
   * Brings a range of a file in, at once. EIO names what is damaged, after everything else was brought in;
   * ENOSPC when tmpfs is full.
   */
  fetchNow(ino: number, { from, count }: Range): void {
    const file = this.#file;
    const absent = file === undefined ? [] : this.#inStore(ino, clip(this.#c.extents(ino), from, count));
    if (file === undefined || absent.length === 0) return;
    const bad: number[] = [];
    const first = (absent[0] as Extent).filePage;
    const last = absent.at(-1) as Extent;
    const stored = this.#store.storedIn(ino, first, last.filePage + last.count);
    this.#c.evictor?.touched(ino, { from: first, count: last.filePage + last.count - first });
    for (const e of absent) {
      for (let skip = 0; skip < e.count; skip += turnPages) {
        const part = { filePage: e.filePage + skip, page: e.page + skip };
        const run = { ...part, count: Math.min(turnPages, e.count - skip) };
        bad.push(...this.#fill(file, run, stored));
      }
    }
    if (bad.length > 0) throw this.#damaged(file, ino, bad);
  }

  /** The absent ones, but for those that are with other nodes. */
  #inStore(ino: number, extents: readonly Extent[]): Extent[] {
    const absent = this.absentOf(extents);
    const { blocks } = this.#c;
    if (blocks?.isShared(ino) !== true) return absent;
    return absent
      .flatMap(onePageEach)
      .filter(({ filePage }) => blocks.holds(ino, { from: filePage, count: 1 }, 'read'));
  }

  /** As `fetchNow`, with turns for others in between. */
  async fetch(ino: number, range: Range): Promise<void> {
    await this.#c.blocks?.acquire(ino, range, 'read');
    if (this.#file === undefined) return;
    const inode = new InodeCopy();
    const end = range.from + range.count;
    for (let from = range.from; from < end; from += turnPages) {
      if (!readInode(this.#c.segment, ino, inode) || !isFile(inode.mode)) return;
      const pages = Math.ceil(inode.size / pageSize);
      if (from >= pages) return;
      const count = Math.min(turnPages, end - from);
      await this.#makeRoom(ino, { from, count });
      this.fetchNow(ino, { from, count });
      if (from + turnPages < end) await new Promise((resolve) => setImmediate(resolve));
    }
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
        if (view.address === undefined || event.address < view.address) continue;
        const filePage = view.from + Math.floor((event.address - view.address) / pageSize);
        if (filePage >= view.from + view.pages) continue;
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
    const start = filePage - (filePage % blockPages);
    const stream = this.#streams.get(ino) ?? { next: -1, ahead: blockPages };
    stream.ahead = stream.next === start ? Math.min(maxAheadPages, stream.ahead * 2) : blockPages;
    stream.next = start + stream.ahead;
    this.#streams.set(ino, stream);
    const block = { from: start, count: stream.ahead };
    const hasRoom = this.#c.evictor?.hasRoom(stream.ahead) !== false;
    // Nothing gives way while clients of before are not back, and who waits here may be one of them.
    if (hasRoom || this.#c.unresolved.size > 0) this.#bring(view, filePage, block);
    else {
      // Whoever waits must not wait for ever: when nothing gives way, the limit does.
      this.#makeRoom(ino, block)
        .catch((error: unknown) => {
          if (!(error instanceof FsError) || error.code !== 'ENOSPC') this.#c.hub.report(error);
        })
        .finally(() => this.#bring(view, filePage, block));
    }
  }

  /** Answers the fault of a view on a page. */
  #bring(view: View, filePage: number, block: Range): void {
    if (!readInode(this.#c.segment, view.ino, new InodeCopy())) return;
    try {
      this.fetchNow(view.ino, block);
    } catch (error) {
      // The page itself may be whole.
      this.#c.hub.report(error);
      if (this.absentOf(clip(view.extents, filePage, 1)).length > 0) this.#poison(view, filePage);
    }
    for (const other of this.#c.viewsOf(view.ino)) wake(other, block);
    // Who touches one page goes on to touch others.
    this.#spinner.expect();
  }

  /** Nobody will ever bring the page: whoever touches it is told so, by SIGBUS. */
  #poison(view: View, filePage: number): void {
    const range = addressRange(view, filePage, 1);
    if (range === undefined || view.session.userfault === undefined) return;
    native.poisonUserfault(view.session.userfault, range.address, range.length);
  }

  /** Fills absent pages; the file pages that cannot be. */
  #fill(file: StoreFile, { filePage, page, count }: Extent, stored: readonly StoredExtent[]): number[] {
    const bad: number[] = [];
    let next = filePage;
    const upTo = (end: number): Buffer => {
      const part = scratch.subarray((next - filePage) * pageSize, (end - filePage) * pageSize);
      next = end;
      return part;
    };
    for (const part of partsWithin(stored, { from: filePage, count })) {
      upTo(part.filePage).fill(0);
      const damaged = file.readNow(part, upTo(part.filePage + part.count));
      bad.push(...damaged.map((index) => part.filePage + index));
    }
    upTo(filePage + count).fill(0);
    const whole = runsWithout({ from: filePage, count }, bad);
    for (const run of whole) {
      const skip = run.from - filePage;
      writeSync(this.#c.data.fd, scratch, skip * pageSize, run.count * pageSize, (page + skip) * pageSize);
      setAbsent(this.#published, { page: page + skip, count: run.count }, false);
      this.#fetchedPages += run.count;
    }
    return bad;
  }

  #damaged(file: StoreFile, ino: number, bad: readonly number[]): FsError {
    const known = this.#damage.get(ino) ?? new Set();
    for (const filePage of bad) known.add(filePage);
    this.#damage.set(ino, known);
    const offset = Math.min(...bad) * pageSize;
    const path = pathOf(this.#store, ino) ?? `inode ${ino}`;
    const why = `byte ${offset} is not in ${file.path} as it was written`;
    return new FsError('EIO', 'read', { path, why });
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
  return { from: filePage, count: Math.min(next, from + pages, filePage + maxAheadPages) - filePage };
}

/** Zeros for who touches a hole beside absent pages: its memory waits for the node as theirs does. */
function putZeros(view: View, hole: Range): void {
  const range = addressRange(view, hole.from, hole.count);
  if (range === undefined || view.session.userfault === undefined || view.session.ended) return;
  try {
    if (native.zeroUserfault(view.session.userfault, range.address, range.length) > 0) return;
  } catch (error) {
    // Mapped anew meanwhile, or gone.
    if (!(error instanceof FsError)) throw error;
  }
  wake(view, hole);
}

const onePageEach = ({ filePage, page, count }: Extent): Extent[] =>
  Array.from({ length: count }, (_, i) => ({ filePage: filePage + i, page: page + i, count: 1 }));

/** A range without some of its pages. */
function runsWithout({ from, count }: Range, without: readonly number[]): Range[] {
  const skip = new Set(without);
  const runs: { from: number; count: number }[] = [];
  for (let at = from; at < from + count; at++) {
    if (skip.has(at)) continue;
    const last = runs.at(-1);
    if (last !== undefined && last.from + last.count === at) last.count++;
    else runs.push({ from: at, count: 1 });
  }
  return runs;
}

/** Brings pages in for a client that reads them by API. */
export async function fetchFor(c: Coordinator, request: Request<'fetch'>): Promise<Reply<'fetch'>> {
  await c.pager?.fetch(request.ino, { from: request.from, count: request.count });
  return {};
}
