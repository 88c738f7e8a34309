/**
 * A file gets another home: what the two nodes do about it. The coordinator leads (leading.ts).
 *
 *   next home      taking ──handOver──▶ prepared ──the inode says so──▶ home
 *                     └────────────── gave ─┴──▶ a node like others
 *   home until now      home ──give──▶ given ──the inode says so──▶ a node like others, with what it had
 *                        ▲──────gave─────┘
 *
 * While it is `given` nobody changes the file, or gets a block of it that it does not have: requests wait,
 * and so do touches. Both nodes have all its bytes then. Who waits asks the new home afterwards.
 *
 * Everything that touches the world goes through `MovingWorld`, so that the same code runs over TCP and in a
 * simulation.
 *
 * INVARIANT: what the inode says decides. A node that loses its way to the coordinator stays as it is until
 * it has heard what became of it.
 */
import { FsError } from '@cluster-fs/transport';
import type { BlockId } from './block-cache.ts';
import type { CacheId } from './directory.ts';
import type { HandingOver } from './handing-over.ts';
import { givenUp, type Progress, type Taken } from './taken.ts';

export interface MovingTimes {
  /** How long one `take` fetches before it says how far it is. */
  readonly takeMs: number;
  /** How often it is asked what became of a move. */
  readonly pollMs: number;
  /** How long the file waits, when it stands still, for blocks that were asked for before. */
  readonly quietMs: number;
  /** A file that nobody goes on to move is forgotten by the node that was to be its home. */
  readonly abandonedMs: number;
}

export const defaultMovingTimes: MovingTimes = {
  takeMs: 200,
  pollMs: 1000,
  quietMs: 30_000,
  abandonedMs: 10_000,
};

export interface MovedFile {
  readonly ino: number;
  readonly generation: number;
  /** The number of the move: what is said of another one does not count. */
  readonly move: number;
}

/** What the home until now says to the next one. */
export interface HandedOver extends MovedFile {
  /** That it has there, and goes on with. */
  readonly session: CacheId;
  readonly mode: 'r' | 'rw';
  /** Blocks that the next one is to get with no other copy anywhere. */
  readonly alone: readonly BlockId[];
  /** Whether others than the two may store into the file. */
  readonly isWritten: boolean;
}

/** Another node, as this one uses it. */
export interface MovingNeighbour<B, Right> {
  readonly taken: Taken<B>;
  /** The session that this node has there. */
  session(): CacheId | undefined;
  /** Resolves with it when there is one. */
  enter(): Promise<CacheId>;
  /** Resolves when it can be told something, with how. What that resolves with is the right to the file. */
  reach(): Promise<(said: HandedOver) => Promise<Right>>;
  /** Fetches blocks of a file from there until `isTime`. */
  bring(ino: number, isTime: () => boolean): Promise<Progress>;
  /** It is the home of a file of ours from now on, where we keep these blocks to read. */
  adopt(ino: number, right: { readonly right: Right; readonly mode: 'r' | 'rw' }, blocks: BlockId[]): void;
  /** Gives back a right that has come when nobody wants it any more. */
  refuse(ino: number, right: Right): void;
  /** What is here of the file is not from there any more. */
  abandon(ino: number): void;
  /** The right to the file is of no use any more, once everything that was asked for is answered. */
  giveBack(ino: number): void;
}

export interface MovingWorld<B, Right> {
  readonly times: MovingTimes;
  nowMs(): number;
  /** Runs it later, unless what it returns is called before. */
  after(ms: number, run: () => void): () => void;
  /** Resolves when a directory has taken a step, and every now and then. */
  stepped(): Promise<void>;
  /** The number of this node; undefined when it keeps no files. */
  self(): number | undefined;
  readonly handing: HandingOver<B>;
  neighbour(number: number): MovingNeighbour<B, Right>;
  isKnown(number: number): boolean;
  /** The session of blocks that the node of that number has here. */
  sessionOf(number: number): CacheId | undefined;
  /** Whether the node of that session knows the file as it is. */
  knows(ino: number, session: CacheId): boolean;
  /** Whether the node of that session has the right to take the file. */
  mayTake(ino: number, session: CacheId): boolean;
  /** The home of a file, as its inode says. */
  homeOf(ino: number): number;
  /** Throws ESTALE when the inode is another one, or has another home. */
  assertIs(file: Omit<MovedFile, 'move'>, home: number): void;
  /** Throws EBUSY when somebody here is in the way. */
  assertMovable(ino: number): void;
  /** Resolves when nobody else can change the file here, with how that ends. */
  hold(ino: number): Promise<() => void>;
  /** Resolves when the coordinator knows all that was done to the file here. */
  settled(ino: number): Promise<void>;
  /** What processes here may do with the file, and whether nodes may store into it. */
  uses(ino: number): { readonly mode: 'r' | 'rw'; readonly isWritten: boolean };
  /** Makes room in memory for what is to come of a file. */
  makeRoom(ino: number): Promise<void>;
  /** Resolves when these blocks of a file are durable here. */
  store(ino: number, blocks: Iterable<BlockId>): Promise<void>;
  /** Of a file that is not this node's: what is stored of it goes. */
  forgetStored(ino: number): void;
  /**
   * Processes here may use the file for as long as the lease of that node lasts, whatever its inode says, and
   * also while this node stands still; undefined: as the inode says.
   */
  showHome(ino: number, home: number | undefined): void;
  /** The move for which this node has all of the file, to become its home; kept over a crash. */
  candidateOf(ino: number): number | undefined;
  setCandidate(ino: number, file: MovedFile | undefined): void;
  /**
   * Asks the coordinator whether it is still at that move; undefined while not everything has come from there
   * that was committed before the question.
   */
  isMoving(ino: number, move: number): Promise<boolean> | undefined;
}

/** The node that hands a file over: its number, and the session of blocks that it has here. */
export interface Giver {
  readonly number: number;
  readonly session: CacheId | undefined;
  /** Aborted when it does not hear any more what it is answered. */
  readonly signal: AbortSignal;
}

interface Given {
  readonly move: number;
  readonly release: () => void;
  readonly to: number;
}

interface Taking {
  readonly move: number;
  readonly from: number;
  /** Ends the wait for who goes on to move the file. */
  stopWaiting: (() => void) | undefined;
}

export class Moving<B, Right> {
  readonly #world: MovingWorld<B, Right>;
  readonly #given = new Map<number, Given>();
  /** The last move for which a file is asked for here. */
  readonly #asked = new Map<number, number>();
  readonly #taking = new Map<number, Taking>();
  #isStopping = false;
  #isSettling = false;

  constructor(world: MovingWorld<B, Right>) {
    this.#world = world;
  }

  close(): void {
    for (const { stopWaiting } of this.#taking.values()) stopWaiting?.();
  }

  /** This node stops: it becomes the home of nothing more, and gives away what it has. */
  stop(): void {
    this.#isStopping = true;
  }

  /**
   * It gives nothing away any more either. Resolves when it is known of all that is on its way whose it is,
   * as far as that can be heard within `limitMs`. Requires: `stop`.
   */
  async settle(limitMs: number): Promise<void> {
    const world = this.#world;
    this.#isSettling = true;
    const endMs = world.nowMs() + limitMs;
    const isStanding = ([ino, { from }]: [number, Taking]): boolean =>
      world.neighbour(from).taken.isStanding(ino);
    const isOpen = (): boolean => world.handing.isAnyFrozen || [...this.#taking].some(isStanding);
    while (isOpen() && world.nowMs() < endMs) await world.stepped();
  }

  #assertStays(): void {
    if (this.#isStopping) throw new FsError('ENONET', 'move', { why: 'the next home is stopping' });
  }

  /** Whether this node is about to be the home of the file. */
  isTaking(ino: number): boolean {
    return this.#taking.has(ino);
  }

  /** Whether this node gives the file away just now. */
  isGiving(ino: number): boolean {
    return this.#given.has(ino);
  }

  async take({ ino, generation, move, from }: MovedFile & { readonly from: number }): Promise<Progress> {
    const world = this.#world;
    this.#assertStays();
    world.assertIs({ ino, generation }, from);
    world.assertMovable(ino);
    const before = this.#taking.get(ino)?.move ?? move;
    if (before > move) throw laterMove();
    // It has failed: else this node would be the home, and know it, since it would have let the file go.
    if (before < move) this.#forget(ino);
    this.#taking.get(ino)?.stopWaiting?.();
    const taking: Taking = { move, from, stopWaiting: undefined };
    this.#taking.set(ino, taking);
    try {
      const neighbour = world.neighbour(from);
      await world.makeRoom(ino);
      this.#assertTakes(ino, taking);
      const endMs = world.nowMs() + world.times.takeMs;
      const progress = await neighbour.bring(ino, () => world.nowMs() >= endMs);
      // What has come is for a later move to store, if there is one by now.
      this.#assertTakes(ino, taking);
      await world.store(ino, neighbour.taken.takeNews(ino));
      return progress;
    } finally {
      if (this.#taking.get(ino) === taking)
        taking.stopWaiting = world.after(world.times.abandonedMs, () => this.#forget(ino));
    }
  }

  #assertTakes(ino: number, taking: Taking): void {
    if (this.#taking.get(ino) !== taking) throw givenUp();
  }

  /** Throws ESTALE when that node does not hand over a file that is to come here by that move. */
  assertExpected({ ino, move }: Pick<MovedFile, 'ino' | 'move'>, by: Pick<Giver, 'number'>): Taking {
    const taking = this.#taking.get(ino);
    if (by.number === taking?.from && move === taking.move) return taking;
    throw new FsError('ESTALE', 'move', { why: `inode ${ino} is not expected` });
  }

  /** The home until now hands it over: what comes here is the last of it. `by`: who says so. */
  async handOver(
    { ino, generation, move, session, alone, isWritten }: HandedOver,
    by: Giver,
    /** Gives it the right to the file, and answers. */
    answer: () => void,
  ): Promise<void> {
    const world = this.#world;
    const { handing } = world;
    this.#assertStays();
    const taking = this.assertExpected({ ino, move }, by);
    world.assertIs({ ino, generation }, taking.from);
    taking.stopWaiting?.();
    taking.stopWaiting = undefined;
    this.#poll(ino, move);
    if (by.session !== session) throw new FsError('ESTALE', 'move', { why: 'the home has left meanwhile' });
    const { taken } = world.neighbour(taking.from);
    await taken.prepare(ino, alone);
    this.#assertTakes(ino, taking);
    // From here on its pages are kept over a crash, until it is known whose they are.
    world.setCandidate(ino, { ino, generation, move });
    await world.store(ino, taken.takeNews(ino));
    this.#assertTakes(ino, taking);
    // What is here is not what its home has any more.
    if (!taken.isCurrent(ino)) throw new FsError('ESTALE', 'move', { why: 'the session is over' });
    this.#assertStays();
    if (world.sessionOf(taking.from) !== session)
      throw new FsError('ESTALE', 'move', { why: 'the home has left meanwhile' });
    // It has asked what became of this, and was told that nothing was given.
    by.signal.throwIfAborted();
    if (isWritten) handing.inherit(ino, move);
    answer();
    // The reply leaves first: the home until now has as much to note as this node. What it says then is heard
    // after this turn of the event loop.
    await undefined;
    if (this.#taking.get(ino) !== taking) return;
    handing.adopt(ino, session, taken.sharedOf(ino));
  }

  /**
   * Nobody changes the file here from when this resolves, until `gave` or `changed`. `signal`: nobody waits
   * for it any more, nor will the move be committed.
   */
  async give(
    { ino, generation, move, to }: MovedFile & { readonly to: number },
    signal?: AbortSignal,
  ): Promise<void> {
    const world = this.#world;
    const { handing } = world;
    world.assertIs({ ino, generation }, world.self() ?? -1);
    const assertLast = (): void => {
      signal?.throwIfAborted();
      if ((this.#asked.get(ino) ?? 0) > move) throw laterMove();
    };
    assertLast();
    this.#asked.set(ino, move);
    // One before has failed: the file is here still.
    if (this.#given.has(ino)) this.#stays(ino);
    const next = world.neighbour(to);
    const ours = await next.enter();
    const theirs = world.sessionOf(to);
    if (theirs === undefined) throw new FsError('ENONET', 'move', { why: 'the next home has left' });
    const release = await world.hold(ino);
    try {
      world.assertIs({ ino, generation }, world.self() ?? -1);
      assertLast();
      world.assertMovable(ino);
      if (this.#isSettling) throw new FsError('ENONET', 'move', { why: 'the home is stopping' });
      handing.freeze(ino, theirs);
      await world.settled(ino);
      const say = await next.reach();
      // What it had of the file is taken back here when its lease is over.
      const assertHolds = (): void => {
        assertLast();
        if (world.sessionOf(to) !== theirs)
          throw new FsError('ENONET', 'move', { why: 'the lease of the next home is over' });
      };
      await this.#quiet(ino, theirs, assertHolds);
      const alone = handing.elsewhere(ino, theirs);
      const { mode, isWritten } = world.uses(ino);
      handing.tell(ino);
      const right = await say({ ino, generation, move, session: ours, mode, alone, isWritten });
      // The right is of that session, and so is what the next home knows of the copies here.
      if (next.session() !== ours) throw new FsError('ESTALE', 'move', { why: 'the session is over' });
      try {
        assertHolds();
      } catch (error) {
        next.refuse(ino, right);
        throw error;
      }
      const shared = next.taken.presentOf(ino, handing.sharedWith(ino, theirs));
      next.adopt(ino, { right, mode }, shared);
      // Whoever stores there takes what is here back, or waits for the end of that lease.
      world.showHome(ino, to);
      this.#given.set(ino, { move, release, to });
      this.#poll(ino, move);
    } catch (error) {
      handing.takeBack(ino);
      release();
      throw error;
    }
  }

  /**
   * Resolves when whoever asked for a block before the file stood still has it, and the next home knows which
   * blocks there are: it would not fetch others. `assertHolds` throws when that will never be.
   */
  async #quiet(ino: number, next: CacheId, assertHolds: () => void): Promise<void> {
    const world = this.#world;
    const { handing } = world;
    const endMs = world.nowMs() + world.times.quietMs;
    let busy = handing.busy(ino);
    for (assertHolds(); busy.length > 0 || !world.knows(ino, next); assertHolds()) {
      // Started anew it knows nothing of the move, and would not say how far it is.
      if (!world.mayTake(ino, next)) throw new FsError('ENONET', 'move', { why: 'the next home has left' });
      const why = busy.length > 0 ? 'a node does not answer for a block of the file' : isBehind;
      if (world.nowMs() > endMs) throw new FsError('ETIMEDOUT', 'move', { why });
      await world.stepped();
      busy = handing.busy(ino, busy);
    }
  }

  /** A node of before was to be its home, and did not hear whether it is. */
  resume(ino: number): void {
    const world = this.#world;
    const move = world.candidateOf(ino);
    if (move === undefined) return;
    const from = world.homeOf(ino);
    this.#taking.set(ino, { move, from, stopWaiting: undefined });
    // Until then nothing is asked of it, and nobody uses what is here.
    world.neighbour(from).taken.resume(ino);
    this.#poll(ino, move);
  }

  /** Hears of what became of the move, whatever happens to whom. */
  #poll(ino: number, move: number): void {
    this.#world.after(this.#world.times.pollMs, () => {
      void this.#ask(ino, move).then((isOver) => {
        if (!isOver) this.#poll(ino, move);
      });
    });
  }

  /** Whether nothing is to be asked of that move any more. */
  async #ask(ino: number, move: number): Promise<boolean> {
    if (!this.#isOpen(ino, move)) return true;
    const answer = this.#world.isMoving(ino, move);
    if (answer === undefined || (await answer.catch(() => true))) return false;
    // If the file has moved, that has been said before the answer, and all have opened it here.
    if (this.#world.handing.inherited(ino) === move) this.areOpen(ino);
    this.gave({ ino, move });
    return true;
  }

  /** Whether this node does not know yet what became of a move, or whether all have heard of it. */
  #isOpen(ino: number, move: number): boolean {
    const { handing } = this.#world;
    const now = [this.#given.get(ino)?.move, this.#taking.get(ino)?.move];
    return [...now, handing.inherited(ino)].includes(move);
  }

  /** The move has failed, if it has not been committed: that may still be on its way here. */
  heardOfEnd({ ino, move }: Pick<MovedFile, 'ino' | 'move'>): void {
    void this.#ask(ino, move);
  }

  /** A file has moved, and whoever had it open there has opened it here. */
  areOpen(ino: number): void {
    this.#world.handing.areOpen(ino);
  }

  /** It is not moved after all by that. */
  gave({ ino, move }: Pick<MovedFile, 'ino' | 'move'>): void {
    if (this.#given.get(ino)?.move === move) this.#stays(ino);
    if (this.#taking.get(ino)?.move === move) this.#forget(ino);
  }

  /** It was given away, and is here still. */
  #stays(ino: number): void {
    const world = this.#world;
    const given = this.#given.get(ino);
    this.#given.delete(ino);
    if (given === undefined) return;
    const next = world.neighbour(given.to);
    world.showHome(ino, undefined);
    next.abandon(ino);
    next.giveBack(ino);
    world.handing.takeBack(ino);
    given.release();
  }

  /** It does not come here. */
  #forget(ino: number): void {
    const world = this.#world;
    const taking = this.#taking.get(ino);
    if (taking === undefined) return;
    this.#taking.delete(ino);
    taking.stopWaiting?.();
    world.neighbour(taking.from).taken.release(ino);
    world.handing.settle(ino, false);
    world.setCandidate(ino, undefined);
    world.forgetStored(ino);
  }

  /** Whether what is here of a file is what it is at its new home. If that is this node, it is lost else. */
  keepsPages(ino: number, { from, to }: { readonly from: number; readonly to: number }): boolean {
    const world = this.#world;
    if (to === world.self()) return world.candidateOf(ino) !== undefined;
    if (from === world.self()) return this.#given.get(ino)?.to === to;
    return !world.isKnown(from) || world.neighbour(from).taken.hasNothing(ino);
  }

  /** The inode says that the file has another home. */
  changed(ino: number, { from, to }: { readonly from: number; readonly to: number }): void {
    const world = this.#world;
    const { handing } = world;
    if (from === world.self()) {
      const given = this.#given.get(ino);
      this.#given.delete(ino);
      this.#asked.delete(ino);
      world.showHome(ino, undefined);
      handing.giveAway(ino);
      // It has gone on from there meanwhile.
      if (given !== undefined && given.to !== to) world.neighbour(given.to).abandon(ino);
      given?.release();
    } else if (world.isKnown(from)) {
      const neighbour = world.neighbour(from);
      // The home until now has begun anew, and did not know of it.
      if (to !== world.self()) neighbour.taken.lose(ino);
      neighbour.abandon(ino);
    }
    if (to !== world.self()) {
      // It was to be this node's by a move that has failed.
      if (this.#taking.has(ino)) this.#forget(ino);
      return;
    }
    this.#taking.get(ino)?.stopWaiting?.();
    this.#taking.delete(ino);
    handing.settle(ino, true);
    world.setCandidate(ino, undefined);
  }
}

const laterMove = (): FsError =>
  new FsError('ESTALE', 'move', { why: 'the coordinator moves it anew by now' });

const isBehind = 'the next home does not know the file as it is';
