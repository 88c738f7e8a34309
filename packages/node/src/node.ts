/**
 * A node: one segment, its coordinator, and the socket that clients come to.
 *
 *   starting ──lock, recover──▶ serving ──stop──▶ stopped (nothing is left)
 *                                  └──killed, or stopped under clients──▶ started again: they come back
 */
import { closeSync, rmSync } from 'node:fs';
import { assert, FsError, native, Spinner } from '@cluster-fs/transport';
import type { PeerAddress } from '@cluster-fs/transport/peer';
import { runDirectory } from 'cluster-fs/address';
import { nodesHere, pageSize } from 'cluster-fs/segment';
import { Admission, type AllowLists } from './admission.ts';
import { lockDirectory, markInUse, takeAddress } from './claim.ts';
import type * as entrances from './cluster/enter.ts';
import type { ClusterOptions, Joining } from './cluster/enter.ts';
import type { ClusterHome } from './cluster/home.ts';
import type { Member } from './cluster/member.ts';
import { reportOf } from './cluster/membership.ts';
import type * as stores from './cluster/own-store.ts';
import { stopped } from './cluster/stopping.ts';
import { Coordinator, type CoordinatorOptions } from './coordinator/coordinator.ts';
import { EventHub } from './coordinator/event-hub.ts';
import { LayoutGate } from './coordinator/gate.ts';
import { Journal } from './coordinator/journal.ts';
import { type OnConflict, onConflicts, type RecallPolicy } from './coordinator/recall.ts';
import { type Recovered, recover, releaseTables } from './coordinator/recovery.ts';
import type { NodeFacts } from './coordinator/report.ts';
import { watchUnresolved } from './coordinator/unresolved.ts';
import { DataFile } from './data-file.ts';
import { assertSmallPages } from './huge-pages.ts';
import { type Limits, limitsWith } from './limits.ts';
import { type MetadataStore, memberOfKey } from './metadata/store.ts';
import { Server, type ServerOptions } from './server.ts';
import { Stopping } from './stopping.ts';
import { beginWriteBack, openMetadata, openWriteBack, storePath } from './store/open-store.ts';
import { Pager } from './store/pager.ts';
import { UserLoads } from './user-load.ts';
import { version } from './version.ts';

export interface NodeOptions extends AllowLists {
  /** The Unix socket to listen on. */
  readonly socketPath: string;
  /** Further sockets. The node is named after the first. */
  readonly alsoListen?: readonly string[];
  /** Where segment and metadata live, on tmpfs; default: in /dev/shm, named after the socket. */
  readonly runDirectory?: string;
  /** Bytes of files in memory. Without a store that is the size of the segment. */
  readonly memory: number;
  /**
   * Bytes of the segment, with a store; default eight times `memory`. A segment that is there already keeps
   * its size.
   */
  readonly capacity?: number;
  /** Inodes; default 2^20. Tables are sparse: what is not used takes no memory. */
  readonly inodeCount?: number;
  /** What clients may take, where it is not the default (limits.ts, docs/security.md). */
  readonly limits?: Partial<Limits>;
  /** A directory of a disk where files outlive memory and power; without it they live in tmpfs alone. */
  readonly store?: string;
  /** How old a change may become before it is in the store; default 5000. */
  readonly writeBackMs?: number;
  /** What becomes of changes that pinned clients are in the way of; default 'wait' (docs/leases.md). */
  readonly onConflict?: OnConflict;
  /** How long a client may take to let go of a file; default 2000. */
  readonly recallDeadlineMs?: number;
  /** Other nodes may join this one, wherever it listens for them. */
  readonly cluster?: ClusterOptions;
  /** Failures that no client waits for. */
  readonly onError?: (error: unknown) => void;
  /** Things the operator should know. */
  readonly onNotice?: (message: string) => void;
}

export interface ClusterNode {
  readonly coordinator: Coordinator;
  /** Where other nodes join, when they may. */
  readonly home: ClusterHome | undefined;
  /** The way to the node whose files these are, when it is another one. */
  readonly member: Member | undefined;
  readonly socketPath: string;
  readonly facts: NodeFacts;
  /** Lets other nodes join there; returns the URL. Requires: `cluster` was given. */
  listen(address: PeerAddress): Promise<string>;
  /** Whether it went on with what a node of before had left. */
  readonly recovered: boolean;
  /** Ends all sessions, and removes everything that no client goes on with (docs/recovery.md). */
  stop(): Promise<void>;
}

const defaultInodes = 2 ** 20;
/** Tables are mapped whole and indexed by 32-bit words: this many inodes take 4.6 GiB of addresses, twice. */
const maxInodes = 2 ** 22;
const minInodes = 16;
/** Page numbers have 32 bits. */
export const maxMemory = (2 ** 32 - 1) * pageSize;
/** What a segment with a store can name, by default. */
const capacityPerMemory = 8;
const minMemory = 16 * pageSize;
/** A client that holds a file's layout longer than this while another waits loses its write (ESTALE). */
const holdDeadlineMs = 1000;
/** Time for an application to come to a place where it can do without the file. */
const defaultRecallMs = 2000;

/** Milliseconds since 1970 with the fraction that Date.now() lacks. */
const now = (): number => performance.timeOrigin + performance.now();

/**
 * Starts a node to which no other can come. When it cannot, nothing is left that was not there before.
 *
 * @throws FsError EADDRINUSE when a node serves there already, EINVAL for sizes that make no sense, ENOSPC,
 * EACCES
 */
export const startAlone = (options: Omit<NodeOptions, 'cluster'>): ClusterNode => begin(prepare(options));

/** Lets clients in, or undoes all. */
export function begin({ serve, abandon, node }: Prepared): ClusterNode {
  try {
    serve();
    return node;
  } catch (error) {
    abandon();
    throw error;
  }
}

export interface Prepared {
  readonly node: ClusterNode;
  /** Lets clients in. */
  serve(): void;
  /** Ends what is there, at once. */
  abandon(): void;
}

/** What makes a node one of a cluster. A node alone starts without: it is a third of the program. */
export interface Entrance
  extends Pick<typeof entrances, 'enterCluster' | 'forgetFiles' | 'restoreLent'>,
    Pick<typeof stores, 'assertSameCluster'> {
  readonly joining?: Joining;
}

export function prepare(options: NodeOptions, entrance?: Entrance): Prepared {
  assertSizes(options);
  const limits = limitsWith(options.limits);
  const admission = new Admission(options, options.onNotice ?? (() => undefined));
  const cleanup: (() => void)[] = [];
  const cleanUp = (): void => {
    for (const step of cleanup.splice(0).reverse()) step();
  };
  try {
    const { removeFiles, stopping, serve, ...node } = assemble(options, {
      limits,
      admission,
      cleanup,
      entrance,
    });
    const stop = async (): Promise<void> => {
      // That was for a node that cannot start.
      if (cleanup.includes(removeFiles)) cleanup.splice(cleanup.indexOf(removeFiles), 1);
      try {
        await stopping.leave();
        // Before the lock goes, so that a node that starts just then does not find half of it.
        if (!stopping.isLeft) cleanup.splice(1, 0, removeFiles);
      } finally {
        cleanUp();
      }
      await Promise.resolve();
    };
    const listen = async (address: PeerAddress): Promise<string> => {
      assert(node.home !== undefined, 'a node of a cluster that others may come to');
      const url = await node.home.listen(address);
      await node.member?.keep(url);
      node.facts.listening.push(url);
      return url;
    };
    return { node: { ...node, stop, listen }, serve, abandon: cleanUp };
  } catch (error) {
    cleanUp();
    throw error;
  }
}

function assertSizes(options: NodeOptions): void {
  const { memory, inodeCount = defaultInodes, socketPath, capacity = memory } = options;
  const refuse = (why: string): never => {
    throw new FsError('EINVAL', 'serve', { path: socketPath, why });
  };
  if (!Number.isSafeInteger(memory) || memory < minMemory || memory > maxMemory) {
    refuse(`memory is ${memory} bytes, give ${minMemory} to ${maxMemory}`);
  }
  if (!Number.isSafeInteger(capacity) || capacity < memory || capacity > maxMemory) {
    refuse(`the capacity is ${capacity} bytes, give ${memory} to ${maxMemory}`);
  }
  if (capacity > memory && (options.store ?? options.cluster) === undefined)
    refuse('a capacity beyond memory needs a store, or other nodes');
  if (!Number.isSafeInteger(inodeCount) || inodeCount < minInodes || inodeCount > maxInodes) {
    refuse(`${inodeCount} inodes, give ${minInodes} to ${maxInodes}`);
  }
  const { onConflict = 'wait', recallDeadlineMs = defaultRecallMs } = options;
  if (!onConflicts.includes(onConflict))
    refuse(`onConflict is ${onConflict}, give one of ${onConflicts.join(', ')}`);
  if (!Number.isSafeInteger(recallDeadlineMs) || recallDeadlineMs < 1)
    refuse(`the recall deadline is ${recallDeadlineMs} ms`);
}

interface Parts {
  readonly entrance: Entrance | undefined;
  readonly limits: Limits;
  readonly admission: Admission;
  readonly cleanup: (() => void)[];
}

export const runDirectoryOf = (options: NodeOptions): string =>
  options.runDirectory ?? runDirectory(storePath(options) ?? options.socketPath);

/** Metadata, segment and `data`, as a node of before has left them, or new. */
function openFiles(options: NodeOptions, { cleanup, entrance }: Pick<Parts, 'cleanup' | 'entrance'>) {
  const { onNotice = () => undefined } = options;
  const directory = runDirectoryOf(options);
  const removeFiles = (): void => rmSync(directory, { recursive: true, force: true });
  const { lock, isNew } = lockDirectory(directory, options);
  cleanup.push(() => closeSync(lock));
  // What a killed node left is kept when this one cannot start; what we made is not.
  if (isNew) cleanup.push(removeFiles);
  if (isPaged(options)) assertSmallPages(directory);
  // A cache of a node of before, whose leases may be over.
  if (entrance?.joining?.keeps === false) entrance.forgetFiles(directory);
  const opened = openMetadata(options, directory, cleanup);
  if (options.store !== undefined) assertItsStore(opened.store, options.store, entrance);
  const recovered = recoverFrom(opened.store, options, cleanup);
  const { dataSize } = recovered.writer.segment;
  if (dataSize !== wholePages(capacityOf(options)))
    onNotice(`the segment that is there has ${dataSize} bytes and keeps them`);
  const data = new DataFile(`${directory}/data`, dataSize);
  cleanup.push(() => data.close());
  warnIfSmall(data, Math.min(dataSize, options.memory), { onNotice, isStored: options.store !== undefined });
  if (options.cluster !== undefined && entrance?.joining?.keeps !== false) entrance?.restoreLent(data);
  const writeBack = openWriteBack(options, opened, recovered);
  if (writeBack !== undefined) cleanup.push(() => writeBack.abandon());
  return { opened, recovered, data, writeBack, removeFiles };
}

/** Whether the node may have the files of a store, before anything becomes of them. */
function assertItsStore(store: MetadataStore, path: string, entrance: Entrance | undefined): void {
  const joining = entrance?.joining;
  if (joining !== undefined) entrance?.assertSameCluster(store, path, joining.coordinator);
  else if (store.superblock(memberOfKey) !== undefined)
    throw new FsError('EINVAL', 'serve', {
      path,
      why: 'the store is that of a node that joined a cluster: start it with --join, or joinNode',
    });
}

/** Puts the parts together; what must be undone when a later part fails, or at the end, goes on `cleanup`. */
function assemble(options: NodeOptions, { limits, admission, cleanup, entrance }: Parts) {
  const { socketPath, alsoListen = [], onNotice = () => undefined } = options;
  let stopped = false;
  // What is under way when the node stops fails, and nobody needs to hear of it.
  const onError = (error: unknown): void => {
    if (!stopped) options.onError?.(error);
  };
  const files = openFiles(options, { cleanup, entrance });
  const { opened, recovered, data, writeBack, removeFiles } = files;
  const { store } = opened;
  const recallPolicy = recallPolicyOf(options);
  const parts = { store, data, writeBack, limits, recallPolicy, onError };
  const coordinator = createCoordinator(recovered, parts);
  cleanup.push(watchUnresolved(coordinator));
  adopt(coordinator, recovered);
  const spinner = new Spinner();
  cleanup.push(() => spinner.close());
  nodesHere.add(coordinator.segment.id);
  cleanup.push(() => nodesHere.delete(coordinator.segment.id));
  if (writeBack !== undefined)
    beginWriteBack(coordinator, writeBack, opened, { memory: options.memory, spinner, onNotice });
  else if (options.cluster !== undefined)
    coordinator.pager = new Pager(coordinator, { store, file: undefined, spinner });
  cleanup.push(() => coordinator.journal.close());
  const facts: NodeFacts = {
    version,
    startedMs: now(),
    listening: [socketPath, ...alsoListen].map((path) => `unix:${path}`),
    persistent: writeBack !== undefined,
    admission,
    cluster: () => reportOf(home, member),
  };
  const wentOn = opened.isSame && !recovered.isNew;
  const { home, member } = entrance?.enterCluster(coordinator, {
    cluster: options.cluster,
    memory: options.memory,
    joining: entrance.joining,
    facts,
    spinner,
    wentOn,
    cleanup,
    onNotice,
  }) ?? { home: undefined, member: undefined };
  const { metaFd } = recovered;
  const servers: Server[] = [];
  const serve = (): void => {
    const loads = new UserLoads(limits);
    const common = { coordinator, metaFd, facts, admission, loads, spinner, onError };
    servers.push(...openServers([socketPath, ...alsoListen], common, cleanup));
    markInUse(data.directory);
  };
  cleanup.push(() => {
    stopped = true;
  });
  const stopping = new Stopping(coordinator, { home, member, servers, onNotice });
  const node = { coordinator, home, member, socketPath, facts, recovered: wentOn };
  return { ...node, removeFiles, stopping, serve };
}

function openServers(
  paths: readonly string[],
  common: Omit<ServerOptions, 'path'>,
  cleanup: (() => void)[],
): Server[] {
  for (const path of paths) takeAddress(path);
  return paths.map((path) => {
    const server = new Server({ ...common, path });
    cleanup.push(() => server.close(stopped('ECONNRESET')));
    return server;
  });
}

/** Bytes of files that the segment can name: with a store, more than memory holds. */
export const capacityOf = ({ memory, capacity, store }: NodeOptions): number =>
  capacity ?? Math.min(maxMemory, store === undefined ? memory : memory * capacityPerMemory);

/** Whether pages of files may be absent from memory. */
const isPaged = ({ store, cluster }: NodeOptions): boolean => store !== undefined || cluster !== undefined;

const wholePages = (bytes: number): number => Math.floor(bytes / pageSize) * pageSize;

function recoverFrom(store: MetadataStore, options: NodeOptions, cleanup: (() => void)[]): Recovered {
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const { inodeCount = defaultInodes } = options;
  const format = {
    dataSize: wholePages(capacityOf(options)),
    inodeCount,
    paged: isPaged(options),
  };
  const recovered = recover(store, { ...format, ...owner }, now());
  cleanup.push(() => releaseTables(recovered));
  return recovered;
}

function warnIfSmall(
  data: DataFile,
  dataSize: number,
  { onNotice, isStored }: { onNotice: (message: string) => void; isStored: boolean },
): void {
  const { type, available, blockSize, blocks } = native.fileSystemStats(data.fd);
  if (type !== 'tmpfs') onNotice(`${data.path} is not on tmpfs: files cannot move while they are written`);
  if (blocks > 0 && available * blockSize < dataSize) {
    const mib = (n: number): string => `${Math.floor(n / 2 ** 20)} MiB`;
    const beyond = isStored ? 'what is more stays in the store' : 'beyond that, ENOSPC';
    onNotice(`${mib(dataSize)} promised, tmpfs has ${mib(available * blockSize)}: ${beyond}`);
  }
}

function createCoordinator(
  { writer, published, epoch, nextHeldId }: Recovered,
  parts: Pick<CoordinatorOptions, 'store' | 'data' | 'writeBack' | 'limits' | 'recallPolicy'> & {
    onError: (error: unknown) => void;
  },
): Coordinator {
  const { store, onError } = parts;
  const journal = new Journal({ writer, published, store }, onError);
  const gate = new LayoutGate({ deadlineMs: holdDeadlineMs });
  const sessions = () => coordinator.sessions.values();
  const hub = new EventHub({ now, sessions, onError });
  const coordinator: Coordinator = new Coordinator({
    ...parts,
    journal,
    gate,
    hub,
    epoch,
    nextHeldId,
    now,
  });
  return coordinator;
}

const recallPolicyOf = ({
  onConflict = 'wait',
  recallDeadlineMs = defaultRecallMs,
}: NodeOptions): RecallPolicy => ({
  onConflict,
  deadlineMs: recallDeadlineMs,
});

/** Takes over what is left of before: sessions that may come back, inodes without a name, pages held back. */
function adopt(c: Coordinator, { held, orphans }: Recovered): void {
  for (const session of c.sessionLocks.held()) c.unresolved.set(session.id, session);
  for (const ino of orphans) c.orphans.add(ino);
  for (const { id, runs } of held) c.holdBack(id, runs);
  // What is in no file and not held is of nobody: a write or a move that did not get to its end, or what was
  // freed by a commit that the last node did not live to publish. Who has not come back reads what it
  // published, and must not read zeros there, or another file.
  const free = [...c.writer.pages.freeRuns()];
  if (c.unresolved.size === 0) c.data.punch(free);
  else
    c.holdBack(
      undefined,
      c.data.written(free).map((run) => c.writer.pages.take(run)),
    );
  if (c.unresolved.size === 0) c.nobodyLeft();
  c.journal.flush();
}
