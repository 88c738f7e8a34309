/** How a node becomes one of a cluster: the home of others, or a node that joins another one. */
import { randomInt } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Spinner } from '@cluster-fs/transport';
import { certifiedCluster, type PeerIdentity, type PeerSecurity } from '@cluster-fs/transport/peer';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import type { DataFile } from '../data-file.ts';
import { ClusterHome } from './home.ts';
import { hasLent } from './lent.ts';
import { type Connect, Member } from './member.ts';
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
  if (connect !== undefined) {
    const member = new Member(coordinator, connect, { memory, spinner });
    cleanup.push(() => member.close());
    return { home: undefined, member };
  }
  if (cluster === undefined) return { home: undefined, member: undefined };
  const { name = hostname(), security } = cluster;
  const home = new ClusterHome(coordinator, {
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
