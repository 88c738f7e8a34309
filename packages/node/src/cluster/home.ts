/**
 * A node that keeps files, as others see it: lets them in, answers them, and knows when one is gone. The
 * coordinator also streams changes to them.
 *
 *   link ──▶ peer with a link ──link ends──▶ peer without ──lease over──▶ gone: guests, blocks, STags
 *                    ▲──────────the same life of the node comes back──┘
 *
 * A peer that breaks the protocol, or holds the others up, is cut off: it does not come back before its lease
 * is over.
 */
import { FsError, type Spinner } from '@cluster-fs/transport';
import {
  type AnyPeerEvent,
  type AnyPeerRequest,
  listenPeers,
  type PeerAddress,
  type PeerEvent,
  type PeerIdentity,
  type PeerLink,
  type PeerListener,
  type PeerReply,
  type PeerRequest,
  type PeerSecurity,
  type PeerUse,
} from '@cluster-fs/transport/peer';
import { defaultLease } from 'cluster-fs/coherence';
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { sparingly } from '../admission.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import type { EventKind } from '../coordinator/event-hub.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import { standDownMs } from '../coordinator/sync.ts';
import { Durability } from './durability.ts';
import { ChangeFeed, Follower, heldUp } from './feed.ts';
import { FollowerList } from './follower-list.ts';
import { applyContent } from './foreign-content.ts';
import { Guests } from './guests.ts';
import { coordinatorId, coordinatorNumber, type Homes } from './homes.ts';
import { Lent } from './lent.ts';
import type { LentMark } from './lent-mark.ts';
import { Migration } from './migration.ts';
import { type FileMoves, type MovingParts, movingOf, takeOver } from './moving.ts';
import { nodeReports } from './node-report.ts';
import type { OwnContent } from './own-content.ts';
import { makeHomesDurable } from './own-store.ts';
import { Placement } from './placement.ts';
import { type Room, type Roster, reachableAt } from './roster.ts';
import { netOf } from './rows.ts';
import { stopped } from './stopping.ts';
import { sumOf } from './sum-of.ts';

/** A node that joined, in one of its lives. */
interface Peer {
  readonly identity: PeerIdentity;
  /** At the coordinator. */
  readonly follower: Follower | undefined;
  readonly guests: Guests;
  /** Its session of blocks, as soon as it has one. */
  session: number | undefined;
  link: PeerLink | undefined;
  /** Why its lease is not made longer any more. */
  cutOff: FsError | undefined;
}

const followersPollMs = 500;
/** A lease in which its link may be away, and as much to catch up. */
const stuckMs = 2 * defaultLease.leaseMs;

export interface HomeOptions {
  readonly identity: PeerIdentity;
  readonly security: PeerSecurity;
  readonly facts: () => NodeFacts;
  readonly onNotice: (message: string) => void;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** Whether a node of before may have lent blocks whose leases are not over. */
  readonly mayHaveLent: boolean;
  readonly mark: LentMark;
  /** Undefined at the coordinator: how what was done here gets there. */
  readonly own: OwnContent | undefined;
  readonly roster: Roster;
  readonly room: Room;
  /** Why a node is not let in with the number of another one, or of `before`, which has it here. */
  impostor(node: PeerIdentity, before: PeerIdentity | undefined): FsError | undefined;
}

export class ClusterHome {
  readonly #c: Coordinator;
  readonly #options: HomeOptions;
  readonly #homes: Homes;
  /** At the coordinator. */
  readonly #feed: ChangeFeed | undefined;
  readonly #lent: Lent;
  readonly moving: FileMoves;
  readonly #movingParts: MovingParts;
  /** At the coordinator. */
  readonly migration: Migration | undefined;
  readonly placement: Placement | undefined;
  readonly #peers = new Map<string, Peer>();
  readonly #listeners: PeerListener[] = [];
  readonly #durability: Durability;
  readonly #timer: NodeJS.Timeout;
  readonly #say: (message: string) => void;
  #closed = false;

  constructor(c: Coordinator, homes: Homes, options: HomeOptions) {
    this.#c = c;
    this.#homes = homes;
    this.#options = options;
    this.#say = sparingly(options.onNotice);
    const listeners = {
      opened: (link: PeerLink, session: number) => {
        for (const peer of this.#peers.values()) if (peer.link === link) peer.session = session;
      },
      ended: (session: number) => {
        for (const peer of this.#peers.values()) if (peer.session === session) this.#gone(peer);
      },
      broke: (link: PeerLink, reason: FsError) => {
        for (const peer of this.#peers.values()) if (peer.link === link) this.#cutOff(peer, reason);
      },
    };
    const { own, roster, room, identity } = options;
    this.#lent = new Lent(c, listeners, {
      ...options,
      isOwn: (ino) => homes.isOwn(ino),
      assertHas: (ino) => homes.assertHas(ino),
      positions: homes.positions,
    });
    homes.lent = this.#lent;
    this.#movingParts = {
      c,
      homes,
      lent: this.#lent,
      settled: (ino) => own?.settled(ino) ?? Promise.resolve(),
      sessionOf: (number) => this.#sessionOf(number),
    };
    this.moving = movingOf(this.#movingParts);
    homes.moving = this.moving;
    this.#durability = new Durability(c, homes);
    c.stores = this.#durability;
    this.#timer = setInterval(() => this.#lookAtFollowers(), followersPollMs);
    this.#timer.unref();
    if (own !== undefined) return;
    const feed = new ChangeFeed(c.journal.published, () => c.writer.inodeLimit, new FollowerList(c.store));
    this.#feed = feed;
    homes.position = () => feed.position;
    homes.positions.begin(feed.position);
    const { name } = identity;
    const migration = new Migration({ c, homes, roster, moving: this.moving, name, room });
    const placement = new Placement({ c, homes, roster, migration, name, room, uses: () => this.#uses() });
    this.migration = migration;
    this.placement = placement;
    c.placing = {
      migrate: (session, request, long) => migration.migrate(session, request, long),
      drain: (request, long) => placement.drain(request, long),
      rebalance: (request, long) => placement.rebalance(request, long),
    };
    c.journal.replicate = (changes) => {
      const net = netOf(changes);
      if (migration.isCommitting) makeHomesDurable(c);
      if (net === undefined) return undefined;
      const told = feed.committed(net);
      homes.positions.committed(net, coordinatorNumber, feed.sequence);
      homes.wentOn();
      return told;
    };
    c.hub.relay = (kind, path, detail) => {
      for (const { link } of feed.followers) link?.event('happened', { kind, path, detail });
      return true;
    };
  }

  /** The session of blocks of the node of that number. */
  #sessionOf(number: number): number | undefined {
    const nodeId = number === coordinatorNumber ? coordinatorId : this.#options.roster.of(number)?.nodeId;
    return this.#livesOf(nodeId).at(-1)?.session;
  }

  /** In their order: a node that was started again is there twice, until its earlier lease is over. */
  #livesOf(nodeId: number | undefined): Peer[] {
    return [...this.#peers.values()]
      .filter(({ identity }) => identity.nodeId === nodeId)
      .sort((a, b) => a.identity.incarnation - b.identity.incarnation);
  }

  /** At the coordinator. */
  get report(): ClusterReport {
    const { roster, identity } = this.#options;
    const kept = this.#homes.keptBytes;
    const sequence = this.#feed?.sequence ?? 0;
    return {
      role: 'home',
      name: identity.name,
      home: null,
      keptBytes: kept.get(coordinatorNumber) ?? 0,
      homes: roster.homes(identity.name),
      nodes: nodeReports(this.#peers.values(), { roster, kept, sequence }),
      sequence,
      ...sumOf(this.#homes.cacheReport, this.#lent.report),
    };
  }

  /** At a node that keeps files. */
  reportWith(member: ClusterReport): ClusterReport {
    const { self } = this.#homes;
    const keptBytes = self === undefined ? 0 : (this.#homes.keptBytes.get(self) ?? 0);
    return { ...member, ...sumOf(member, this.#lent.report), keptBytes };
  }

  /** Where nodes can join from here on. */
  async listen(address: PeerAddress): Promise<string> {
    const { identity, security } = this.#options;
    const listener = await listenPeers(
      { ...address, security, identity, onRefused: (reason) => this.#say(`not let in: ${reason.message}`) },
      (link) => this.#admit(link),
    );
    this.#listeners.push(listener);
    return listener.url;
  }

  /** What was begun is answered; from here on nobody is served. */
  async turnAway(): Promise<void> {
    clearInterval(this.#timer);
    this.#feed?.close();
    this.moving.close();
    await Promise.all(this.#listeners.splice(0).map((listener) => listener.close()));
    // Who is told EAGAIN asks the file's next home. There is no other coordinator.
    const reason = stopped(this.#feed === undefined ? 'EAGAIN' : 'ECONNRESET');
    const links = [...this.#peers.values()].flatMap(({ link }) => link ?? []);
    // What one of them has begun may wait until another one has heard of it.
    await Promise.all(links.map((link) => link.refuse(reason, standDownMs)));
    for (const link of links) link.quit();
  }

  /** Safe to call twice. */
  async close(): Promise<void> {
    await this.turnAway();
    if (!this.#closed) this.#lent.close();
    this.#closed = true;
  }

  #admit(link: PeerLink): void {
    const { nodeId, incarnation, name } = link.peer;
    const key = `${nodeId}/${incarnation}`;
    const known = this.#peers.get(key);
    const peer: Peer = known ?? {
      identity: link.peer,
      follower: this.#feed === undefined ? undefined : new Follower(nodeId),
      guests: new Guests(this.#c, name, this.#options.facts),
      session: undefined,
      link: undefined,
      cutOff: undefined,
    };
    const refusal = peer.cutOff ?? this.#options.impostor(link.peer, this.#livesOf(nodeId)[0]?.identity);
    if (refusal !== undefined) {
      this.#say(`not let in: ${refusal.message}`);
      link.close(refusal);
      return;
    }
    this.#peers.set(key, peer);
    peer.link?.close(new FsError('ECONNRESET', 'hello', { why: 'the node has connected anew' }));
    peer.link = link;
    link.setHandlers({
      onRequest: (request) => this.#onRequest(peer, link, request),
      onEvent: (event) => this.#onEvent(peer, link, event),
      onClose: () => this.#lost(peer, link),
    });
    if (known === undefined && this.#feed !== undefined)
      this.#c.hub.emit('node-join', undefined, { node: name, url: link.url });
    if (link.closed !== undefined) this.#lost(peer, link);
  }

  #lookAtFollowers(): void {
    this.#feed?.dropLate();
    const stuck = new Set(this.#feed?.stuck(stuckMs));
    for (const peer of this.#peers.values())
      if (peer.follower !== undefined && stuck.has(peer.follower)) this.#cutOff(peer, heldUp());
  }

  #cutOff(peer: Peer, reason: FsError): void {
    peer.cutOff ??= reason;
    peer.link?.close(reason);
  }

  #lost(peer: Peer, link: PeerLink): void {
    if (peer.link !== link) return;
    peer.link = undefined;
    if (peer.follower !== undefined) this.#feed?.linkDown(peer.follower);
    this.#lent.linkDown(link);
    if (peer.session === undefined) this.#gone(peer);
  }

  #gone(peer: Peer): void {
    const { identity, follower, guests, link } = peer;
    this.#peers.delete(`${identity.nodeId}/${identity.incarnation}`);
    peer.link = undefined;
    if (follower !== undefined) this.#feed?.drop(follower);
    guests.closeAll();
    link?.close(new FsError('ETIMEDOUT', 'lease', { why: 'the lease of the node is over' }));
    if (this.#feed === undefined) return;
    this.#c.hub.emit('node-leave', undefined, { node: identity.name });
    if (this.#livesOf(identity.nodeId).length > 0) return;
    if (this.#options.roster.left(identity.nodeId)) this.#tellKeepers();
  }

  #onRequest(peer: Peer, link: PeerLink, request: AnyPeerRequest): void {
    const answer = async (): Promise<void> => this.#answer(peer, link, request);
    answer().catch((error: unknown) => {
      if (!(error instanceof FsError)) this.#c.hub.report(error);
      request.fail(error instanceof FsError ? error : new FsError('EIO', request.name, { cause: error }));
    });
  }

  #answer(peer: Peer, link: PeerLink, request: AnyPeerRequest): Promise<void> | void {
    const { guests, follower } = peer;
    switch (request.name) {
      case 'describe':
        return request.reply(this.#description);
      case 'follow':
        if (this.#feed === undefined || follower === undefined) throw notTheCoordinator();
        request.reply(this.#feed.follow(follower, link, request.fields));
        link.event('keepers', { keepers: this.#options.roster.keepers });
        return;
      case 'guestOpen':
        guests.open(request.fields);
        return request.reply({});
      case 'handleOpen':
        guests.openHandle(request.fields);
        return request.reply({});
      case 'forward':
      case 'forwardContent':
        return this.#whenOpen(async () => {
          request.reply({ values: await guests.forward(request.fields, request) });
        });
      case 'write':
        return this.#whenOpen(async () => {
          request.reply(await guests.write(request.fields, request.payload ?? new Uint8Array(0)));
        });
      case 'fill':
        guests.fill(request.fields, request.payload ?? new Uint8Array(0));
        return request.reply({});
      case 'tagOpen':
        return this.#whenOpen(async () => {
          request.reply(await this.#lent.tag(link, request.fields));
        });
      default:
        return this.#move(peer, link, request);
    }
  }

  /** What nodes that keep files ask of each other, and of the coordinator. */
  #move(peer: Peer, link: PeerLink, request: AnyPeerRequest): Promise<void> | void {
    switch (request.name) {
      case 'keep':
        return request.reply({ number: this.#keep(peer, link, request.fields) });
      case 'content':
        return this.#whenOpen(async () => {
          const { files } = request.fields;
          request.reply({ refused: await applyContent(this.#c, this.#homes, this.#keeperOf(peer), files) });
        });
      case 'empty':
        return this.#whenOpen(async () => {
          const emptied = await this.placement?.emptyStopping(this.#keeperOf(peer), request.signal);
          request.reply(emptied ?? { moved: 0, failed: [] });
        });
      case 'flush':
        if (request.fields.what !== 'names') assertCoordinator(peer);
        return this.#whenOpen(async () => request.reply(await this.#durability.answer(request.fields)));
      case 'uses':
        assertCoordinator(peer);
        return request.reply({ files: this.#uses() });
      case 'moves':
        return request.reply({ isMoving: this.migration?.isMoving(request.fields) ?? false });
      case 'take':
        assertCoordinator(peer);
        return this.#whenOpen(async () => request.reply(await this.moving.take(request.fields)));
      case 'give':
        assertCoordinator(peer);
        return this.#whenOpen(async () => {
          await this.moving.give(request.fields, request.signal);
          request.reply({});
        });
      case 'handOver':
        return this.#whenOpen(async () => {
          const { signal } = request;
          const reply = (given: { stag: Uint8Array }) => request.reply(given);
          const by = { number: this.#numberOf(peer), session: peer.session, signal, reply };
          await takeOver(this.moving, this.#movingParts, request.fields, by);
        });
      default:
        throw new FsError('ENOTSUP', request.name);
    }
  }

  /** Which nodes use the files that this one keeps. */
  #uses(): PeerUse[] {
    const { roster } = this.#options;
    const numberOf = (session: number): number | undefined => {
      const peer = [...this.#peers.values()].find((each) => each.session === session);
      const nodeId = peer?.identity.nodeId ?? 0;
      return nodeId === coordinatorId ? coordinatorNumber : roster.named(nodeId)?.number;
    };
    return this.#lent.uses.take(this.#c, this.#homes, numberOf);
  }

  /** A node keeps files from here on. */
  #keep({ identity }: Peer, link: PeerLink, fields: PeerRequest<'keep'>): number {
    if (this.#feed === undefined) throw notTheCoordinator();
    const reached = { ...fields, url: reachableAt(fields.url, link.url) };
    const keepsSome = (number: number): boolean => this.#homes.keptBytes.has(number);
    const { number } = this.#options.roster.keep({ store: this.#c.store, keepsSome }, identity, reached);
    this.#tellKeepers();
    return number;
  }

  get #description(): PeerReply<'describe'> {
    const { dataSize: dataBytes, inodeCount, id } = this.#c.segment;
    const isStored = this.#c.writeBack !== undefined;
    return { dataBytes, inodeCount, segmentId: Buffer.from(id, 'hex'), isStored };
  }

  #tellKeepers(): void {
    const { keepers } = this.#options.roster;
    for (const { link } of this.#feed?.followers ?? []) link?.event('keepers', { keepers });
  }

  /** At the coordinator, which alone is told of files of others. */
  #keeperOf(peer: Peer): number {
    if (this.#feed === undefined) throw notTheCoordinator();
    return this.#numberOf(peer);
  }

  #numberOf({ identity }: Peer): number {
    if (identity.nodeId === coordinatorId) return coordinatorNumber;
    const number = this.#options.roster.named(identity.nodeId)?.number;
    if (number === undefined) throw new FsError('EPROTO', 'content', { why: 'the node keeps no files' });
    return number;
  }

  /** Nothing is changed and nothing lent while leases of a node of before may last. */
  async #whenOpen(answer: () => Promise<void>): Promise<void> {
    await this.#lent.opening;
    await answer();
  }

  #onEvent(peer: Peer, link: PeerLink, event: AnyPeerEvent): void {
    const { guests, follower } = peer;
    switch (event.name) {
      case 'applied':
        if (follower !== undefined) this.#feed?.applied(follower, event.fields.sequence);
        return;
      case 'gave':
        assertCoordinator(peer);
        this.moving.heardOfEnd(event.fields);
        return;
      case 'unused':
        this.#unused(peer, event.fields);
        return;
      case 'happened':
        this.#happened(peer, event.fields);
        return;
      case 'guestClose':
        guests.close(event.fields.guest);
        return;
      case 'handleClose':
        guests.closeHandle(event.fields.guest, event.fields.handle);
        return;
      case 'takeBack':
        guests.takeBack(event.fields);
        return;
      default:
        this.#lent.receive(link, event);
    }
  }

  /** A file without a name may go when nobody refers to it, neither here nor at its home. */
  #unused(peer: Peer, { ino, generation }: PeerEvent<'unused'>): void {
    const c = this.#c;
    const inode = new InodeCopy();
    const isIt = readInode(c.segment, ino, inode) && inode.generation === generation && inode.nlink === 0;
    if (!isIt || inode.home !== this.#keeperOf(peer) || c.references.has(ino)) return;
    c.orphans.delete(ino);
    c.journal.mutate(() => c.destroy(ino)).catch((error: unknown) => c.hub.report(error));
  }

  /** At a node that keeps files: everybody is told by the coordinator. */
  #happened(peer: Peer, { kind, path, detail }: PeerEvent<'happened'>): void {
    this.#keeperOf(peer);
    this.#c.hub.emit(kind as EventKind, path, detail as Readonly<Record<string, unknown>>);
  }
}

function assertCoordinator({ identity }: Peer): void {
  if (identity.nodeId !== coordinatorId)
    throw new FsError('EPROTO', 'move', { why: 'the coordinator alone moves files' });
}

const notTheCoordinator = (): FsError =>
  new FsError('ENOTSUP', 'join', { why: 'this node has joined another one: join that' });
