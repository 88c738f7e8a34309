/** How a node becomes one of a cluster: the home of others, or a node that joins another one. */
import { createHash, randomInt } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { FsError, type Spinner } from '@cluster-fs/transport';
import {
  certifiedCluster,
  connectPeer,
  type PeerIdentity,
  type PeerLink,
  type PeerSecurity,
  parsePeerUrl,
} from '@cluster-fs/transport/peer';
import { pageSize } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import type { DataFile } from '../data-file.ts';
import { CacheBudget } from './cache-budget.ts';
import { Copies } from './copies.ts';
import { forgetForeign } from './foreign-content.ts';
import { ClusterHome } from './home.ts';
import { coordinatorId, coordinatorNumber, Homes } from './homes.ts';
import { hasLent } from './lent.ts';
import type { Connect } from './line.ts';
import { Member } from './member.ts';
import { Neighbour, type NeighbourOptions } from './neighbour.ts';
import { Roster } from './roster.ts';
import { Router } from './router.ts';
import { Shadow } from './shadow.ts';

/** See machine-id(5). */
const machineIdFile = '/etc/machine-id';

export interface ClusterOptions {
  /** What the node is called in the cluster; default: the name of the host. */
  readonly name?: string;
  readonly security: PeerSecurity;
}

/** How a node becomes one of a cluster that there is. */
export interface Joining {
  readonly connect: Connect;
  readonly identity: PeerIdentity;
  /** Whether it keeps files, and goes on with those of before. */
  readonly keeps: boolean;
}

interface Entering {
  readonly cluster: ClusterOptions | undefined;
  /** Bytes of files in memory. */
  readonly memory: number;
  readonly facts: NodeFacts;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** A node of before was killed here. */
  readonly wentOn: boolean;
  readonly joining: Joining | undefined;
  readonly cleanup: (() => void)[];
  readonly onNotice: (message: string) => void;
}

export interface Entered {
  /** Where other nodes come to. */
  readonly home: ClusterHome | undefined;
  /** The way to the coordinator, when that is another node. */
  readonly member: Member | undefined;
}

export function enterCluster(c: Coordinator, entering: Entering): Entered {
  const { cluster, memory, spinner, joining, cleanup } = entering;
  if (cluster === undefined) return { home: undefined, member: undefined };
  const { security } = cluster;
  const identity = joining?.identity ?? coordinatorIdentity(c, cluster);
  const roster = new Roster();
  const parts = (number: number): NeighbourOptions => ({
    budget,
    spinner,
    unreachable: () => unreachable(number, roster),
    isHome: (ino) => homes.homeOf(ino) === number,
    dropping: (block, bytes) => homes.lent?.keep(block, bytes),
    copies: () => homes.copies,
  });
  const homes = new Homes(c, memory, (number) => {
    const connect = (signal: AbortSignal) => reach(number, { roster, security, identity, signal });
    return new Neighbour(c, connect, parts(number));
  });
  const budget: CacheBudget = new CacheBudget(
    () => Math.floor(memory / pageSize) - homes.ownPages + budget.keptPages,
  );
  homes.copies = new Copies(c, homes, budget);
  cleanup.push(() => homes.close());
  c.blocks = homes;
  c.routes = new Router(c, homes);
  const member =
    joining === undefined
      ? undefined
      : new Member(c, homes, joining.connect, {
          ...parts(coordinatorNumber),
          roster,
          memory,
          name: identity.name,
        });
  if (member === undefined) beginCoordinating(c, homes, { roster, name: identity.name });
  else cleanup.push(() => member.close());
  if (joining?.keeps === false) return { home: undefined, member };
  member?.keepFiles();
  homes.loadCandidates();
  homes.loadLost();
  const home = openHome(c, { ...entering, homes, roster, identity, member });
  forgetForeign(c, homes);
  homes.beginCounting();
  for (const ino of homes.candidates) home.moving.resume(ino);
  return { home, member };
}

function beginCoordinating(
  c: Coordinator,
  homes: Homes,
  { roster, name }: { readonly roster: Roster; readonly name: string },
): void {
  homes.self = coordinatorNumber;
  c.mayEnd = (ino) => homes.homeOf(ino) === coordinatorNumber;
  roster.load(c.store, name);
}

interface Opening extends Entering {
  readonly homes: Homes;
  readonly roster: Roster;
  readonly identity: PeerIdentity;
  readonly member: Member | undefined;
}

function openHome(
  c: Coordinator,
  { homes, member, facts, wentOn, cleanup, ...entering }: Opening,
): ClusterHome {
  const home = new ClusterHome(c, homes, {
    ...entering,
    security: (entering.cluster as ClusterOptions).security,
    own: member?.own,
    facts: () => facts,
    mayHaveLent: wentOn && hasLent(c.data),
  });
  cleanup.push(() => void home.close());
  return home;
}

function coordinatorIdentity(c: Coordinator, { name = hostname(), security }: ClusterOptions): PeerIdentity {
  const clusterId = certifiedCluster(security) ?? Buffer.from(c.segment.id, 'hex');
  return { clusterId, nodeId: coordinatorId, name, incarnation: Date.now() };
}

interface Reaching {
  readonly roster: Roster;
  readonly security: PeerSecurity;
  readonly identity: PeerIdentity;
  readonly signal: AbortSignal;
}

/** Connects to a node that keeps files. */
function reach(number: number, { roster, ...options }: Reaching): Promise<PeerLink> {
  const keeper = roster.of(number);
  if (keeper?.url === undefined) return Promise.reject(unreachable(number, roster));
  return connectPeer({ ...parsePeerUrl(keeper.url), ...options, expect: { nodeId: keeper.nodeId } });
}

function unreachable(number: number, roster: Roster): FsError {
  if (number === coordinatorNumber)
    return new FsError('ECONNRESET', 'request', { why: 'the home of the files cannot be reached' });
  const name = roster.of(number)?.name ?? `number ${number}`;
  return new FsError('EIO', 'request', { why: `node '${name}', which keeps the file, cannot be reached` });
}

/**
 * Who a node is that joins a cluster: its certificate says which, or it learns that from the coordinator. One
 * that keeps files is the same whenever it is started there.
 */
export function newcomer(
  { name = hostname(), security }: ClusterOptions,
  keptIn: string | undefined,
): PeerIdentity {
  const clusterId = certifiedCluster(security) ?? new Uint8Array(16);
  const nodeId = keptIn === undefined ? randomInt(2, 2 ** 47) : nodeIdFor(keptIn);
  return { clusterId, nodeId, name, incarnation: Date.now() };
}

/** The same for a directory of a host, and no other's. */
function nodeIdFor(directory: string): number {
  const machine = existsSync(machineIdFile) ? readFileSync(machineIdFile, 'utf8') : '';
  const hash = createHash('sha256').update([hostname(), machine, directory].join('\0')).digest();
  return 2 + (Number.parseInt(hash.toString('hex', 0, 6), 16) % (2 ** 47 - 2));
}

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
