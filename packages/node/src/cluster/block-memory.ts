/**
 * The memory of this node's processes, as coherence.md wants it: blocks are put in, protected and taken away
 * under live views.
 *
 * INVARIANT: when a block is gone, its pages are absent, and every view of it is registered: who touches it
 * waits. When it may only be read, every view that could store into it is protected there.
 * INVARIANT: nothing is begun under a write in place of a client, nor while a view owes an answer to a remap:
 * what it is about to map is not registered; nor before all clients of a node that was killed are back or
 * dead.
 */
import { readSync, writeSync } from 'node:fs';
import { type Extent, FsError, native } from '@cluster-fs/transport';
import type { Memory } from 'cluster-fs/coherence';
import { countEviction, pageSize } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { poison } from '../coordinator/poison.ts';
import { addressRange, arm } from '../coordinator/remap.ts';
import { clip, pageCountOf } from '../coordinator/runs.ts';
import type { View } from '../coordinator/session.ts';
import { revokeSession } from '../coordinator/sessions.ts';
import type { Range } from '../store/stored.ts';
import { nothing } from './block-buffers.ts';
import { blockPages, inoOf, rangeOf } from './blocks.ts';
import { stopped } from './stopping.ts';

/** What the owner of the blocks does when something has happened to one. */
export interface BlockEvents {
  /** `drop` or `protect` is done. The bytes are none where nobody wants them. */
  done(block: number, bytes: Buffer): void;
  /** Whether `done` needs the bytes: most copies that go were only read, and are elsewhere, too. */
  isWanted(block: number): boolean;
  /** The bytes are taken from `data` in a moment, and are nowhere else here. */
  dropping?(block: number, bytes: () => Buffer): void;
  dropped(block: number, pages: number): void;
  installed(block: number, pages: number): void;
  /** Pages that the store alone has must be there before they are read. */
  bringIn?(block: number): void;
  lost(block: number): void;
  /** Somebody may store into the block in the next moment. */
  storable?(block: number): void;
  /** For the bytes of a block. */
  memoryFor(length: number): Buffer;
}

type Job = 'drop' | 'protect';

/** Blocks of one file that follow each other. */
interface BlockRun {
  readonly first: number;
  readonly count: number;
}

const one = (first: number): BlockRun => ({ first, count: 1 });

/** A client that has not answered a remap for so long is stopped, and holds no other node up. */
const answerMs = 3000;
/** How long a request waits for a block. Who touches one waits on. */
export const requestMs = 30_000;

export class BlockMemory implements Memory<Buffer> {
  readonly #c: Coordinator;
  readonly #events: BlockEvents;
  readonly #jobs = new Map<number, Job>();
  /** Those that were begun in this turn of the event loop. */
  #begun: number[] = [];
  readonly #waiters = new Map<number, Set<(error?: FsError) => void>>();
  /** For whom somebody may wait no more; told at the end of this turn of the event loop. */
  #waking: number[] = [];
  /** Those of them in whose views for storing everybody was woken in this turn. */
  #awake = new Set<number>();
  #closed = false;

  constructor(c: Coordinator, events: BlockEvents) {
    this.#c = c;
    this.#events = events;
  }

  close(): void {
    this.#closed = true;
    for (const waiters of this.#waiters.values()) for (const end of waiters) end(stopped('ECONNRESET'));
    this.#waiters.clear();
  }

  drop(block: number): void {
    this.#begin(block, 'drop');
  }

  protect(block: number): void {
    this.#begin(block, 'protect');
  }

  #begin(block: number, kind: Job): void {
    const isUnderWay = this.#jobs.has(block);
    this.#jobs.set(block, kind);
    if (isUnderWay) return;
    // queueMicrotask would make an AsyncResource for each.
    if (this.#begun.length === 0) void done.then(this.#attemptAll);
    this.#begun.push(block);
  }

  readonly #attemptAll = (): void => {
    const deadlineMs = performance.now() + answerMs;
    const begun = this.#begun;
    this.#begun = [];
    for (const run of this.#runsIn(begun))
      if (run.count > 1 && this.#isFree(run)) this.#perform(run);
      else for (let i = 0; i < run.count; i++) this.#attempt(run.first + i, deadlineMs);
  };

  /** Blocks that follow each other, and to which the same is done. */
  #runsIn(blocks: readonly number[]): BlockRun[] {
    const runs: { first: number; count: number; kind: Job | undefined }[] = [];
    for (const block of blocks) {
      const kind = this.#jobs.get(block);
      const last = runs.at(-1);
      const isBehind = last !== undefined && last.first + last.count === block;
      if (isBehind && last.kind === kind && inoOf(block) === inoOf(last.first)) last.count++;
      else runs.push({ first: block, count: 1, kind });
    }
    return runs;
  }

  #isFree(run: BlockRun): boolean {
    if (this.#closed || !this.#jobs.has(run.first) || this.#obstacle(run) !== undefined) return false;
    for (let i = 0; i < run.count; i++) if (!this.#isWhole(run.first + i)) return false;
    return true;
  }

  /** What was begun is not done: the block is somebody else's. */
  cancel(block: number): void {
    this.#jobs.delete(block);
  }

  #attempt(block: number, deadlineMs: number): void {
    if (this.#closed || !this.#jobs.has(block)) return;
    const late = this.#obstacle(one(block));
    if (late === undefined && this.#isWhole(block)) {
      this.#perform(one(block));
      return;
    }
    const leftMs = deadlineMs - performance.now();
    if (leftMs <= 0 && typeof late === 'object') this.#revoke(late, 'another node waits');
    void this.#c.answers.next(Math.max(leftMs, 20)).then(() => this.#attempt(block, deadlineMs));
  }

  #revoke({ path, session }: View, why: string): void {
    revokeSession(this.#c, session, `${why} for ${path}, and the client does not answer`);
  }

  /** Brings in what the store alone has; false when it cannot be read there: nobody gets wrong bytes. */
  #isWhole(block: number): boolean {
    try {
      this.#events.bringIn?.(block);
      return true;
    } catch (error) {
      this.#c.hub.report(error);
      return false;
    }
  }

  /** What is in the way: a write in place, a view that owes an answer, or one that nobody knows yet. */
  #obstacle({ first, count: blocks }: BlockRun): View | 'write' | 'unresolved' | undefined {
    // A client of before a crash may store through a view that it has not presented yet: nobody could arm it.
    if (this.#c.unresolved.size > 0) return 'unresolved';
    const ino = inoOf(first);
    const range = { from: rangeOf(first).from, count: blocks * blockPages };
    const begin = range.from * pageSize;
    const end = begin + range.count * pageSize;
    for (const { grants } of this.#c.sessions.values())
      for (const { ino: written, offset, length } of grants.values())
        if (written === ino && offset < end && begin < offset + length) return 'write';
    for (const grant of this.#c.brokenGrants) if (grant.ino === ino) return 'write';
    // One that is not mapped yet is registered when it is.
    for (const view of this.#viewsOf(first, blocks))
      if (!view.session.ended && view.unanswered.some((r) => overlaps(r, range))) return view;
    return undefined;
  }

  /** Requires: one job for all of them, and no obstacle. */
  #perform({ first, count }: BlockRun): void {
    const kind = this.#jobs.get(first);
    // Who only reads goes on with what nobody stores into any more.
    for (const view of this.#viewsOf(first, count))
      if (kind === 'drop' || view.mode === 'rw') this.#guard(view, first, count);
    for (let block = first; block < first + count; block++) {
      const job = this.#jobs.get(block);
      // The one before has changed what is to be done to it.
      if (job !== undefined && job !== kind) this.#attempt(block, performance.now() + answerMs);
      else if (job !== undefined) this.#finish(block, job);
    }
  }

  #finish(block: number, kind: Job): void {
    this.#jobs.delete(block);
    let bytes = this.#events.isWanted(block) ? this.read(block) : undefined;
    if (kind === 'drop') {
      this.#events.dropping?.(block, () => {
        bytes ??= this.read(block);
        return bytes;
      });
      this.#events.dropped(block, pageCountOf(this.#punch(block)));
    }
    this.#events.done(block, bytes ?? nothing);
  }

  /**
   * The bytes go, and the right to them stays. Requires: they are only read. False when that would be wrong
   * just now.
   */
  forgetBytes(block: number): boolean {
    if (this.#jobs.has(block) || this.#obstacle(one(block)) !== undefined) return false;
    for (const view of this.#viewsOf(block)) this.#guard(view, block);
    this.#punch(block);
    return true;
  }

  /**
   * Whoever stores into a block from here on waits, until `allow`. Requires: processes may store into it.
   * False when somebody could not be made to wait just now: who does not answer is not waited for for long.
   */
  holdStores(block: number): boolean {
    if (this.#jobs.has(block)) return false;
    const late = this.#obstacle(one(block));
    if (typeof late === 'object' && owesMs(this.#c, late) > answerMs) this.#revoke(late, 'others wait');
    if (late !== undefined) return false;
    for (const view of this.#viewsOf(block)) if (view.mode === 'rw') this.#guard(view, block);
    return true;
  }

  #punch(block: number): Extent[] {
    const extents = this.#extents(block);
    this.#c.pager?.setAbsent(extents);
    countEviction(this.#c.journal.published);
    this.#c.data.punch(extents);
    return extents;
  }

  /** Whoever stores into the block waits, and so does who touches what is absent. */
  #guard(view: View, block: number, blocks = 1): void {
    const range = addressRange(view, rangeOf(block).from, blocks * blockPages);
    if (range !== undefined) arm(this.#c, view, range, { writeProtect: view.mode === 'rw' });
  }

  /** A view is new: what it may not store into is protected. */
  guard(view: View, blocks: Iterable<number>): void {
    for (const block of blocks) this.#guard(view, block);
  }

  install(block: number, bytes: Buffer, access: 'read' | 'write'): void {
    const views = this.#viewsOf(block);
    // A view that was mapped meanwhile waits for pages alone: with the first it may store.
    if (access === 'write') this.#events.storable?.(block);
    if (access === 'read') for (const view of views) if (view.mode === 'rw') this.#guard(view, block);
    const extents = this.#extents(block);
    const { from } = rangeOf(block);
    for (const { filePage, page, count } of extents) {
      const at = (filePage - from) * pageSize;
      const length = Math.min(count * pageSize, Math.max(0, bytes.length - at));
      if (length > 0) writeSync(this.#c.data.fd, bytes, at, length, page * pageSize);
      // What the sender left out is zeros.
      if (length < count * pageSize) this.#c.data.zero(page * pageSize + length, count * pageSize - length);
    }
    this.#c.pager?.forget(extents);
    // Before anybody can store: until then it is the same in either place, whichever a node of after finds.
    this.#events.installed(block, pageCountOf(extents));
    if (access === 'write') this.#letStore(views, block);
  }

  allow(block: number): void {
    this.#events.storable?.(block);
    this.#letStore(this.#viewsOf(block), block);
  }

  /** Who waits in a view that may store is woken with that. */
  #letStore(views: readonly View[], block: number): void {
    let isDone = true;
    for (const view of views) if (view.mode === 'rw' && !this.#tell(view, block, unprotect)) isDone = false;
    if (!isDone) return;
    this.#wakeSoon();
    this.#awake.add(block);
  }

  read(block: number): Buffer {
    const { from } = rangeOf(block);
    const extents = this.#extents(block);
    const last = extents.at(-1);
    const pages = last === undefined ? 0 : last.filePage + last.count - from;
    const bytes = this.#events.memoryFor(pages * pageSize);
    if (pageCountOf(extents) < pages) bytes.fill(0);
    for (const { filePage, page, count } of extents)
      readSync(this.#c.data.fd, bytes, (filePage - from) * pageSize, count * pageSize, page * pageSize);
    return bytes;
  }

  wake(block: number): void {
    this.#wakeSoon();
    this.#waking.push(block);
    this.#settle(block);
  }

  #wakeSoon(): void {
    if (this.#waking.length === 0 && this.#awake.size === 0) void done.then(this.#wakeAll);
  }

  /** Who reads in order has several blocks by then, and is interrupted once. */
  readonly #wakeAll = (): void => {
    const [blocks, awake] = [this.#waking, this.#awake];
    this.#waking = [];
    this.#awake = new Set();
    for (let at = 0; at < blocks.length; ) {
      const first = blocks[at] as number;
      let count = 1;
      while (blocks[at + count] === first + count && inoOf(first + count) === inoOf(first)) count++;
      at += count;
      const isAwake = count === 1 && awake.has(first);
      for (const view of this.#viewsOf(first, count))
        if (!isAwake || view.mode === 'r') this.#tell(view, first, native.wakeUserfault, count);
    }
  };

  fail(block: number): void {
    for (const view of this.#viewsOf(block)) poison(view, rangeOf(block));
    this.#settle(block, new FsError('EIO', 'read', { why: 'the home of the file cannot give it' }));
  }

  lose(block: number): void {
    this.#events.lost(block);
  }

  /** Whoever waits for a block by a request gets an error; who touched one waits on. */
  failRequests(error: FsError): void {
    for (const block of [...this.#waiters.keys()]) this.#settle(block, error);
  }

  /** Resolves when something has become of who waits for the block; ETIMEDOUT after `limitMs`. */
  changed(block: number, limitMs?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = limitMs === undefined ? undefined : setTimeout(() => settle(notGiven()), limitMs);
      const settle = (error?: FsError): void => {
        clearTimeout(timer);
        if (error === undefined) resolve();
        else reject(error);
      };
      const waiters = this.#waiters.get(block) ?? new Set();
      this.#waiters.set(block, waiters);
      waiters.add(settle);
    });
  }

  #settle(block: number, error?: FsError): void {
    const waiters = this.#waiters.get(block);
    this.#waiters.delete(block);
    for (const end of waiters ?? []) end(error);
  }

  #viewsOf(block: number, blocks = 1): View[] {
    const { from } = rangeOf(block);
    const count = blocks * blockPages;
    return [...this.#c.viewsOf(inoOf(block))].filter(
      (view) => !view.isCopy && view.from < from + count && from < view.from + view.pages,
    );
  }

  #extents(block: number) {
    return extentsIn(this.#c, block);
  }

  /** Whether it could be told. */
  #tell(
    view: View,
    block: number,
    what: (fd: number, address: number, length: number) => unknown,
    blocks = 1,
  ): boolean {
    const { userfault, ended } = view.session;
    const range = addressRange(view, rangeOf(block).from, blocks * blockPages);
    if (range === undefined || userfault === undefined || ended) return false;
    try {
      what(userfault, range.address, range.length);
      return true;
    } catch (error) {
      // Nothing is registered there, or it is unmapped, or its process is gone: nobody waits.
      if (!(error instanceof FsError)) throw error;
      return false;
    }
  }
}

/** What the file has in the block; nothing when it is gone. */
export function extentsIn(c: Coordinator, block: number): Extent[] {
  const { from, count } = rangeOf(block);
  return clip(extentsOf(c, inoOf(block)), from, count);
}

/** What the file has; nothing when it is gone. */
export function extentsOf(c: Coordinator, ino: number): Extent[] {
  try {
    return c.extents(ino);
  } catch (error) {
    if (error instanceof FsError && error.code === 'ESTALE') return [];
    throw error;
  }
}

const unprotect = (fd: number, address: number, length: number): void =>
  native.writeProtectUserfault(fd, address, length, false);

const done = Promise.resolve();

/** Since when a view owes an answer. */
const owesMs = (c: Coordinator, { unanswered }: View): number => c.now() - (unanswered[0]?.sentMs ?? c.now());

const overlaps = (a: Range, b: Range): boolean => a.from < b.from + b.count && b.from < a.from + a.count;

const notGiven = (): FsError =>
  new FsError('ETIMEDOUT', 'read', { why: 'the home of the file does not give the block' });

/** ETIMEDOUT when it takes longer: the home does not give a block, because it cannot read it, say. */
export async function inTime(work: Promise<unknown>, limitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(notGiven()), limitMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
