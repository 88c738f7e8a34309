/**
 * How a node of the simulation stops when it is asked to, as `standDown` of the real one does:
 *
 *   serving ──its processes end──▶ emptied ──what is on its way is decided──▶ its files are at home
 *        ──nobody comes to it──▶ what it has of others goes home, and it leaves them ──▶ gone
 */
import { FsError } from '@cluster-fs/transport';
import { reclaimableAtMs } from 'cluster-fs/coherence';
import type { MovingNode } from './moving-node.ts';
import { coordinator } from './simulation.ts';

/**
 * `stored`: its files stay on its disk. `emptied`: they go to other nodes; when all of them did nothing is
 * kept, and it starts again as one that never was there.
 */
export type Stop = 'stored' | 'emptied';

const pollMs = 1;

/** Resolves when the node is ready to end, with what is kept of it. */
export async function stopCleanly(node: MovingNode, how: Stop): Promise<'disk' | 'memory' | 'nothing'> {
  const { host, sim, moving } = node;
  host.endProcesses();
  if (sim.holds('stays')) moving.stop();
  if (how === 'emptied') await emptyOut(node);
  const led = node.leading?.stop();
  if (sim.holds('settled')) await moving.settle(longestLeaseMs(node));
  if (led !== undefined) await Promise.race([led, node.pause(longestLeaseMs(node))]);
  // What it has for a move may be its own, and it could not hear that.
  const keepsSome = (): boolean =>
    host.homes.includes(node.id) || (sim.holds('settled') && host.candidates.size > 0);
  if (sim.holds('home') && keepsSome()) await takeHome(node);
  node.closeHome();
  if (sim.holds('givenUp')) await Promise.all(node.neighbours.map((neighbour) => neighbour.leaveIt()));
  if (how === 'emptied') return keepsSome() ? 'memory' : 'nothing';
  storeAll(node);
  return 'disk';
}

/** What a node had that is gone is its home's again after this. */
const longestLeaseMs = ({ sim }: MovingNode): number => reclaimableAtMs(sim.times, 0) + sim.times.heartbeatMs;

/** What it keeps goes to others; what does not stays. */
async function emptyOut(node: MovingNode): Promise<void> {
  if (!node.host.homes.includes(node.id)) return;
  try {
    await node.neighbour(coordinator).request('empty', {});
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
}

/** What others have of its files comes back, as far as they give it within a lease. */
async function takeHome(node: MovingNode): Promise<void> {
  const { host, sim, lending } = node;
  const endMs = host.nowMs + longestLeaseMs(node);
  lending.lendsNothing = true;
  const lacking = (): number[] => {
    const files = host.homes.flatMap((home, file) => (home === node.id ? [file] : []));
    return files.flatMap((file) => sim.blocksOf(file).filter((block) => !lending.mayStore(block)));
  };
  for (let blocks = lacking(); blocks.length > 0 && host.nowMs < endMs; blocks = lacking()) {
    for (const block of blocks) lending.home.fault(block, 'write');
    await node.pause(pollMs);
  }
}

/** What it has of its files is on its disk from here on. */
function storeAll({ host, sim, lending }: MovingNode): void {
  for (let block = 0; block < sim.blocks; block++) {
    if (!host.isOwn(sim.fileOf(block)) || !host.isThere(block)) continue;
    const isBeside = sim.holds('beside') && lending.isAway(block);
    const value = isBeside ? lending.load(block) : host.page(block).value;
    if (value >= 0) host.disk.set(block, value);
  }
}
