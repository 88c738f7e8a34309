/** How a node becomes one of a cluster: the home of others, or a node that joins another one. */
import { randomInt } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { FsError, type Spinner } from '@cluster-fs/transport';
import { certifiedCluster, type PeerIdentity, type PeerSecurity } from '@cluster-fs/transport/peer';
import { pageSize } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import type { DataFile } from '../data-file.ts';
import { CacheBudget } from './cache-budget.ts';
import { ClusterHome } from './home.ts';
import { coordinatorNumber, Homes } from './homes.ts';
import { hasLent } from './lent.ts';
import type { Connect } from './line.ts';
import { Member } from './member.ts';
import { Router } from './router.ts';
import { Shadow } from './shadow.ts';

export interface ClusterOptions {
  /** What the node is called in the cluster; default: the name of the host. */
  readonly name?: string;
  readonly security: PeerSecurity;
}

interface Entering {
  readonly cluster: ClusterOptions | undefined;
  /** Bytes that a node that joins keeps of the home's files. */
  readonly memory: number;
  readonly facts: NodeFacts;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** A node of before was killed here. */
  readonly wentOn: boolean;
  /** How a node that joins reaches its home. */
  readonly connect: Connect | undefined;
  readonly cleanup: (() => void)[];
  readonly onNotice: (message: string) => void;
}

export function enterCluster(
  coordinator: Coordinator,
  { cluster, memory, facts, spinner, wentOn, connect, cleanup, onNotice }: Entering,
): { home: ClusterHome | undefined; member: Member | undefined } {
  if (cluster === undefined) return { home: undefined, member: undefined };
  const { name = hostname(), security } = cluster;
  const budget = new CacheBudget(() => Math.floor(memory / pageSize));
  const homes = new Homes(coordinator, (number) => {
    throw new FsError('EIO', 'open', { why: `node ${number} is not known here` });
  });
  cleanup.push(() => homes.close());
  coordinator.blocks = homes;
  coordinator.routes = new Router(coordinator, homes);
  if (connect !== undefined) {
    const unreachable = (): FsError =>
      new FsError('ECONNRESET', 'request', { why: 'the home of the files cannot be reached' });
    return {
      home: undefined,
      member: new Member(coordinator, homes, connect, { budget, spinner, unreachable }),
    };
  }
  homes.self = coordinatorNumber;
  const home = new ClusterHome(coordinator, homes, {
    name,
    security,
    onNotice,
    spinner,
    facts: () => facts,
    mayHaveLent: wentOn && hasLent(coordinator.data),
  });
  cleanup.push(() => void home.close());
  return { home, member: undefined };
}

/** Who a node is that joins a cluster: its certificate says which, or it learns that from the home. */
export const newcomer = (name: string, security: PeerSecurity): PeerIdentity => ({
  clusterId: certifiedCluster(security) ?? new Uint8Array(16),
  nodeId: randomInt(2, 2 ** 47),
  name,
  incarnation: Date.now(),
});

/** What a node that joined had of its home's files in an earlier life: its leases may be over. */
export function forgetFiles(directory: string): void {
  for (const name of readdirSync(directory))
    if (name !== 'lock') rmSync(`${directory}/${name}`, { force: true });
}

/** What a home had lent when it was killed is its own again. */
export function restoreLent(data: DataFile): void {
  const shadow = new Shadow(data);
  shadow.restore(data);
  shadow.close();
}
