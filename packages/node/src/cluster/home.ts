/**
 * A node as the home of others: lets them in, streams changes to them, answers them, and knows when one is
 * gone.
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
  certifiedCluster,
  listenPeers,
  type PeerAddress,
  type PeerIdentity,
  type PeerLink,
  type PeerListener,
  type PeerSecurity,
} from '@cluster-fs/transport/peer';
import { defaultLease } from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import { ChangeFeed, Follower } from './feed.ts';
import { Guests } from './guests.ts';
import type { Homes } from './homes.ts';
import { Lent } from './lent.ts';
import { netOf } from './rows.ts';

/** A node that joined, in one of its lives. */
interface Peer {
  readonly identity: PeerIdentity;
  readonly follower: Follower;
  readonly guests: Guests;
  /** Its session of blocks, as soon as it has one. */
  session: number | undefined;
  link: PeerLink | undefined;
  /** Why its lease is not made longer any more. */
  cutOff: FsError | undefined;
}

const stuckPollMs = 500;
/** A lease in which its link may be away, and as much to catch up. */
const stuckMs = 2 * defaultLease.leaseMs;

export interface HomeOptions {
  readonly name: string;
  readonly security: PeerSecurity;
  readonly facts: () => NodeFacts;
  readonly onNotice: (message: string) => void;
  /** Of this thread. */
  readonly spinner: Spinner;
  /** Whether a node of before may have lent blocks whose leases are not over. */
  readonly mayHaveLent: boolean;
}

export class ClusterHome {
  readonly #c: Coordinator;
  readonly #options: HomeOptions;
  readonly #feed: ChangeFeed;
  readonly #lent: Lent;
  readonly #peers = new Map<string, Peer>();
  readonly #listeners: PeerListener[] = [];
  readonly #timer: NodeJS.Timeout;
  #closed = false;

  constructor(c: Coordinator, homes: Homes, options: HomeOptions) {
    this.#c = c;
    this.#options = options;
    this.#feed = new ChangeFeed(c.journal.published, () => c.writer.inodeLimit);
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
    this.#lent = new Lent(c, listeners, options);
    this.#timer = setInterval(() => this.#cutOffStuck(), stuckPollMs);
    this.#timer.unref();
    homes.lent = this.#lent;
    c.journal.replicate = (changes) => {
      const net = netOf(changes);
      return net === undefined ? undefined : this.#feed.committed(net);
    };
    c.hub.relay = (kind, path, detail) => {
      for (const { link } of this.#feed.followers) link?.event('happened', { kind, path, detail });
    };
  }

  get report(): ClusterReport {
    return {
      role: 'home',
      home: null,
      cachedBytes: 0,
      fetchedBlocks: 0,
      faults: 0,
      nodes: [...this.#peers.values()].map(({ identity, follower, link }) => ({
        name: identity.name,
        url: link?.url ?? null,
        behind: this.#feed.sequence - follower.appliedSequence,
      })),
      sequence: this.#feed.sequence,
      ...this.#lent.report,
    };
  }

  /** Where nodes can join from here on. */
  async listen(address: PeerAddress): Promise<string> {
    const identity = {
      clusterId: certifiedCluster(this.#options.security) ?? Buffer.from(this.#c.segment.id, 'hex'),
      nodeId: 1,
      name: this.#options.name,
      incarnation: Date.now(),
    };
    const { security, onNotice } = this.#options;
    const listener = await listenPeers(
      {
        ...address,
        security,
        identity,
        onRefused: (reason) => onNotice(`not let in: ${reason.message}`),
      },
      (link) => this.#admit(link),
    );
    this.#listeners.push(listener);
    return listener.url;
  }

  /** Safe to call twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    for (const { link } of this.#peers.values())
      link?.close(new FsError('ECONNRESET', 'stop', { why: 'the node stopped' }));
    this.#lent.close();
  }

  #admit(link: PeerLink): void {
    const { nodeId, incarnation, name } = link.peer;
    const key = `${nodeId}/${incarnation}`;
    const known = this.#peers.get(key);
    const peer: Peer = known ?? {
      identity: link.peer,
      follower: new Follower(name),
      guests: new Guests(this.#c, name, this.#options.facts),
      session: undefined,
      link: undefined,
      cutOff: undefined,
    };
    if (peer.cutOff !== undefined) {
      link.close(peer.cutOff);
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
    if (known === undefined) this.#c.hub.emit('node-join', undefined, { node: name, url: link.url });
    if (link.closed !== undefined) this.#lost(peer, link);
  }

  #cutOffStuck(): void {
    const stuck = new Set(this.#feed.stuck(stuckMs));
    for (const peer of this.#peers.values()) if (stuck.has(peer.follower)) this.#cutOff(peer, heldUp());
  }

  #cutOff(peer: Peer, reason: FsError): void {
    peer.cutOff ??= reason;
    peer.link?.close(reason);
  }

  #lost(peer: Peer, link: PeerLink): void {
    if (peer.link !== link) return;
    peer.link = undefined;
    this.#feed.linkDown(peer.follower);
    this.#lent.linkDown(link);
    if (peer.session === undefined) this.#gone(peer);
  }

  #gone(peer: Peer): void {
    const { identity, follower, guests, link } = peer;
    this.#peers.delete(`${identity.nodeId}/${identity.incarnation}`);
    peer.link = undefined;
    this.#feed.drop(follower);
    guests.closeAll();
    link?.close(new FsError('ETIMEDOUT', 'lease', { why: 'the lease of the node is over' }));
    this.#c.hub.emit('node-leave', undefined, { node: identity.name });
  }

  #onRequest(peer: Peer, link: PeerLink, request: AnyPeerRequest): void {
    const fail = (error: unknown): void => {
      if (!(error instanceof FsError)) this.#c.hub.report(error);
      request.fail(error instanceof FsError ? error : new FsError('EIO', request.name, { cause: error }));
    };
    try {
      const answer = this.#answer(peer, link, request);
      if (answer instanceof Promise) answer.catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  #answer(peer: Peer, link: PeerLink, request: AnyPeerRequest): Promise<void> | void {
    const { guests, follower } = peer;
    const { segment } = this.#c;
    switch (request.name) {
      case 'describe':
        return request.reply({ dataBytes: segment.dataSize, inodeCount: segment.inodeCount });
      case 'follow':
        return request.reply(this.#feed.follow(follower, link, request.fields));
      case 'guestOpen':
        guests.open(request.fields);
        return request.reply({});
      case 'handleOpen':
        guests.openHandle(request.fields);
        return request.reply({});
      case 'forward':
        return this.#whenOpen(async () => {
          request.reply({ values: await guests.forward(request.fields, request.signal) });
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
          request.reply({ stag: await this.#lent.tag(link, request.fields) });
        });
      default:
        throw new FsError('ENOTSUP', request.name);
    }
  }

  /** Nothing is changed and nothing lent while leases of a node of before may last. */
  async #whenOpen(answer: () => Promise<void>): Promise<void> {
    await this.#lent.opening;
    await answer();
  }

  #onEvent({ guests, follower }: Peer, link: PeerLink, event: AnyPeerEvent): void {
    switch (event.name) {
      case 'applied':
        this.#feed.applied(follower, event.fields.sequence);
        return;
      case 'guestClose':
        guests.close(event.fields.guest);
        return;
      case 'handleClose':
        guests.closeHandle(event.fields.guest, event.fields.handle);
        return;
      case 'unreserve':
        guests.unreserve(event.fields.guest, event.fields.runs);
        return;
      default:
        this.#lent.receive(link, event);
    }
  }
}

const heldUp = (): FsError =>
  new FsError('ETIMEDOUT', 'follow', { why: 'the node did not apply changes, and held all others up' });
