/**
 * Which node keeps the bytes of which file, as this node knows it, and what its processes may do with them:
 * files of its own by its directories (`lent`), those of others by what it has borrowed from them.
 *
 * A file has one home at a time, by the number of a node; the coordinator decides, and says so with the
 * inode. A number is given to a node when it joins to keep files (roster.ts).
 */
import { type Extent, FsError, type Request } from '@cluster-fs/transport';
import type { PeerLink } from '@cluster-fs/transport/peer';
import { type Position, Positions } from 'cluster-fs/coherence';
import { homeIn, InodeCopy, isFile, pageSize, readInode, showHome } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Access, Blocks, FileBlocks, FileId } from '../coordinator/elsewhere.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { Range } from '../store/stored.ts';
import { inoOf } from './blocks.ts';
import type { Copies } from './copies.ts';
import { layOutWhole, lostFile } from './foreign-content.ts';
import type { Lent } from './lent.ts';
import type { FileMoves } from './moving.ts';
import type { Neighbour } from './neighbour.ts';
import { Openings } from './openings.ts';
import type { OwnContent } from './own-content.ts';
import { publishLease, publishOwn } from './published-leases.ts';

/** The node where the cluster began: it decides on names, attributes and homes. */
export const coordinatorNumber = 0;

/** The node id of the coordinator on links. */
export const coordinatorId = 1;
/** In the metadata store. */
const candidatesKey = 'candidates';
const lostKey = (ino: number): string => `lost-${ino}`;

/** A request follows a file from home to home for so long. */
export const followMs = 15_000;
export const movedPollMs = 20;

/** What this node has all of, to become its home by that move. */
interface Candidate {
  readonly generation: number;
  readonly move: number;
}

export class Homes implements Blocks {
  readonly #c: Coordinator;
  readonly #neighbours = new Map<number, Neighbour>();
  /** Makes the neighbour of that number. */
  readonly #meet: (number: number) => Neighbour;
  #self: number | undefined;
  /** The blocks of its own files, when it keeps some. */
  lent: Lent | undefined;
  moving: FileMoves | undefined;
  /** What views map that cannot have the pages of files of other homes. */
  copies: Copies | undefined;
  /** What this node does to its files, on its way to the coordinator. */
  own: OwnContent | undefined;
  /** Nobody here refers to a file of this node that has no name. */
  unused: ((ino: number) => void) | undefined;
  /** The link to the coordinator once all is applied that had happened before it came up. */
  told: (() => PeerLink | undefined) | undefined;
  /** How far this node is in the changes of the coordinator. */
  position: () => Position | undefined = () => undefined;
  /** How far others must be to get blocks of its files. */
  readonly positions = new Positions();
  /** Files that this node is said to keep, and does not have: their generations. */
  readonly #lost = new Map<number, number>();
  /** Those that the metadata store does not know yet. */
  #unsavedLost: Record<string, string> = {};
  readonly #candidates = new Map<number, Candidate>();
  readonly openings = new Openings();
  /** Files that are given away, and to whom. */
  readonly #shown = new Map<number, number>();
  readonly #memoryPages: number;
  #foreignPages = 0;

  /** `memory`: bytes of files. */
  constructor(c: Coordinator, memory: number, meet: (number: number) => Neighbour) {
    this.#c = c;
    this.#memoryPages = Math.floor(memory / pageSize);
    this.#meet = meet;
    c.journal.onPublished = () => this.#showAgain();
  }

  /** The number of this node; undefined when it keeps no files. */
  get self(): number | undefined {
    return this.#self;
  }

  set self(number: number | undefined) {
    this.#self = number;
    if (number !== undefined) publishOwn(this.#c, number);
  }

  /** Whether the names that are here are the coordinator's. */
  get isCurrent(): boolean {
    return this.#self === coordinatorNumber || this.told?.() !== undefined;
  }

  get neighbours(): Iterable<Neighbour> {
    return this.#neighbours.values();
  }

  isKnown(number: number): boolean {
    return this.#neighbours.has(number);
  }

  get cacheReport() {
    const total = { cachedBytes: 0, fetchedBlocks: 0, faults: 0, lostBlocks: 0, stags: 0 };
    for (const { borrowed } of this.neighbours)
      for (const [key, value] of Object.entries(borrowed.report)) total[key as keyof typeof total] += value;
    return total;
  }

  neighbour(number: number): Neighbour {
    const known = this.#neighbours.get(number);
    if (known !== undefined) return known;
    const neighbour = this.#meet(number);
    this.know(number, neighbour);
    return neighbour;
  }

  know(number: number, neighbour: Neighbour): void {
    this.#neighbours.set(number, neighbour);
    neighbour.borrowed.onHeld((untilMs) => publishLease(this.#c, number, untilMs));
  }

  /** This node is further: whoever waits for that goes on. */
  wentOn(): void {
    for (const { borrowed } of this.neighbours) borrowed.wentOn();
    this.lent?.lookAgain();
  }

  /** Resolves when it is known what was lost of a file, or of any, with the homes that are there. */
  async settled(ino: number | undefined): Promise<void> {
    const concerned =
      ino === undefined
        ? [...this.neighbours].filter(({ line }) => line.current !== undefined)
        : [this.#neighbours.get(this.homeOf(ino))].filter((home) => home !== undefined);
    await Promise.all(concerned.map(({ borrowed }) => borrowed.settled()));
  }

  /** Whether all that was stored into a file here is at its home, or this is it: as one look finds it. */
  isSaved(): (ino: number) => boolean {
    const unsaved = new Set<number>();
    const all = [...this.neighbours].map(({ borrowed }) => borrowed);
    for (const borrowed of all) for (const block of borrowed.unsaved()) unsaved.add(inoOf(block));
    // What is being taken is in no cache for a while.
    return (ino) => !unsaved.has(ino) && !all.some(({ taken }) => taken.has(ino));
  }

  async giveUp(limitMs: number): Promise<void> {
    await Promise.all([...this.#neighbours.values()].map((neighbour) => neighbour.giveUp(limitMs)));
  }

  async leave(): Promise<void> {
    await Promise.all([...this.#neighbours.values()].map((neighbour) => neighbour.leave()));
  }

  close(): void {
    this.copies?.close();
    for (const neighbour of this.#neighbours.values()) neighbour.close();
  }

  /** The coordinator's, when the inode is gone: it knows best. */
  homeOf(ino: number): number {
    return homeIn(this.#c.segment, ino);
  }

  /** Asks the home of a file, and the next one when it has moved meanwhile. */
  async following<T>(ino: number, ask: (home: number) => T | Promise<T>): Promise<T> {
    const endMs = performance.now() + followMs;
    for (;;) {
      const home = this.homeOf(ino);
      this.assertHas(ino);
      try {
        return await ask(home);
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'EAGAIN' || performance.now() > endMs) throw error;
        // It says so before this node has heard of it.
        if (this.homeOf(ino) === home) await this.#c.answers.next(movedPollMs);
      }
    }
  }

  /** Whether this node keeps the file, and has it. */
  isOwn(ino: number): boolean {
    return this.homeOf(ino) === this.self && !this.isLost(ino);
  }

  stores(ino: number): boolean {
    return this.isOwn(ino) || this.isCandidate(ino) || this.moving?.isTaking(ino) === true;
  }

  giveWay(pages: number): number {
    let given = 0;
    for (const { borrowed } of this.neighbours)
      if (given < pages) given += borrowed.resident.giveWay(pages - given);
    return given;
  }

  /** Whether this node kept the file, and has lost it. */
  isLost(ino: number): boolean {
    const generation = this.#lost.get(ino);
    return generation !== undefined && this.#c.inode(ino).generation === generation;
  }

  /** Pages in use that are not of other homes' files. */
  get ownPages(): number {
    const { pages, segment } = this.#c.writer;
    return segment.pageCount - pages.free - this.#foreignPages;
  }

  get freePages(): number {
    const isBounded = this.self !== undefined && this.#c.writeBack === undefined;
    return isBounded ? Math.max(0, this.#memoryPages - this.ownPages) : Number.POSITIVE_INFINITY;
  }

  countForeign(pages: number): void {
    this.#foreignPages += pages;
    this.#c.writer.onRollback(() => {
      this.#foreignPages -= pages;
    });
  }

  /** At the start, when it is known which files are this node's. */
  beginCounting(): void {
    const inode = new InodeCopy();
    for (let ino = 1; ino < this.#c.writer.inodeLimit; ino++)
      if (readInode(this.#c.segment, ino, inode) && isFile(inode.mode) && !this.isOwn(ino))
        this.#foreignPages += inode.pages;
  }

  /** How much is kept by which node; of those that keep something. Looks at all files. */
  get keptBytes(): Map<number, number> {
    const kept = new Map<number, number>();
    const inode = new InodeCopy();
    for (let ino = 1; ino < this.#c.writer.inodeLimit; ino++) {
      if (!readInode(this.#c.segment, ino, inode) || !isFile(inode.mode)) continue;
      kept.set(inode.home, (kept.get(inode.home) ?? 0) + inode.pages * pageSize);
    }
    return kept;
  }

  /** Whether this node keeps a file with a name, or may, as far as it has heard. Others go with it. */
  get keepsNamed(): boolean {
    const inode = new InodeCopy();
    for (let ino = 1; ino < this.#c.writer.inodeLimit; ino++) {
      if (!readInode(this.#c.segment, ino, inode) || !isFile(inode.mode) || inode.nlink === 0) continue;
      if (inode.home === this.self || this.isCandidate(ino)) return true;
    }
    return false;
  }

  assertHas(ino: number): void {
    if (this.homeOf(ino) === this.self && this.isLost(ino)) throw lostFile('open');
  }

  setLost(ino: number, generation: number): void {
    this.#lost.set(ino, generation);
    this.#unsavedLost[lostKey(ino)] = String(generation);
  }

  /** This node has that number from here on. What it is said to keep is of a life that left nothing. */
  become(number: number): void {
    const inode = new InodeCopy();
    for (let ino = 1; ino < this.#c.writer.inodeLimit; ino++)
      if (readInode(this.#c.segment, ino, inode) && isFile(inode.mode) && inode.home === number)
        this.setLost(ino, inode.generation);
    this.saveLost();
    this.self = number;
  }

  /** Before the commit that says so: a node of after would take what it has of them for their content. */
  saveLost(): void {
    if (Object.keys(this.#unsavedLost).length > 0) this.#c.store.setSuperblock(this.#unsavedLost);
    this.#unsavedLost = {};
  }

  /** As a node of before has found out. */
  loadLost(): void {
    for (let ino = 1; ino < this.#c.writer.inodeLimit; ino++) {
      const generation = this.homeOf(ino) === this.self ? this.#c.store.superblock(lostKey(ino)) : undefined;
      if (generation !== undefined) this.#lost.set(ino, Number(generation));
    }
  }

  /**
   * Processes here may use a file of this node only as long as the lease of that home lasts, to which it is
   * given away: said where they look by themselves, so that it holds also while this node stands still. The
   * inode is what it was, and every commit that touches it says so there.
   */
  show(ino: number, home: number | undefined): void {
    // The coordinator names the next home in the turn in which it hears that this one has given it away.
    if (this.self === coordinatorNumber) return;
    if (home === undefined) this.#shown.delete(ino);
    else this.#shown.set(ino, home);
    showHome(this.#c.journal.published, ino, home ?? this.homeOf(ino));
  }

  /** After a commit. */
  #showAgain(): void {
    for (const [ino, home] of this.#shown) showHome(this.#c.journal.published, ino, home);
  }

  /** Whether this node had all of the file when it was to become its home. */
  isCandidate(ino: number): boolean {
    return this.candidateOf(ino) !== undefined;
  }

  /** The same: by which move. */
  candidateOf(ino: number): number | undefined {
    const inode = new InodeCopy();
    const candidate = this.#candidates.get(ino);
    const isThere = candidate !== undefined && readInode(this.#c.segment, ino, inode);
    return isThere && inode.generation === candidate.generation ? candidate.move : undefined;
  }

  /** Remembered over a crash: until it is known whose the file is, its pages are kept as they are. */
  setCandidate(ino: number, candidate: Candidate | undefined): void {
    if (candidate === undefined && !this.#candidates.has(ino)) return;
    if (candidate === undefined) this.#candidates.delete(ino);
    else this.#candidates.set(ino, candidate);
    this.#saveCandidates();
  }

  #saveCandidates(): void {
    const candidates = [...this.#candidates]
      .map(([ino, { generation, move }]) => [ino, generation, move].join(':'))
      .join(' ');
    this.#c.store.setSuperblock({ [candidatesKey]: candidates });
  }

  /** As a node of before has left them: those of which it is not known here whose they are. */
  loadCandidates(): void {
    const saved = this.#c.store.superblock(candidatesKey) ?? '';
    for (const each of saved.split(' ')) {
      const [ino = 0, generation = 0, move = 0] = each.split(':').map(Number);
      const isOpen = this.self !== coordinatorNumber && this.homeOf(ino) !== this.self;
      if (ino > 0 && isOpen) this.#candidates.set(ino, { generation, move });
    }
    if (saved !== '') this.#saveCandidates();
  }

  get candidates(): Iterable<number> {
    return this.#candidates.keys();
  }

  /** Whether what is here of a file is what it is at its new home. */
  keepsPages(ino: number, { from, to }: { from: number; to: number }): boolean {
    const { moving } = this;
    if (moving === undefined)
      return !this.isKnown(from) || this.neighbour(from).borrowed.taken.hasNothing(ino);
    const keeps = moving.keepsPages(ino, { from, to });
    if (to === this.self && !keeps) this.setLost(ino, this.#c.inode(ino).generation);
    return keeps;
  }

  /** The inode says that a file has another home. */
  changed(ino: number, change: { from: number; to: number }): void {
    this.#c.losses.rehomed(ino, change.from);
    if (this.moving !== undefined) this.moving.changed(ino, change);
    else if (this.isKnown(change.from)) this.neighbour(change.from).borrowed.abandon(ino);
    this.copies?.rehomed(ino);
    const opening = this.#keepOpen(ino, change.from);
    this.openings.add(opening.catch((error: unknown) => this.#c.hub.report(error)));
    this.#c.answers.notify();
  }

  /**
   * Whoever has the file mapped here has it at its new home, too: it stays when it loses its name, and gets
   * pages where they may store. Only then is the right given back that was given by the home of before.
   */
  async #keepOpen(ino: number, from: number): Promise<void> {
    try {
      await this.#openThere(ino);
    } catch (error) {
      // Who touches it then, asks again.
      if (!(error instanceof FsError)) throw error;
    } finally {
      if (this.homeOf(ino) !== from && this.isKnown(from)) this.neighbour(from).borrowed.leaving.add(ino);
    }
  }

  #openThere(ino: number): Promise<void> {
    return this.following(ino, (home) =>
      home === this.self ? undefined : this.neighbour(home).borrowed.keepOpen(ino),
    );
  }

  /** The home of a file does not know that somebody has it mapped here to store: it is told. */
  reopen(ino: number): void {
    this.#openThere(ino).catch((error: unknown) => {
      // Who touches it then, asks again.
      if (!(error instanceof FsError)) this.#c.hub.report(error);
    });
  }

  /** The same of all files of a home. */
  reopenAll(home: number): void {
    for (const ino of this.#c.views.keys()) if (this.homeOf(ino) === home) this.reopen(ino);
  }

  layOutWhole(ino: number): void {
    layOutWhole(this.#c, this, ino);
  }

  #of(ino: number): FileBlocks {
    const home = this.homeOf(ino);
    this.assertHas(ino);
    return home === this.self && this.lent !== undefined ? this.lent : this.neighbour(home).borrowed;
  }

  get opening(): Promise<void> | undefined {
    return this.lent?.opening;
  }

  open(file: FileId, lease: Pick<Request<'lease'>, 'mode' | 'follow'>, session: Session): Promise<void> {
    return this.following(file.ino, () => this.#of(file.ino).open(file, lease, session));
  }

  assertMayPin(ino: number, mode: 'r' | 'rw'): void {
    this.lent?.assertMayPin(ino, mode);
  }

  watch(view: View): void {
    this.#of(view.ino).watch(view);
  }

  holds(ino: number, range: Range, access: Access): boolean {
    return this.#of(ino).holds(ino, range, access);
  }

  /** As `Borrowed.isStill`: false for a block of a file of this node. */
  isStill(block: number): boolean {
    const home = this.homeOf(inoOf(block));
    return home !== this.self && this.neighbour(home).borrowed.isStill(block);
  }

  acquire(ino: number, range: Range, access: Access): Promise<void> {
    return this.following(ino, () => this.#of(ino).acquire(ino, range, access));
  }

  fault(view: View, filePage: number, access: Access): boolean {
    return this.#of(view.ino).fault(view, filePage, access);
  }

  hold(ino: number): void {
    this.lent?.hold(ino);
  }

  release(ino: number): void {
    this.lent?.release(ino);
  }

  lendNothing(): void {
    this.lent?.lendNothing();
  }

  bringBack(): void {
    if (this.#c.writeBack !== undefined) this.lent?.bringBack();
  }

  forget(ino: number, extents: readonly Extent[]): void {
    this.lent?.forget(ino, extents);
  }

  isShared(ino: number): boolean {
    return this.#of(ino).isShared(ino);
  }

  isWritten(ino: number): boolean {
    return this.#of(ino).isWritten(ino);
  }

  sharedFiles(): Iterable<number> {
    return this.lent?.sharedFiles() ?? [];
  }
}
