/**
 * The coordinator's state: the one writer of the segment, and everything that operations on it share.
 *
 * Operations live in the files beside this one as functions of a Coordinator. They change the working copy
 * inside
 * `journal.mutate`, and touch clients (punch, remap, reply) only after the commit.
 */
import { type Extent, FsError, type Run } from '@cluster-fs/transport';
import {
  DirectorySlots,
  freeChain,
  InodeCopy,
  isFile,
  readExtents,
  readInode,
  type Segment,
  type SegmentWriter,
} from 'cluster-fs/segment';
import type { DataFile } from '../data-file.ts';
import type { Limits } from '../limits.ts';
import type { MetadataStore } from '../metadata/store.ts';
import type { Evictor } from '../store/evictor.ts';
import type { Pager } from '../store/pager.ts';
import { type Range, wholeFile } from '../store/stored.ts';
import type { WriteBack } from '../store/write-back.ts';
import { type Access, type Blocks, moved, type Placing, type Routes, type Stores } from './elsewhere.ts';
import type { EventHub } from './event-hub.ts';
import type { LayoutGate } from './gate.ts';
import type { Journal } from './journal.ts';
import { Losses } from './losses.ts';
import { type Confined, hasLetGo, type Party, Quarantine } from './quarantine.ts';
import type { Recall, RecallPolicy } from './recall.ts';
import { overlap, pageCountOf, subtract } from './runs.ts';
import type { Grant, Reservation, Session, View } from './session.ts';
import { type HeldSession, SessionLocks } from './session-locks.ts';
import { Signal } from './signal.ts';

export interface CoordinatorOptions {
  readonly journal: Journal;
  readonly store: MetadataStore;
  readonly data: DataFile;
  readonly gate: LayoutGate;
  readonly hub: EventHub;
  /** Undefined when everything lives in tmpfs alone. */
  readonly writeBack: WriteBack | undefined;
  readonly epoch: number;
  readonly nextHeldId: number;
  readonly limits: Limits;
  readonly recallPolicy: RecallPolicy;
  /** Milliseconds since 1970, with fractions. */
  readonly now: () => number;
}

/** Pages that a file leaves, and who may still touch them. */
export interface Leaving {
  readonly runs: readonly Run[];
  readonly ino: number;
  readonly path: string;
  readonly parties: readonly Party[];
}

export class Coordinator {
  readonly journal: Journal;
  readonly writer: SegmentWriter;
  /** The working copy: what is true for the next operation, whether or not it is committed yet. */
  readonly segment: Segment;
  readonly store: MetadataStore;
  readonly data: DataFile;
  readonly gate: LayoutGate;
  readonly hub: EventHub;
  readonly writeBack: WriteBack | undefined;
  readonly epoch: number;
  readonly limits: Limits;
  readonly recallPolicy: RecallPolicy;
  readonly now: () => number;
  /** Set once, before anybody is served; undefined when no page is ever absent. */
  pager: Pager | undefined;
  evictor: Evictor | undefined;
  /** Gives files other homes; at the coordinator of a cluster. */
  placing: Placing | undefined;
  /** What other nodes store; undefined on a node alone. */
  stores: Stores | undefined;
  /** Which node answers what; undefined on a node alone. */
  routes: Routes | undefined;
  /** The blocks of files that other nodes have, or that are theirs; undefined on a node alone. */
  blocks: Blocks | undefined;
  readonly slots = new DirectorySlots();
  readonly quarantine: Quarantine;
  /** Changes that wait for clients to let go of the file. */
  readonly recalls = new Set<Recall>();
  /** Told of whenever a view answers, is mapped or goes, and when a recall has ended. */
  readonly answers = new Signal();
  readonly sessions = new Map<number, Session>();
  /** Views on each inode. */
  readonly views = new Map<number, Set<View>>();
  /** Handles and views that keep an inode alive. */
  readonly references = new Map<number, number>();
  /** Inodes without a name that somebody still refers to. */
  readonly orphans = new Set<number>();
  /** Whether an inode without a name may end when nobody refers to it here. */
  mayEnd: (ino: number) => boolean = () => true;
  /** Throws for extents that a file cannot have at this node: it has to tell another one of them. */
  assertMayHave: (ino: number, extents: readonly Extent[]) => void = () => undefined;
  /** Writes in place whose hold was broken and whose clients may still be storing. */
  readonly brokenGrants = new Set<Grant>();
  /** Rows of `held` for pages in use by moves of our own. */
  readonly ownReservations = new Set<Reservation>();
  readonly sessionLocks: SessionLocks;
  /** Sessions of before a crash that are not over yet: while there are any, no freed page is given away. */
  readonly unresolved = new Map<number, HeldSession>();
  /** Pages that nobody holds any more, kept back for sessions of before a crash. */
  readonly limbo: Confined[] = [];
  readonly losses: Losses;
  #isLeft = false;
  #nextId = 1;
  #nextHeldId: number;

  constructor(options: CoordinatorOptions) {
    this.journal = options.journal;
    this.writer = options.journal.writer;
    this.segment = options.journal.writer.segment;
    this.store = options.store;
    this.data = options.data;
    this.gate = options.gate;
    this.hub = options.hub;
    this.writeBack = options.writeBack;
    this.epoch = options.epoch;
    this.limits = options.limits;
    this.recallPolicy = options.recallPolicy;
    this.now = options.now;
    this.sessionLocks = new SessionLocks(options.data.directory);
    this.losses = new Losses(this);
    this.#nextHeldId = options.nextHeldId;
    this.quarantine = new Quarantine((confined) => this.#freeConfined(confined));
  }

  /** A number that no other handle, view, grant or session of this term has; the epoch keeps terms apart. */
  nextId(): number {
    return this.epoch * 2 ** 32 + this.#nextId++;
  }

  nextHeldId(): number {
    return this.#nextHeldId++;
  }

  inode(ino: number): InodeCopy {
    const copy = new InodeCopy();
    if (!readInode(this.segment, ino, copy))
      throw new FsError('ESTALE', 'read', { why: `inode ${ino} is gone` });
    return copy;
  }

  extents(ino: number): Extent[] {
    return readExtents(this.segment, ino, new InodeCopy());
  }

  viewsOf(ino: number): Iterable<View> {
    return this.views.get(ino) ?? [];
  }

  /** The content of file pages changes, or may from now on. Requires: inside mutate. */
  contentChanges(ino: number, range: Range | 'all'): void {
    if (this.blocks?.stores(ino) === false) return;
    this.writeBack?.mark(this, ino, range);
    if (range !== 'all') this.evictor?.touched(ino, range);
  }

  /**
   * Runs `change` as the only one that changes the layout of an inode. The inode stays meanwhile, also when
   * it loses its last name: its number and its pages must not become another file's while somebody waits.
   */
  exclusive<T>(ino: number, change: () => T | Promise<T>): Promise<T> {
    return this.keeping(ino, () => this.gate.exclusive(ino, change));
  }

  /** As `exclusive`, and no other node has any of the file. */
  alone<T>(ino: number, change: () => T | Promise<T>): Promise<T> {
    return this.exclusive(ino, () => {
      this.assertHome(ino);
      return this.holding(ino, 'write', change);
    });
  }

  /** EAGAIN when the file has got another home while this waited: its content is changed there. */
  assertHome(ino: number): void {
    if (this.blocks?.isOwn(ino) === false) throw moved('write');
  }

  /** Runs `work` while the processes here may do that with the range, and nobody takes it from them. */
  holding<T>(
    ino: number,
    access: Access,
    work: () => T | Promise<T>,
    range: Range = wholeFile,
  ): T | Promise<T> {
    const { blocks } = this;
    return blocks === undefined ? work() : hold(blocks, { ino, access, range }, work);
  }

  /** Runs `work` with the inode kept alive, also without a name. */
  async keeping<T>(ino: number, work: () => Promise<T>): Promise<T> {
    this.refer(ino);
    try {
      return await work();
    } finally {
      this.unrefer(ino);
    }
  }

  refer(ino: number): void {
    this.references.set(ino, (this.references.get(ino) ?? 0) + 1);
  }

  /** Ends a reference; an inode without a name goes with its last one. */
  unrefer(ino: number): void {
    const left = (this.references.get(ino) ?? 1) - 1;
    if (left > 0) {
      this.references.set(ino, left);
      return;
    }
    this.references.delete(ino);
    // A session of before may still come back to it, or somebody at another node refers to it.
    if (this.keepsBack || !this.mayEnd(ino) || !this.orphans.delete(ino)) return;
    this.journal.mutate(() => this.destroy(ino)).catch((error: unknown) => this.hub.report(error));
  }

  /** Frees an inode and its pages. Requires: inside mutate; it has no name and nobody refers to it. */
  destroy(ino: number): void {
    const { mode } = this.inode(ino);
    const extents = isFile(mode) ? this.extents(ino) : [];
    if (this.blocks?.isOwn(ino) === false) this.blocks.countForeign(-pageCountOf(extents));
    freeChain(this.writer, ino);
    this.slots.forget(ino);
    if (isFile(mode)) this.writeBack?.forget(this, ino);
    this.writer.freeInode(ino);
    if (extents.length > 0) this.freePages(extents);
    if (isFile(mode)) this.journal.afterCommit(() => this.ended(ino, extents));
  }

  /** A file is no more, which lay there: what was noted of it says nothing of the next of its number. */
  ended(ino: number, extents: readonly Extent[]): void {
    this.blocks?.forget(ino, extents);
    this.evictor?.forget(ino);
    this.pager?.forgetDamage(ino);
  }

  /** Frees pages that no client maps or stores into. Requires: inside mutate. */
  freePages(runs: readonly Run[]): void {
    this.confine({ runs, ino: 0, path: '', parties: [] });
  }

  /** Sets pages of no file apart until every party has let go of them. Requires: inside mutate. */
  confine({ runs, ino, path, parties }: Leaving): void {
    if (runs.length === 0) return;
    const own = runs.map(({ page, count }) => ({ page, count }));
    // What nobody maps is free with the commit itself; only what outlives it needs rows to survive a crash.
    const heldId = parties.length > 0 || this.keepsBack ? this.nextHeldId() : undefined;
    const confined: Confined = {
      heldId,
      runs: own,
      ino,
      path,
      sinceMs: this.now(),
      parties: new Set(parties),
    };
    this.writer.count('heldPages', pageCountOf(own));
    if (heldId !== undefined) {
      for (const run of own)
        this.journal.change({ type: 'hold', row: { id: heldId, ...run, reason: 'quarantine' } });
    }
    this.journal.afterCommit(() => {
      // Who let go, or died, while the commit was on its way does not do it again.
      for (const party of confined.parties) if (hasLetGo(party, own)) confined.parties.delete(party);
      this.quarantine.add(confined);
    });
  }

  /**
   * Keeps pages back that recovery found held, or written and in no file, until the sessions of before are
   * resolved. Requires: they are taken.
   */
  holdBack(heldId: number | undefined, runs: readonly Run[]): void {
    this.writer.count('heldPages', pageCountOf(runs));
    this.limbo.push({ heldId, runs, ino: 0, path: '', sinceMs: this.now(), parties: new Set() });
  }

  /** Whether all of these are kept back for sessions of before, or for views of theirs that are back. */
  isHeldBack(runs: readonly Run[]): boolean {
    return (
      subtract(
        runs,
        [...this.limbo, ...this.quarantine.all].flatMap((each) => each.runs),
      ).length === 0
    );
  }

  /**
   * What was kept back for whoever may come is kept for a view that has come and maps it. Requires: inside
   * mutate; `isHeldBack`.
   */
  keepFor(view: View, runs: readonly Run[]): void {
    const party: Party = { view };
    for (const { runs: confined, parties } of this.quarantine.all)
      if (overlap(confined, runs)) parties.add(party);
    // It has rows of its own from here on: those of before go with the rest.
    this.confine({ runs: this.takeBack(runs), ino: view.ino, path: view.path, parties: [party] });
  }

  /**
   * Those of them that were kept back are the caller's. Requires: inside mutate, and that they are counted,
   * and have rows, as something else now.
   */
  takeBack(runs: readonly Run[]): Run[] {
    const limbo = this.limbo.splice(0);
    const left = limbo.map((each) => ({ ...each, runs: subtract(each.runs, runs) }));
    this.limbo.push(...left);
    this.writer.onRollback(() => this.limbo.splice(0, Number.POSITIVE_INFINITY, ...limbo));
    const taken = limbo.flatMap((each, i) => subtract(each.runs, left[i]?.runs ?? []));
    this.writer.count('heldPages', -pageCountOf(taken));
    return taken;
  }

  /**
   * This node stops, and the next one goes on with its memory: clients may touch what they had when their
   * sessions end, so it stays taken, as when the node is killed.
   */
  leaveMemory(): void {
    this.#isLeft = true;
  }

  /** Whether what becomes free is given to nobody: not all clients are seen to let go of it. */
  get keepsBack(): boolean {
    return this.unresolved.size > 0 || this.#isLeft;
  }

  /** The last session of before a crash is resolved: what was kept back for them can go. */
  nobodyLeft(): void {
    if (this.#isLeft) return;
    for (const confined of this.limbo.splice(0)) this.#freeConfined(confined);
    for (const ino of [...this.orphans]) {
      if (this.references.has(ino) || !this.mayEnd(ino)) continue;
      this.orphans.delete(ino);
      this.journal.mutate(() => this.destroy(ino)).catch((error: unknown) => this.hub.report(error));
    }
  }

  #freeConfined(confined: Confined): void {
    if (this.keepsBack) {
      this.limbo.push(confined);
      return;
    }
    this.data.punch(confined.runs);
    this.pager?.forget(confined.runs);
    this.journal
      .mutate(() => {
        for (const run of confined.runs) this.writer.pages.release(run);
        this.writer.onRollback(() => {
          for (const run of confined.runs) this.writer.pages.take(run);
        });
        this.writer.count('heldPages', -pageCountOf(confined.runs));
        if (confined.heldId !== undefined) this.journal.change({ type: 'unhold', id: confined.heldId });
      })
      .catch((error: unknown) => this.hub.report(error));
  }
}

async function hold<T>(
  blocks: Blocks,
  { ino, access, range }: { ino: number; access: Access; range: Range },
  work: () => T | Promise<T>,
): Promise<T> {
  blocks.hold(ino);
  try {
    while (!blocks.holds(ino, range, access)) await blocks.acquire(ino, range, access);
    return await work();
  } finally {
    blocks.release(ino);
  }
}
