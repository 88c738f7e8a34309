/** The world of moves at a node of the simulation, in memory: what `moving.ts` of the node binds to files. */
import { FsError } from '@cluster-fs/transport';
import type { MovingWorld } from 'cluster-fs/coherence';
import type { MovingNode } from './moving-node.ts';
import { coordinator } from './simulation.ts';

/** So often a file may be found to wait for who has no right to it, before it stands still for nobody. */
const mostVain = 10;

/** Throws when a file waits for somebody who says nothing any more. */
function waiting({ sim, lending }: MovingNode): (file: number, session: number) => void {
  const vain = new Map<number, number>();
  return (file, session) => {
    if (!sim.nodes.some(({ id }) => lending.sessionOf(id) === session))
      throw new Error(`file ${file} waits for a session that is over`);
    const inVain = lending.hasRight(file, session) ? 0 : (vain.get(file) ?? 0) + 1;
    vain.set(file, inVain);
    if (inVain > mostVain) throw new Error(`file ${file} waits for who does not take it`);
  };
}

export function movingWorldOf(node: MovingNode): MovingWorld<number, number> {
  const { host, sim, lending } = node;
  const moment = (): Promise<void> => node.pause(sim.random.between(0, 2));
  const stores = (file: number): boolean =>
    host.isOwn(file) || host.candidates.has(file) || node.moving.isTaking(file);
  const assertWaitsFor = waiting(node);
  const firstSessions = new Map<number, number>();
  return {
    times: sim.movingTimes,
    nowMs: () => host.nowMs,
    after: (ms, run) => node.after(ms, () => node.settled(run)),
    stepped: () => node.pause(1),
    self: () => node.id,
    handing: lending.handing,
    neighbour: (id) => node.neighbour(id),
    isKnown: () => true,
    sessionOf: (id) => {
      const session = lending.sessionOf(id);
      if (sim.holds('over')) return session;
      if (session !== undefined && !firstSessions.has(id)) firstSessions.set(id, session);
      return firstSessions.get(id);
    },
    knows: (file, session) => {
      assertWaitsFor(file, session);
      return !sim.holds('known') || node.layouts.knows(file, session);
    },
    mayTake: (file, session) => !sim.holds('taken') || lending.hasRight(file, session),
    homeOf: (file) => host.homes[file] as number,
    assertIs: ({ ino }, home) => {
      if (host.homes[ino] !== home) throw new FsError('ESTALE', 'move', { why: 'it has another home' });
    },
    assertMovable: () => undefined,
    hold: (file) => node.hold(file),
    settled: async (file) => {
      await moment();
      await node.layouts.told(file);
    },
    uses: () => ({ mode: sim.usesToRead() ? 'r' : 'rw', isWritten: false }),
    makeRoom: moment,
    store: async (file, blocks) => {
      const news = [...blocks];
      await moment();
      for (const block of news)
        if (!host.page(block).isAbsent && stores(file)) host.disk.set(block, host.page(block).value);
    },
    forgetStored: (file) => {
      if (!stores(file)) for (const block of sim.blocksOf(file)) host.disk.delete(block);
    },
    showHome: (file, home) => {
      if (home === undefined || !sim.holds('shown')) host.shownHomes.delete(file);
      else host.shownHomes.set(file, home);
    },
    candidateOf: (file) => host.candidates.get(file),
    setCandidate: (file, of) => {
      if (of !== undefined) host.candidates.set(file, of.move);
      else host.candidates.delete(file);
    },
    isMoving: (file, move) => {
      if (node.id === coordinator || !node.isCurrent) return undefined;
      return node.neighbour(coordinator).request('moves', {
        ino: file,
        move: sim.holds('number') ? move : move - 1,
      });
    },
  };
}
