/**
 * Bringing content from the segment to the store: on request, and by itself after a while. See docs/store.md.
 *
 *   clean ──change──▶ dirty ──round: snapshot──▶ being written ──commit──▶ clean
 *                       ▲                             └── changed meanwhile, or failed ──┐
 *                       └────────────────────────────────────────────────────────────────┘
 *
 * One round at a time. Whoever asks while one runs is answered by the next, as his change may be too late for
 * this; unless all that he asks for is in it. What is likely to be synced next is stored before it is asked
 * for (sync-habit.ts).
 * INVARIANT: an inode whose content may be newer than what is stored has a row in `dirty` before its change
 * is answered.
 */
import type { Run } from '@cluster-fs/transport';
import { InodeCopy, pageSize, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { MetadataStore } from '../metadata/store.ts';
import { Dirty } from './dirty.ts';
import { Gathering } from './gathering.ts';
import { placesOf, redoPages, type Snapshot, takeSnapshot, type WrittenPiece } from './snapshot.ts';
import type { StoreFile } from './store-file.ts';
import { afterChange, changeStored, type Range, type StoredExtent } from './stored.ts';
import { SyncHabits } from './sync-habit.ts';

export interface WriteBackOptions {
  readonly file: StoreFile;
  readonly store: MetadataStore;
  /** How old a change may become that nobody asked to be synced, in milliseconds. */
  readonly afterMs: number;
}

export interface Synced {
  /** Pages that were written to the store. */
  readonly pages: number;
}

interface Waiter {
  /** Undefined: all that are dirty when the round begins, also what the one before it could not store. */
  readonly inos: readonly number[] | undefined;
  /** Whether it waits for SQLite's log to be on the disk, and not for the commit alone. */
  readonly isFlushed: boolean;
  resolve(synced: Synced): void;
  reject(error: unknown): void;
}

/** The round that runs. */
interface Round {
  readonly waiters: Waiter[];
  /** Whether it ends with a flush of the log. */
  readonly isFlushed: boolean;
  /** How many commits that flush brings to the disk; undefined until it begins. */
  commits: number | undefined;
}

/** What the store says of itself. */
export interface StoreReport {
  readonly path: string;
  readonly dirtyFiles: number;
  readonly oldestDirtyMs: number;
  readonly writeBackMs: number;
  /** Why the last write-back failed; null when it did not. */
  readonly failure: string | null;
}

/** Pages for which the log stands in for the data file; more are ended by a flush of that. */
const mostRedoPages = 384;

function pagesOf(piece: WrittenPiece): WrittenPiece[] {
  const { place, bytes } = piece;
  if (bytes.length === pageSize) return [piece];
  return Array.from({ length: bytes.length / pageSize }, (_, i) => ({
    place: place + i,
    bytes: bytes.subarray(i * pageSize, (i + 1) * pageSize),
  }));
}

/** How often the clock is looked at, while a change becomes so old that it is due. */
const looks = 20;

export class WriteBack {
  readonly file: StoreFile;
  readonly dirty = new Dirty();
  readonly #store: MetadataStore;
  readonly #afterMs: number;
  readonly #timer: NodeJS.Timeout;
  /** Inodes with a row in `dirty`, in the working copy. */
  readonly #named = new Set<number>();
  /** What is stored of inodes when the commit that is on its way is made, where that changes it. */
  readonly #storedNext = new Map<number, readonly StoredExtent[]>();
  /** Inodes of the round that runs: what was read of them is not committed yet. */
  readonly #underWay = new Set<number>();
  #coordinator: Coordinator | undefined;
  #waiting: Waiter[] = [];
  readonly #gathering = new Gathering();
  #running: Promise<void> | undefined;
  #current: Round | undefined;
  readonly #habits = new SyncHabits();
  /** Places that the last durable state may still name. */
  #retired: Run[] = [];
  #flushedCommits = 0;
  #closing = false;
  #isResting = false;
  /** In the redo log. */
  #redoPages = 0;
  /** The disk has refused a part of the data file: what the redo log has may never come there by itself. */
  #isDataDoubted = false;
  #failure: string | null = null;
  #releasesSeen = 0;

  constructor({ file, store, afterMs }: WriteBackOptions) {
    this.file = file;
    this.#store = store;
    this.#afterMs = afterMs;
    this.#timer = setInterval(() => this.#look(), Math.max(1, afterMs / looks));
    this.#timer.unref();
  }

  /** Requires: before anything else. */
  start(c: Coordinator): void {
    this.#coordinator = c;
    // What was dirty when the last node died: nobody knows which pages of it.
    for (const ino of this.#store.dirty()) {
      this.#named.add(ino);
      this.dirty.mark(ino, 'all', c.now());
    }
  }

  get report(): StoreReport {
    const c = this.#coordinator as Coordinator;
    const oldest = this.dirty.oldestMs;
    return {
      path: this.file.path,
      dirtyFiles: this.dirty.size,
      oldestDirtyMs: oldest === undefined ? 0 : Math.max(0, c.now() - oldest),
      writeBackMs: this.#afterMs,
      failure: this.#failure,
    };
  }

  /**
   * The content of file pages changes, or may from now on. Requires: inside mutate. A change that is undone
   * leaves its mark in memory, which says more than is so: what others marked meanwhile must stay.
   */
  mark(c: Coordinator, ino: number, range: Range | 'all'): void {
    this.dirty.mark(ino, range, c.now());
    this.#gathering.changed();
    if (this.#named.has(ino)) return;
    c.journal.change({ type: 'markDirty', ino });
    this.#setNamed(c, ino, true);
  }

  #setNamed(c: Coordinator, ino: number, isNamed: boolean): void {
    const set = (to: boolean): unknown => (to ? this.#named.add(ino) : this.#named.delete(ino));
    const before = this.#named.has(ino);
    set(isNamed);
    c.writer.onRollback(() => set(before));
  }

  /** Whether the round that runs reads pages of the inode: the store has them only when it is committed. */
  isUnderWay(ino: number): boolean {
    return this.#underWay.has(ino);
  }

  /** An inode goes, or becomes another node's, and what is stored of it goes. Requires: inside mutate. */
  forget(c: Coordinator, ino: number): void {
    const ranges = this.dirty.take(ino);
    c.writer.onRollback(() => {
      for (const range of ranges === 'all' ? [ranges] : (ranges ?? [])) this.dirty.mark(ino, range, c.now());
    });
    const runs = placesOf(this.#storedAfterTurn(ino));
    this.#setStored(c, ino, []);
    c.journal.change({ type: 'forgetStored', ino });
    this.#habits.forget(ino);
    this.#setNamed(c, ino, false);
    c.journal.afterCommit(() => this.#retired.push(...runs));
  }

  /** With all that was changed in this turn: several who change it then must let go of each place once. */
  #storedAfterTurn(ino: number): readonly StoredExtent[] {
    return this.#storedNext.get(ino) ?? this.#store.stored(ino);
  }

  #setStored(c: Coordinator, ino: number, extents: readonly StoredExtent[]): void {
    const before = this.#storedNext.get(ino);
    this.#storedNext.set(ino, extents);
    c.writer.onRollback(() => {
      if (before === undefined) this.#storedNext.delete(ino);
      else this.#storedNext.set(ino, before);
    });
    c.journal.afterCommit(() => this.#storedNext.delete(ino));
  }

  /**
   * Makes files durable, with everything that was answered before of names and attributes. Without `inos`,
   * all.
   */
  sync(inos?: readonly number[]): Promise<Synced> {
    return this.#ask(inos, { isFlushed: true });
  }

  /** As `sync` of one file, which its user asked for. */
  syncFile(ino: number): Promise<Synced> {
    this.#habits.synced(ino);
    const round = this.#current;
    if (round === undefined || !this.#has(round, ino)) return this.sync([ino]);
    return new Promise((resolve, reject) => {
      round.waiters.push({ inos: [ino], isFlushed: true, resolve, reject });
    });
  }

  /** Whether all that was answered of a file, and of names and attributes, is durable when the round ends. */
  #has({ isFlushed, commits }: Round, ino: number): boolean {
    if (!isFlushed || !this.#underWay.has(ino) || this.dirty.has(ino) || this.isMappedToWrite(ino))
      return false;
    return commits === undefined || commits === this.#coordinator?.journal.commits;
  }

  /** A request has changed what is in a file, and is being answered: a sync may follow. */
  wrote(ino: number): void {
    if (!this.#habits.wrote(ino)) return;
    // When the answer is on its way. Should it fail, the sync has its own try, and says so.
    setImmediate(() => {
      if (!this.#closing && !this.#isResting) this.sync([ino]).catch(() => undefined);
    });
  }

  /**
   * Brings the content of files before everything that is changed from here on: a loss of power that leaves
   * any of that leaves this content too. It costs no flush of SQLite's log.
   */
  async commit(inos: readonly number[]): Promise<void> {
    await this.#ask(inos, { isFlushed: false });
  }

  #ask(inos: readonly number[] | undefined, { isFlushed }: { isFlushed: boolean }): Promise<Synced> {
    return new Promise((resolve, reject) => {
      this.#gathering.asked(inos ?? []);
      this.#waiting.push({ inos, isFlushed, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /**
   * Sessions are about to end whose clients go on: from here on all that is dirty stays so, for the node that
   * comes after, since they may store into it. A last `sync` is next, when nobody is served.
   */
  rest(): void {
    clearInterval(this.#timer);
    this.#isResting = true;
  }

  /** Writes everything, and ends. Requires: no session is left that could change anything. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    // What a client stores from here on is of no file any more.
    this.#closing = true;
    do await this.sync();
    while (this.dirty.size > 0);
  }

  /** Closes the file without writing anything more. */
  abandon(): void {
    clearInterval(this.#timer);
    this.file.close();
  }

  /** Stores through a view tell nobody; nor do those of a client that has not come back since a crash. */
  readonly isMappedToWrite = (ino: number): boolean => {
    if (this.#closing) return false;
    // What is stored into blocks of another home is known when it has this file.
    if (this.#coordinator?.blocks?.isOwn(ino) === false) return false;
    if (this.#isResting || (this.#coordinator?.unresolved.size ?? 0) > 0) return true;
    for (const view of this.#coordinator?.viewsOf(ino) ?? []) if (view.mode === 'rw') return true;
    return false;
  };

  /** What is stored of a file. */
  readonly stored = (ino: number): readonly StoredExtent[] => this.#store.stored(ino);

  #look(): void {
    const c = this.#coordinator as Coordinator;
    this.#giveBack();
    const old = this.dirty.inos(c.now() - this.#afterMs);
    const isDue = old.length > 0 || c.journal.commits > this.#flushedCommits;
    if (this.#running !== undefined || !isDue) return;
    this.sync(old).catch((error: unknown) => c.hub.report(error));
  }

  /**
   * Places that were let go of become holes when no more were since the last look: who syncs now takes them
   * again, and must not wait for the disk's file system.
   */
  #giveBack(): void {
    const releases = this.file.releases;
    const isIdle = releases === this.#releasesSeen;
    this.#releasesSeen = releases;
    if (!isIdle) return;
    try {
      this.file.trim();
    } catch (error) {
      (this.#coordinator as Coordinator).hub.report(error);
    }
  }

  async #run(): Promise<void> {
    // Those who ask in the same turn are in the same round.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      await this.#gathering.isTime();
      const waiters = this.#waiting;
      this.#waiting = [];
      this.#gathering.begins();
      try {
        const inos = new Set(waiters.flatMap((waiter) => waiter.inos ?? this.dirty.inos()));
        const isFlushed = waiters.some((waiter) => waiter.isFlushed);
        const round: Round = { waiters, isFlushed, commits: undefined };
        this.#current = round;
        const synced = await this.#holding(inos, () => this.#round(inos, round));
        this.#gathering.ended(inos);
        this.#failure = null;
        for (const { resolve } of waiters) resolve(synced);
      } catch (error) {
        this.#failure = error instanceof Error ? error.message : String(error);
        for (const { reject } of waiters) reject(error);
      }
      this.#current = undefined;
    }
    this.#running = undefined;
  }

  /**
   * Runs a round with its inodes kept alive: one that loses its last name is forgotten when SQLite names what
   * the round has stored of it, so that each place is let go once.
   */
  async #holding(inos: ReadonlySet<number>, round: () => Promise<Synced>): Promise<Synced> {
    const c = this.#coordinator as Coordinator;
    for (const ino of inos) {
      this.#underWay.add(ino);
      c.refer(ino);
    }
    try {
      // What was forgotten in this turn is not another file's when SQLite is asked for it.
      const flushing = c.journal.nextFlush();
      if (flushing !== undefined) await flushing;
      return await round();
    } finally {
      for (const ino of inos) {
        this.#underWay.delete(ino);
        c.unrefer(ino);
      }
    }
  }

  async #round(inos: ReadonlySet<number>, round: Round): Promise<Synced> {
    const c = this.#coordinator as Coordinator;
    const taken: Snapshot[] = [];
    let isCommitted = false;
    try {
      // Before a place of it is written for another page.
      if (this.#isDataDoubted) this.#redoAgain();
      for (const ino of inos) {
        const snapshot = await takeSnapshot(c, this, ino);
        if (snapshot !== undefined) taken.push(snapshot);
      }
      const places = taken.flatMap(({ written }) => placesOf(written));
      const pages = places.reduce((sum, { count }) => sum + count, 0);
      const redo = this.#redoFor(taken, pages);
      if (redo === undefined && pages > 0) await this.#flushData();
      // The commit may have happened, and mutate fail: others could not be told of it.
      const committed = (retired: readonly Run[]): void => {
        isCommitted = true;
        // What is retired before the commit is named by nobody after it.
        this.#retired.push(...retired);
      };
      if (taken.length > 0)
        await c.journal.mutate(() => {
          const retired = this.#record(c, taken, redo);
          c.journal.afterCommit(() => committed(retired));
        });
      if (!round.isFlushed) return { pages };
      // Also what was changed of names and attributes, in this turn too.
      const flushing = c.journal.nextFlush();
      if (flushing !== undefined) await flushing;
      const { commits } = c.journal;
      round.commits = commits;
      const released = this.#retired.splice(0);
      await this.#flushLog(commits, released);
      return { pages };
    } catch (error) {
      // What is committed needs only its flush, which whoever syncs next asks for again.
      if (isCommitted) throw error;
      for (const { ino, ranges } of taken) for (const range of ranges) this.dirty.mark(ino, range, c.now());
      // Nobody names them, and a disk that is full needs them.
      this.file.release(taken.flatMap(({ written }) => placesOf(written)));
      throw error;
    }
  }

  /**
   * The bytes of a small round, for the redo log: they are durable with the commit, and the data file need
   * not be flushed. Undefined for a large one, whose flush ends the log.
   */
  #redoFor(taken: readonly Snapshot[], pages: number): WrittenPiece[] | undefined {
    if (pages > redoPages || this.#redoPages + pages > mostRedoPages) return undefined;
    // Page by page: a place that was used before must have one entry, and the newest.
    const newest = new Map<number, WrittenPiece>();
    for (const { pieces } of taken) for (const page of pieces.flatMap(pagesOf)) newest.set(page.place, page);
    const redo: WrittenPiece[] = [];
    for (const { page: first, count } of taken.flatMap(({ written }) => placesOf(written)))
      for (let place = first; place < first + count; place++) {
        const piece = newest.get(place);
        // A file that changed again and again while it was read has more pieces than were kept.
        if (piece === undefined) return undefined;
        redo.push(piece);
      }
    return redo;
  }

  /**
   * What was written since the last flush may never come to the disk when this fails, and the next one
   * succeeds without it (fsync(2), NOTES).
   */
  async #flushData(): Promise<void> {
    try {
      await this.file.flush();
    } catch (error) {
      this.#isDataDoubted = true;
      throw error;
    }
  }

  #redoAgain(): void {
    this.file.redo(this.#store.redo());
    this.#isDataDoubted = false;
  }

  async #flushLog(commits: number, released: Run[]): Promise<void> {
    try {
      if (commits > this.#flushedCommits) await this.#store.flush();
    } catch (error) {
      this.#retired.push(...released);
      throw error;
    }
    this.#flushedCommits = commits;
    if (released.length > 0) this.file.release(released);
  }

  /** The places that the new state does not name any more. Requires: inside mutate. */
  #record(c: Coordinator, taken: readonly Snapshot[], redo: readonly WrittenPiece[] | undefined): Run[] {
    if (redo === undefined) c.journal.change({ type: 'clearRedo' });
    else for (const { place, bytes } of redo) c.journal.change({ type: 'putRedo', place, bytes });
    const redoBefore = this.#redoPages;
    this.#redoPages = redo === undefined ? 0 : redoBefore + redo.length;
    c.writer.onRollback(() => {
      this.#redoPages = redoBefore;
    });
    const retired: Run[] = [];
    const copy = new InodeCopy();
    for (const { ino, generation, size, mtimeMs, extents, ranges, written } of taken) {
      const isHere = readInode(c.segment, ino, copy) && copy.generation === generation;
      // Gone, or another node's by now.
      if (!isHere || c.blocks?.stores(ino) === false) {
        retired.push(...placesOf(written));
        continue;
      }
      const kept = extents.map(({ filePage, count }) => ({ from: filePage, count }));
      const before = this.#storedAfterTurn(ino);
      const change = changeStored(before, { rewritten: ranges, written, kept });
      this.#setStored(c, ino, afterChange(before, change));
      for (const filePage of change.remove) c.journal.change({ type: 'deleteStored', ino, filePage });
      for (const extent of change.put) c.journal.change({ type: 'putStored', ino, extent });
      c.journal.change({ type: 'putDurable', row: { ino, generation, size, mtimeMs } });
      retired.push(...change.freed);
      if (this.isMappedToWrite(ino)) this.dirty.mark(ino, 'all', c.now());
      if (this.dirty.has(ino)) continue;
      c.journal.change({ type: 'markClean', ino });
      this.#setNamed(c, ino, false);
    }
    return retired;
  }
}
