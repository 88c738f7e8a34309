/** How a node becomes one of a cluster: the home of others, or a node that joins another one. */
import { createHash, randomInt } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
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
import { Unsaved } from '../coordinator/unsaved.ts';
import type { DataFile } from '../data-file.ts';
import { CacheBudget } from './cache-budget.ts';
import { Copies } from './copies.ts';
import { forgetForeign } from './foreign-content.ts';
import { ClusterHome } from './home.ts';
import { coordinatorId, coordinatorNumber, Homes } from './homes.ts';
import { LentMark } from './lent-mark.ts';
import type { Connect } from './line.ts';
import { Member } from './member.ts';
import { Neighbour, type NeighbourOptions } from './neighbour.ts';
import { type CoordinatorFacts, forgetStrangers } from './own-store.ts';
import { impostor, type Room, Roster } from './roster.ts';
import { Router } from './router.ts';
import { Shadow } from './shadow.ts';

/** See machine-id(5). */
const machineIdFile = '/etc/machine-id';
/** The part of memory that copies of other nodes' blocks keep, whatever a node with a store keeps itself. */
const cacheShare = 1 / 4;

export interface ClusterOptions {
  /** What the node is called in the cluster; default: the name of the host. */
  readonly name?: string;
  readonly security: PeerSecurity;
}

/** How a node becomes one of a cluster that there is. */
export interface Joining {
  readonly connect: Connect;
  readonly identity: PeerIdentity;
  /** Bytes that its files may have. */
  readonly capacity: number;
  readonly coordinator: CoordinatorFacts;
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
    memory: memoryOf(c, number),
    lostMemory: () => c.losses.home(number),
    isHome: (ino) => homes.homeOf(ino) === number,
    dropping: (block, bytes) => homes.lent?.keep(block, bytes),
    copies: () => homes.copies,
    welcomed: () => homes.reopenAll(number),
    position: () => homes.position(),
  });
  const homes = new Homes(c, memory, (number) => {
    const connect = (signal: AbortSignal) => reach(number, { roster, security, identity, signal });
    return new Neighbour(c, connect, parts(number));
  });
  const budget = cacheBudget(c, homes, memory);
  homes.copies = new Copies(c, homes, budget);
  cleanup.push(() => homes.close());
  const unsaved = new Unsaved(c.data.directory, {
    inodeCount: c.segment.inodeCount,
    isOfNobody: c.unresolved.size === 0,
    isSaved: () => homes.isSaved(),
    isTold: () => c.unresolved.size === 0 && c.losses.isTold,
  });
  c.losses.unsaved = unsaved;
  cleanup.push(() => unsaved.close());
  c.blocks = homes;
  c.routes = new Router(c, homes);
  const member =
    joining === undefined
      ? undefined
      : new Member(c, homes, joining.connect, {
          ...parts(coordinatorNumber),
          roster,
          room: roomOf(c, entering),
          name: identity.name,
        });
  if (member === undefined) beginCoordinating(c, homes, { roster, name: identity.name });
  else cleanup.push(() => member.close());
  if (joining?.keeps === false) return { home: undefined, member };
  member?.keepFiles();
  homes.loadCandidates();
  homes.loadLost();
  const home = openHome(c, { ...entering, homes, roster, identity, member });
  if (member !== undefined) forgetStrangers(c, homes);
  forgetForeign(c, homes);
  homes.beginCounting();
  for (const ino of homes.candidates) home.moving.resume(ino);
  return { home, member };
}

/** In the metadata store: a node that was killed may have heard of it alone. */
function memoryOf({ store }: Coordinator, number: number): { name: string | undefined } {
  const key = `memory-${number}`;
  return {
    get name() {
      return store.superblock(key);
    },
    set name(name) {
      store.setSuperblock({ [key]: name ?? '' });
    },
  };
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
  const mark = new LentMark(c);
  const { identity, roster } = entering;
  const ownerOf = ({ nodeId }: PeerIdentity): string | undefined => {
    if (nodeId === coordinatorId) return member?.coordinatorName ?? identity.name;
    const keeper = roster.named(nodeId);
    // One that is away and keeps no file may come back under another name.
    const isTaken = keeper?.url !== undefined || homes.keptBytes.has(keeper?.number ?? coordinatorNumber);
    return isTaken ? keeper?.name : undefined;
  };
  const home = new ClusterHome(c, homes, {
    ...entering,
    room: roomOf(c, entering),
    security: (entering.cluster as ClusterOptions).security,
    own: member?.own,
    // A token proves no name.
    impostor: (node, before) =>
      entering.cluster?.security.kind === 'tls' ? impostor(node, ownerOf(node) ?? before?.name) : undefined,
    facts: () => facts,
    mark,
    mayHaveLent: (wentOn || c.writeBack !== undefined) && mark.wasSet,
  });
  cleanup.push(() => void home.close());
  return home;
}

/** Without a store everything that a node keeps is in memory. */
function roomOf(c: Coordinator, { memory, joining }: Pick<Entering, 'memory' | 'joining'>): Room {
  const capacityBytes = c.writeBack === undefined ? memory : (joining?.capacity ?? c.segment.dataSize);
  return { memoryBytes: memory, capacityBytes };
}

/** What the files of a node leave of its memory is for copies of others' blocks. */
function cacheBudget(c: Coordinator, homes: Homes, memory: number): CacheBudget {
  const memoryPages = Math.floor(memory / pageSize);
  const sharePages = Math.floor(memoryPages * cacheShare);
  const budget: CacheBudget = new CacheBudget(() => {
    if (c.evictor === undefined) return memoryPages - homes.ownPages + budget.keptPages;
    const ownPages = c.evictor.residentPages - budget.usedPages - budget.keptPages;
    // As with its own pages, a sixteenth stays free for what comes next.
    return Math.max(sharePages, Math.floor(memoryPages * (15 / 16)) - ownPages);
  }, sharePages);
  return budget;
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
  const { nodeId, name } = keeper;
  // A certificate proves the name, and the number is only said.
  const expect = options.security.kind === 'tls' ? { nodeId, name } : { nodeId };
  return connectPeer({ ...parsePeerUrl(keeper.url), ...options, expect });
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
  { keptIn, store }: { readonly keptIn: string | undefined; readonly store: string | undefined },
): PeerIdentity {
  const clusterId = certifiedCluster(security) ?? new Uint8Array(16);
  const inMemory = keptIn === undefined ? randomInt(2, 2 ** 47) : nodeIdFor(keptIn);
  const nodeId = store === undefined ? inMemory : nodeIdIn(store);
  return { clusterId, nodeId, name, incarnation: Date.now() };
}

/** A store may go to another host, and its files stay those of the same node. */
function nodeIdIn(store: string): number {
  const file = `${store}/node-id`;
  if (!existsSync(file)) {
    writeFileSync(`${file}.new`, `${randomInt(2, 2 ** 47)}\n`, { mode: 0o600, flush: true });
    renameSync(`${file}.new`, file);
  }
  const nodeId = Number(readFileSync(file, 'utf8'));
  if (Number.isSafeInteger(nodeId) && nodeId >= 2 && nodeId < 2 ** 47) return nodeId;
  throw new FsError('EIO', 'join', { path: file, why: 'that is not the number of a node' });
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
    if (name !== 'lock') rmSync(`${directory}/${name}`, { recursive: true, force: true });
}

/** What a home had lent when it was killed is its own again. */
export function restoreLent(data: DataFile): void {
  const shadow = new Shadow(data);
  shadow.restore(data);
  shadow.close();
}
