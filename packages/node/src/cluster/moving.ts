/**
 * Files that get another home, at a node that keeps some: the state machines of coherence.md (`Moving`),
 * bound to the files of this node, its lines to others and its store.
 */
import { FsError } from '@cluster-fs/transport';
import { mostBlockRuns, type PeerBlocks, type PeerLink, type PeerRequest } from '@cluster-fs/transport/peer';
import {
  defaultMovingTimes,
  type Giver,
  type HandedOver,
  Moving,
  type MovingNeighbour,
  type MovingWorld,
} from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { blockOf, indexOf } from './blocks.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { Lent } from './lent.ts';
import type { Neighbour } from './neighbour.ts';
import { forgetTaken, makeRoomFor, storeTaken } from './own-store.ts';

/** The right to a file: an STag. */
type Right = Uint8Array;
export type FileMoves = Moving<Buffer, Right>;

export interface MovingParts {
  readonly c: Coordinator;
  readonly homes: Homes;
  readonly lent: Lent;
  /** Resolves when the coordinator knows all that was done to the file here. */
  readonly settled: (ino: number) => Promise<void>;
  /** The session of blocks that the node of that number has here. */
  readonly sessionOf: (number: number) => number | undefined;
}

export function movingOf(parts: MovingParts): FileMoves {
  const { c, homes, lent, settled, sessionOf } = parts;
  const world: MovingWorld<Buffer, Right> = {
    times: defaultMovingTimes,
    nowMs: () => performance.now(),
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      timer.unref();
      return () => clearTimeout(timer);
    },
    stepped: () => lent.stepped(),
    self: () => homes.self,
    handing: lent.handing,
    neighbour: (number) => neighbourOf(parts, homes.neighbour(number)),
    isKnown: (number) => homes.isKnown(number),
    sessionOf,
    knows: (ino, session) => homes.positions.knows(ino, session),
    mayTake: (ino, session) => lent.mayTake(ino, session),
    homeOf: (ino) => homes.homeOf(ino),
    assertIs: ({ ino, generation }, home) => {
      const inode = c.inode(ino);
      if (inode.generation !== generation || inode.home !== home)
        throw new FsError('ESTALE', 'move', { why: `inode ${ino} is not what is to be moved` });
    },
    assertMovable: (ino) => assertMovable(c, ino),
    hold: async (ino) => {
      const hold = await c.gate.acquire(ino, 'exclusive');
      return () => c.gate.release(hold);
    },
    settled,
    uses: (ino) => {
      // Who may store anywhere must have pages everywhere, and so has a file that is mapped to store.
      const mode = [...c.viewsOf(ino)].some((view) => view.mode === 'rw') ? 'rw' : 'r';
      return { mode, isWritten: lent.isWritten(ino) };
    },
    makeRoom: (ino) => makeRoomFor(c, ino),
    store: (ino, blocks) => storeTaken(c, ino, blocks),
    forgetStored: (ino) => {
      forgetTaken(c, homes, ino).catch((error: unknown) => c.hub.report(error));
    },
    showHome: (ino, home) => homes.show(ino, home),
    candidateOf: (ino) => homes.candidateOf(ino),
    setCandidate: (ino, file) => homes.setCandidate(ino, file),
    isMoving: (ino, move) => {
      if (homes.self === coordinatorNumber) return undefined;
      // Before everything has come that was committed, the answer says nothing.
      const link = homes.told?.();
      return link?.request('moves', { ino, move }).then(({ reply }) => reply.isMoving);
    },
  };
  return new Moving(world);
}

/** Answers a home that hands a file over. `by`: who says so. */
export function takeOver(
  moving: FileMoves,
  { c, lent }: Pick<MovingParts, 'c' | 'lent'>,
  { alone, ...asked }: PeerRequest<'handOver'>,
  by: Giver & { reply(reply: { stag: Uint8Array }): void },
): Promise<void> {
  moving.assertExpected(asked, by);
  if (alone.reduce((sum, { count }) => sum + count, 0) > c.segment.pageCount)
    throw new FsError('EPROTO', 'move', { why: 'more blocks than any file has' });
  const { ino, mode, session, asked: number } = asked;
  const blocks = [...indicesIn(alone)].map((index) => blockOf(ino, index));
  return moving.handOver({ ...asked, alone: blocks }, by, () =>
    by.reply({ stag: lent.give({ ino, mode, session, asked: number }) }),
  );
}

function neighbourOf({ c }: MovingParts, { line, borrowed }: Neighbour): MovingNeighbour<Buffer, Right> {
  return {
    taken: borrowed.taken,
    session: () => borrowed.session,
    enter: () => borrowed.enter(),
    reach: async () => {
      const link = await line.link();
      return (said) => handOver(c, borrowed, link, said);
    },
    bring: (ino, isTime) => borrowed.bring(ino, isTime),
    adopt: (ino, { right, mode }, blocks) => borrowed.adopt(ino, { stag: right, mode }, blocks),
    refuse: (ino, right) => borrowed.refuse(ino, right),
    abandon: (ino) => borrowed.abandon(ino),
    giveBack: (ino) => borrowed.leaving.add(ino),
  };
}

/** The STag that the next home gives. When that cannot be heard it is not wanted either. */
async function handOver(
  c: Coordinator,
  borrowed: Neighbour['borrowed'],
  link: PeerLink,
  { alone, ...said }: HandedOver,
): Promise<Right> {
  const asked = { ...said, alone: blockRuns(alone), asked: borrowed.nextAsked() };
  try {
    return (await link.request('handOver', asked)).reply.stag;
  } catch (error) {
    if (link.closed !== undefined)
      borrowed.disown(asked).catch((reason: unknown) => {
        // None was given, or the session is over, and it with that.
        if (!(reason instanceof FsError)) c.hub.report(reason);
      });
    throw error;
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
