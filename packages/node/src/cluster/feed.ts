/**
 * The stream of changes at the home: every commit has a number, and every node gets every one, in order.
 *
 *   committed ──▶ sent to all ──applied by all──▶ whoever waits for the commit goes on
 *
 * A node whose link broke asks for what came after the last one that it has; when that is not kept, or the
 * feed is of another life of the home, it gets everything: rows as they are when they are sent, and the
 * commits that happen meanwhile in between. A row is the whole state of an inode or a name, so it does not
 * matter which of the two comes first.
 *
 * Nobody waits for a node that joins, or comes back after its lease, before all that it lacks is sent: it may
 * be far behind. One for which a commit has waited too long is `stuck`: its home cuts it off.
 *
 * Who followed an earlier life of the home shows what it knew then: commits wait for it, too, until it has
 * got everything, or its lease is over.
 *
 * INVARIANT: a commit is answered when every node that has caught up has applied it, or follows no more.
 */
import { randomBytes } from 'node:crypto';
import { FsError } from '@cluster-fs/transport';
import type { PeerEvent, PeerLink, PeerReply, PeerRequest } from '@cluster-fs/transport/peer';
import { defaultLease, type Position, reclaimableAtMs } from 'cluster-fs/coherence';
import { InodeCopy, isDirectory, listDirectory, readInode, type Segment } from 'cluster-fs/segment';
import { inodeRow } from '../coordinator/journal.ts';
import type { FollowerList } from './follower-list.ts';
import { bytesOf, partsOf } from './parts.ts';
import { type NetChanges, toPeerInode } from './rows.ts';

/** What is kept for nodes whose link broke. */
const mostKeptBytes = 16 * 2 ** 20;
/** Inodes that are read at once. */
const batchInodes = 512;
/** While more waits for the node that gets everything, no more is read for it. */
const queuedBytes = 4 * 2 ** 20;
const queuedPollMs = 5;

interface Commit extends NetChanges {
  readonly sequence: number;
  readonly bytes: number;
}

/** A node that follows. It stays one while its link is broken. */
export class Follower {
  readonly nodeId: number;
  link: PeerLink | undefined;
  appliedSequence = 0;
  /** What it asks for last counts: an earlier answer ends. */
  turn = 0;
  /** Everything of before was sent to it: from here on commits wait for it. */
  hasCaughtUp = false;

  constructor(nodeId: number) {
    this.nodeId = nodeId;
  }
}

interface Waiting {
  readonly sequence: number;
  readonly sinceMs: number;
  resolve(): void;
}

export class ChangeFeed {
  readonly #id = randomBytes(16);
  readonly #published: Segment;
  readonly #inodeLimit: () => number;
  readonly #kept: Commit[] = [];
  #keptBytes = 0;
  #position: Position = { feed: this.#id, sequence: 0 };
  readonly #followers = new Set<Follower>();
  #waiting: Waiting[] = [];
  readonly #list: FollowerList;
  /** Those of an earlier life that have not got everything. */
  readonly #former = new Map<number, Follower>();
  readonly #formerEndMs = reclaimableAtMs(defaultLease, performance.now());

  constructor(published: Segment, inodeLimit: () => number, list: FollowerList) {
    this.#published = published;
    this.#inodeLimit = inodeLimit;
    this.#list = list;
    for (const nodeId of list.nodeIds) {
      const follower = new Follower(nodeId);
      follower.hasCaughtUp = true;
      this.#former.set(nodeId, follower);
      this.#followers.add(follower);
    }
  }

  get sequence(): number {
    return this.#position.sequence;
  }

  /** Of the coordinator itself. */
  get position(): Position {
    return this.#position;
  }

  get followers(): ReadonlySet<Follower> {
    return this.#followers;
  }

  /** A commit is published here. Resolves when it is everywhere; undefined when nobody follows. */
  committed(changes: NetChanges): Promise<void> | undefined {
    this.#keep(changes);
    // Who comes from now on gets everything.
    if (this.#followers.size === 0) {
      this.#kept.length = 0;
      this.#keptBytes = 0;
      return undefined;
    }
    const sequence = this.sequence;
    const messages = this.#messagesOf(changes, sequence);
    for (const { link } of this.#followers) if (link !== undefined) tell(link, messages);
    return new Promise((resolve) => {
      this.#waiting.push({ sequence, sinceMs: performance.now(), resolve });
      this.#wake();
    });
  }

  /** Nodes for which a commit has waited so long, whatever they applied meanwhile. */
  stuck(limitMs: number): Follower[] {
    const [oldest] = this.#waiting;
    if (oldest === undefined || performance.now() - oldest.sinceMs < limitMs) return [];
    return [...this.#followers].filter(
      ({ hasCaughtUp, appliedSequence }) => hasCaughtUp && appliedSequence < oldest.sequence,
    );
  }

  #keep(changes: NetChanges): void {
    const bytes = bytesOf(changes);
    const sequence = this.sequence + 1;
    this.#position = { feed: this.#id, sequence };
    this.#kept.push({ ...changes, sequence, bytes });
    this.#keptBytes += bytes;
    while (this.#keptBytes > mostKeptBytes) this.#keptBytes -= this.#kept.shift()?.bytes ?? 0;
  }

  /** A node asks for changes; they go out behind the reply. */
  follow(follower: Follower, link: PeerLink, asked: PeerRequest<'follow'>): PeerReply<'follow'> {
    this.#list.add(follower.nodeId);
    this.#followers.add(follower);
    const turn = ++follower.turn;
    const first = (this.#kept[0]?.sequence ?? this.sequence + 1) - 1;
    const isSame = asked.feed !== undefined && this.#id.equals(asked.feed);
    const isKept = isSame && asked.sequence >= first && asked.sequence <= this.sequence;
    follower.appliedSequence = isKept ? asked.sequence : 0;
    if (isKept) follower.hasCaughtUp = true;
    setImmediate(() => {
      if (follower.turn !== turn) return;
      // What is committed before this is kept, or will be read.
      follower.link = link;
      if (isKept) this.#sendKept(link, asked.sequence);
      else
        this.#sendEverything(follower, link, turn).catch((cause) =>
          link.close(new FsError('EIO', 'follow', { why: 'the tree cannot be read', cause })),
        );
    });
    return this.#position;
  }

  #sendKept(link: PeerLink, after: number): void {
    for (const commit of this.#kept)
      if (commit.sequence > after) {
        const told = this.#withHomesOfNow(commit);
        tell(link, this.#messagesOf(told, commit.sequence));
      }
  }

  /**
   * Where a file has been while a node was away says nothing of what that node has of it: when it has come
   * back to its home, it may have got blocks there since.
   */
  #withHomesOfNow({ inodes, ...commit }: Commit): Commit {
    const now = new InodeCopy();
    const isThere = ({ ino, generation }: Commit['inodes'][number]): boolean =>
      readInode(this.#published, ino, now) && now.generation === generation;
    return { ...commit, inodes: inodes.map((row) => (isThere(row) ? { ...row, home: now.home } : row)) };
  }

  async #sendEverything(follower: Follower, link: PeerLink, turn: number): Promise<void> {
    const isWanted = (): boolean => follower.turn === turn;
    const s = this.#published;
    const directories: number[] = [];
    const part = {
      feed: this.#id,
      sequence: 0,
      isWhole: true,
      isLast: false,
      inodes: [],
      gone: [],
      names: [],
    };
    // In one turn: no commit comes between the rows of one inode.
    const send = (rows: Partial<NetChanges>): void => {
      for (const each of partsOf({ ...part, ...rows })) link.event('changes', { ...part, ...each });
    };
    for (let from = 1; from < this.#inodeLimit(); from += batchInodes) {
      const end = Math.min(from + batchInodes, this.#inodeLimit());
      const inodes = [];
      for (let ino = from; ino < end; ino++) {
        const row = inodeRow(s, ino);
        if (row === undefined) continue;
        if (isDirectory(row.mode)) directories.push(ino);
        inodes.push(toPeerInode(row));
      }
      if (inodes.length > 0) send({ inodes });
      if (!(await sent(link)) || !isWanted()) return;
    }
    for (const parent of directories) {
      const names = namesIn(s, parent);
      if (names.length > 0) send({ names });
      if (!(await sent(link)) || !isWanted()) return;
    }
    link.event('changes', { ...part, sequence: this.sequence, isLast: true });
    if (follower.hasCaughtUp) return;
    follower.hasCaughtUp = true;
    // Nobody waits for it with what was committed until now.
    follower.appliedSequence = this.sequence;
    this.#wake();
  }

  #messagesOf({ inodes, gone, names }: NetChanges, sequence: number): PeerEvent<'changes'>[] {
    const parts = partsOf({ inodes, gone, names });
    const last = parts.length - 1;
    return parts.map((part, i) => ({
      ...part,
      feed: this.#id,
      sequence,
      isWhole: false,
      isLast: i === last,
    }));
  }

  applied(follower: Follower, sequence: number): void {
    follower.appliedSequence = Math.max(follower.appliedSequence, sequence);
    if (follower.hasCaughtUp) this.#dropFormer(follower.nodeId);
    this.#wake();
  }

  /** The link of a node is gone, and it may come back. */
  linkDown(follower: Follower): void {
    follower.link = undefined;
    follower.turn++;
  }

  /** The lease of a node is over, or it has left: nobody waits for it. */
  drop(follower: Follower): void {
    this.linkDown(follower);
    this.#followers.delete(follower);
    const { nodeId } = follower;
    if (![...this.#followers].some((other) => other.nodeId === nodeId)) this.#list.delete(nodeId);
    this.#wake();
  }

  /** Nobody waits for those of an earlier life whose leases are over by now. */
  dropLate(): void {
    if (performance.now() < this.#formerEndMs) return;
    for (const nodeId of this.#former.keys()) this.#dropFormer(nodeId);
  }

  #dropFormer(nodeId: number): void {
    const follower = this.#former.get(nodeId);
    if (follower === undefined) return;
    this.#former.delete(nodeId);
    this.drop(follower);
  }

  /** The home ends: its next life waits for who follows now. */
  close(): void {
    this.#list.close();
  }

  #wake(): void {
    let applied = Number.POSITIVE_INFINITY;
    for (const { appliedSequence, hasCaughtUp } of this.#followers)
      if (hasCaughtUp) applied = Math.min(applied, appliedSequence);
    const done = this.#waiting.findIndex(({ sequence }) => sequence > applied);
    for (const { resolve } of this.#waiting.splice(0, done === -1 ? this.#waiting.length : done)) resolve();
  }
}

/** A node that cannot be told of a commit must not take the next one for what follows what it has. */
function tell(link: PeerLink, messages: readonly PeerEvent<'changes'>[]): void {
  try {
    for (const message of messages) link.event('changes', message);
  } catch (cause) {
    link.close(new FsError('EIO', 'follow', { why: 'a commit cannot be told', cause }));
  }
}

/** Names of a directory; none when it went meanwhile: a change says so. */
function namesIn(s: Segment, parent: number) {
  try {
    return listDirectory(s, parent).map(({ name, ino }) => ({ parent, name, ino }));
  } catch (error) {
    if (error instanceof FsError && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Lets others have a turn, and the link send; false when it is gone. */
async function sent(link: PeerLink): Promise<boolean> {
  await new Promise((goOn) => setImmediate(goOn));
  while (link.closed === undefined && link.queuedBytes > queuedBytes)
    await new Promise((goOn) => setTimeout(goOn, queuedPollMs));
  return link.closed === undefined;
}

/** Of one that is stuck. */
export const heldUp = (): FsError =>
  new FsError('ETIMEDOUT', 'follow', { why: 'the node did not apply changes, and held all others up' });
