/**
 * A file gets another home: what the two nodes do about it. The coordinator leads (migration.ts).
 *
 *   next home      taking ──handOver──▶ prepared ──the inode says so──▶ home
 *                     └────────────── gave ─┴──▶ a node like others
 *   home until now      home ──give──▶ given ──the inode says so──▶ a node like others, with what it had
 *                        ▲──────gave─────┘
 *
 * While it is `given` nobody changes the file, or gets a block of it that it does not have: requests wait,
 * and so do touches. Both nodes have all its bytes then. Who waits asks the new home afterwards.
 *
 * INVARIANT: what the inode says decides. A node that loses its way to the coordinator stays as it is until
 * it has heard what became of it.
 */
import { FsError } from '@cluster-fs/transport';
import { mostBlockRuns, type PeerBlocks, type PeerLink, type PeerRequest } from '@cluster-fs/transport/peer';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Hold } from '../coordinator/gate.ts';
import { blockOf, indexOf } from './blocks.ts';
import { layOutForeign } from './foreign-content.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { Lent } from './lent.ts';
import type { Neighbour } from './neighbour.ts';
import { forgetTaken, makeRoomFor, storeTaken } from './own-store.ts';
import { pagesOf } from './rows.ts';

/** How long one `take` fetches before it says how far it is. */
const takeMs = 200;
/** How often it is asked what became of a move. */
const pollMs = 1000;
/** How long the file waits, when it stands still, for blocks that were asked for before. */
const quietMs = 30_000;
/** A file that nobody goes on to move is forgotten by the node that was to be its home. */
const abandonedMs = 10_000;

export interface MovingParts {
  readonly c: Coordinator;
  readonly homes: Homes;
  readonly lent: Lent;
  /** Resolves when the coordinator knows all that was done to the file here. */
  readonly settled: (ino: number) => Promise<void>;
  /** The session of blocks that the node of that number has here. */
  readonly sessionOf: (number: number) => number | undefined;
}

/** The node that hands a file over: its number, and the session of blocks that it has here. */
export interface Giver {
  readonly number: number;
  readonly session: number | undefined;
  /** Aborted when it does not hear any more what it is answered. */
  readonly signal: AbortSignal;
}

interface Given {
  readonly hold: Hold;
  readonly to: number;
}

interface Taking {
  readonly from: number;
  timer: NodeJS.Timeout | undefined;
}

export class Moving {
  readonly #parts: MovingParts;
  readonly #given = new Map<number, Given>();
  readonly #taking = new Map<number, Taking>();
  #isStopping = false;

  constructor(parts: MovingParts) {
    this.#parts = parts;
  }

  close(): void {
    for (const { timer } of this.#taking.values()) clearTimeout(timer);
  }

  /** This node stops: it becomes the home of nothing more, and gives away what it has. */
  stop(): void {
    this.#isStopping = true;
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

  async take({ ino, generation, from }: PeerRequest<'take'>): Promise<{ present: number; total: number }> {
    const { c, homes } = this.#parts;
    this.#assertStays();
    this.#assertIs(ino, generation, from);
    assertMovable(c, ino);
    clearTimeout(this.#taking.get(ino)?.timer);
    const taking: Taking = { from, timer: undefined };
    this.#taking.set(ino, taking);
    try {
      const { borrowed } = homes.neighbour(from);
      await makeRoomFor(c, ino);
      const progress = await borrowed.bring(ino, performance.now() + takeMs);
      await storeTaken(c, ino, borrowed.taken.takeNews(ino));
      return progress;
    } finally {
      if (this.#taking.get(ino) === taking) {
        taking.timer = setTimeout(() => this.#forget(ino), abandonedMs);
        taking.timer.unref();
      }
    }
  }

  #assertIs(ino: number, generation: number, home: number): void {
    const inode = this.#parts.c.inode(ino);
    if (inode.generation !== generation || inode.home !== home)
      throw new FsError('ESTALE', 'move', { why: `inode ${ino} is not what is to be moved` });
  }

  /** The home until now hands it over: what comes here is the last of it. `by`: who says so. */
  async handOver(
    asked: PeerRequest<'handOver'>,
    by: Giver,
    reply: (reply: { stag: Uint8Array }) => void,
  ): Promise<void> {
    const { ino, generation, session, mode, alone, isWritten, asked: number } = asked;
    const { c, homes, lent } = this.#parts;
    const taking = this.#taking.get(ino);
    if (by.number !== taking?.from)
      throw new FsError('ESTALE', 'move', { why: `inode ${ino} is not expected` });
    this.#assertIs(ino, generation, taking.from);
    clearTimeout(taking.timer);
    taking.timer = undefined;
    if (by.session !== session) throw new FsError('ESTALE', 'move', { why: 'the home has left meanwhile' });
    if (alone.reduce((sum, { count }) => sum + count, 0) > c.segment.pageCount)
      throw new FsError('EPROTO', 'move', { why: 'more blocks than any file has' });
    const { borrowed } = homes.neighbour(taking.from);
    await borrowed.taken.prepare(
      ino,
      [...indicesIn(alone)].map((index) => blockOf(ino, index)),
    );
    // From here on its pages are kept over a crash, until it is known whose they are.
    homes.setCandidate(ino, generation);
    this.#poll(ino);
    await storeTaken(c, ino, borrowed.taken.takeNews(ino));
    if (this.#taking.get(ino) !== taking)
      throw new FsError('ESTALE', 'move', { why: 'it was given up meanwhile' });
    this.#assertStays();
    // It has asked what became of this, and was told that nothing was given.
    by.signal.throwIfAborted();
    if (isWritten) lent.handing.inherit(ino);
    reply({ stag: lent.give({ ino, mode, session, asked: number }) });
    // The reply leaves first: the home until now has as much to note as this node. What it says then is heard
    // after this turn of the event loop.
    await undefined;
    lent.handing.adopt(ino, session, borrowed.taken.sharedOf(ino));
  }

  /** Nobody changes the file here from when this resolves, until `gave` or `changed`. */
  async give({ ino, generation, to }: PeerRequest<'give'>): Promise<void> {
    const { c, homes, lent, settled, sessionOf } = this.#parts;
    this.#assertIs(ino, generation, homes.self ?? -1);
    const next = homes.neighbour(to);
    const ours = await next.borrowed.enter();
    const theirs = sessionOf(to);
    if (theirs === undefined) throw new FsError('ENONET', 'move', { why: 'the next home has left' });
    const hold = await c.gate.acquire(ino, 'exclusive');
    try {
      this.#assertIs(ino, generation, homes.self ?? -1);
      assertMovable(c, ino);
      lent.handing.freeze(ino, theirs);
      await settled(ino);
      const link = await next.line.link();
      await lent.handing.quiet(ino, quietMs);
      const alone = blockRuns(lent.handing.elsewhere(ino, theirs));
      // Who may store anywhere must have pages everywhere, and so has a file that is mapped to store.
      const mode = [...c.viewsOf(ino)].some((view) => view.mode === 'rw') ? 'rw' : 'r';
      const isWritten = lent.isWritten(ino);
      const asked = next.borrowed.nextAsked();
      const said = { ino, generation, session: ours, mode, alone, isWritten, asked } as const;
      const stag = await this.#handedOver(next, link, said);
      next.borrowed.adopt(ino, { stag, mode }, lent.handing.sharedWith(ino, theirs));
      this.#given.set(ino, { hold, to });
      this.#poll(ino);
    } catch (error) {
      lent.handing.takeBack(ino);
      c.gate.release(hold);
      throw error;
    }
  }

  /** The STag that the next home gives. When that cannot be heard it is not wanted either. */
  async #handedOver(
    { borrowed }: Neighbour,
    link: PeerLink,
    asked: PeerRequest<'handOver'>,
  ): Promise<Uint8Array> {
    try {
      return (await link.request('handOver', asked)).reply.stag;
    } catch (error) {
      if (link.closed !== undefined)
        borrowed.disown(asked).catch((reason: unknown) => {
          // None was given, or the session is over, and it with that.
          if (!(reason instanceof FsError)) this.#parts.c.hub.report(reason);
        });
      throw error;
    }
  }

  /** A node of before was to be its home, and did not hear whether it is. */
  resume(ino: number): void {
    this.#poll(ino);
  }

  /** Hears of what became of the move, whatever happens to whom. */
  #poll(ino: number): void {
    const timer = setTimeout(() => this.#ask(ino, () => this.#poll(ino)), pollMs);
    timer.unref();
  }

  #ask(ino: number, undecided: () => void): void {
    const { homes, lent } = this.#parts;
    const state = () => [this.#given.get(ino), this.#taking.get(ino), lent.handing.inherited(ino)];
    const asked = state();
    void this.#isDecided(ino)
      .catch(() => false)
      .then((isDecided) => {
        const now = state();
        if (now.every((part) => part === undefined) && !homes.isCandidate(ino)) return;
        // The answer says nothing of a move that has begun after the question.
        if (isDecided && now.every((part, i) => part === asked[i])) this.#isOver(ino);
        else undecided();
      });
  }

  /** A move has failed. It may be a later one, and what became of the one before is still on its way here. */
  heardOfEnd(ino: number): void {
    this.#ask(ino, () => undefined);
  }

  /** Whether nobody moves the file any more: if it has moved, that has been said before the answer. */
  async #isDecided(ino: number): Promise<boolean> {
    const { homes } = this.#parts;
    if (homes.self === coordinatorNumber) return false;
    // Before everything has come that was committed, the answer says nothing.
    const link = homes.told?.();
    if (link === undefined) return false;
    const { reply } = await link.request('moves', { ino });
    return !reply.isMoving;
  }

  /** Nobody moves the file: it has moved, and everybody knows, or it has not. */
  #isOver(ino: number): void {
    this.areOpen(ino);
    this.gave({ ino });
  }

  /** A file has moved, and whoever had it open there has opened it here. */
  areOpen(ino: number): void {
    this.#parts.lent.handing.areOpen(ino);
  }

  /** It is not moved after all. */
  gave({ ino }: { ino: number }): void {
    const { c, homes, lent } = this.#parts;
    const given = this.#given.get(ino);
    this.#given.delete(ino);
    if (given !== undefined) {
      const { borrowed } = homes.neighbour(given.to);
      borrowed.abandon(ino);
      borrowed.giveBack(ino);
      lent.handing.takeBack(ino);
      c.gate.release(given.hold);
    }
    this.#forget(ino);
  }

  #forget(ino: number): void {
    const { homes, lent } = this.#parts;
    const taking = this.#taking.get(ino);
    if (taking === undefined) {
      if (homes.isCandidate(ino)) this.#forgetPages(ino);
      homes.setCandidate(ino, undefined);
      this.#forgetStored(ino);
      return;
    }
    this.#taking.delete(ino);
    clearTimeout(taking.timer);
    homes.neighbour(taking.from).borrowed.taken.release(ino);
    lent.handing.settle(ino, false);
    homes.setCandidate(ino, undefined);
    this.#forgetStored(ino);
  }

  #forgetStored(ino: number): void {
    const { c, homes } = this.#parts;
    forgetTaken(c, homes, ino).catch((error: unknown) => c.hub.report(error));
  }

  /** What a node of before had of it was kept, and is of no use: it is another node's still. */
  #forgetPages(ino: number): void {
    const { c, homes } = this.#parts;
    c.journal
      .mutate(() => {
        const { size } = c.inode(ino);
        const pages = pagesOf(c.extents(ino));
        layOutForeign(c, homes, { ino, pages: [], size });
        layOutForeign(c, homes, { ino, pages, size });
        if (!c.views.has(ino)) c.writer.touchInode(ino).layoutVersion += 1;
      })
      .catch((error: unknown) => c.hub.report(error));
  }

  /** The inode says that the file has another home. */
  changed(ino: number, { from, to }: { from: number; to: number }): void {
    const { c, homes, lent } = this.#parts;
    if (from === homes.self) {
      const given = this.#given.get(ino);
      this.#given.delete(ino);
      lent.handing.giveAway(ino);
      if (given !== undefined) c.gate.release(given.hold);
    } else if (homes.isKnown(from)) homes.neighbour(from).borrowed.abandon(ino);
    if (to !== homes.self) return;
    clearTimeout(this.#taking.get(ino)?.timer);
    this.#taking.delete(ino);
    lent.handing.settle(ino, true);
    homes.setCandidate(ino, undefined);
  }
}

/** Who keeps what it maps has pages of the file at its home, and of a copy elsewhere. */
function assertMovable(c: Coordinator, ino: number): void {
  for (const { path, session, follow } of c.viewsOf(ino)) {
    if (session.ended) continue;
    const why = session.userfault === undefined ? 'pinned' : follow === 'manual' ? 'followed by hand' : '';
    if (why !== '')
      throw new FsError('EBUSY', 'move', {
        path,
        why: `${why} by session ${session.id} (pid ${session.pid}) of a node that it would leave, or come to`,
      });
  }
  for (const grant of c.brokenGrants)
    if (grant.ino === ino)
      throw new FsError('EBUSY', 'move', {
        path: grant.path,
        why: `pid ${grant.session.pid} is stopped in the middle of a write`,
      });
}

/** Blocks of a file as the next home is told of them. EBUSY when they are too scattered for a message. */
export function blockRuns(blocks: readonly number[]): PeerBlocks[] {
  const runs: { from: number; count: number }[] = [];
  for (const index of blocks.map(indexOf).sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last !== undefined && last.from + last.count === index) last.count++;
    else runs.push({ from: index, count: 1 });
  }
  if (runs.length > mostBlockRuns)
    throw new FsError('EBUSY', 'move', {
      why: `other nodes use ${runs.length} separate parts of the file, more than ${mostBlockRuns}`,
    });
  return runs;
}

function* indicesIn(runs: readonly PeerBlocks[]): Generator<number> {
  for (const { from, count } of runs) for (let index = from; index < from + count; index++) yield index;
}
