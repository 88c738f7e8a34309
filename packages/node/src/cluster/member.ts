/**
 * A node that joined a cluster, and the coordinator of that: what comes from there besides blocks.
 *
 *   connecting ──▶ up ──link ends──▶ connecting (with backoff) ──▶ up ...
 */
import type { FsError } from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerLink } from '@cluster-fs/transport/peer';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import type { EventKind } from '../coordinator/event-hub.ts';
import { coordinatorNumber, type Homes } from './homes.ts';
import type { Connect } from './line.ts';
import { Neighbour, type NeighbourOptions } from './neighbour.ts';
import { Replica } from './replica.ts';

export class Member {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #replica: Replica;
  readonly #coordinator: Neighbour;
  #url = '';
  #feed: Uint8Array | undefined;
  #current: (() => void) | undefined;
  /** Resolves when the tree is here for the first time. */
  readonly ready: Promise<void>;

  constructor(c: Coordinator, homes: Homes, connect: Connect, options: NeighbourOptions) {
    this.#c = c;
    this.#homes = homes;
    this.#coordinator = new Neighbour(c, connect, options, {
      up: (link) => this.#up(link),
      down: (link, reason) => this.#down(link, reason),
      event: (event, link) => this.#take(event, link),
    });
    homes.know(coordinatorNumber, this.#coordinator);
    this.#replica = new Replica(c, (relaid, extents) => this.#coordinator.borrowed.relay(relaid, extents));
    this.ready = new Promise((resolve) => {
      this.#current = resolve;
    });
  }

  /** Goes on until `close`. `link`: one that is there already. */
  start(link: PeerLink): void {
    this.#coordinator.line.use(link);
  }

  /** Before the end: what clients have stored goes home, so that nobody waits for a lease. */
  async leave(): Promise<void> {
    await this.#homes.leave();
  }

  /** Safe to call twice. */
  close(): void {
    this.#homes.close();
  }

  get report(): ClusterReport {
    return {
      role: 'member',
      nodes: [],
      lentBlocks: 0,
      home: { url: this.#url, isConnected: this.#coordinator.line.current !== undefined },
      sequence: this.#replica.sequence,
      ...this.#coordinator.borrowed.report,
    };
  }

  #up(link: PeerLink): void {
    this.#url = link.url;
    this.#follow(link).catch((error: unknown) => {
      if (link.closed === undefined) this.#c.hub.report(error);
      link.close();
    });
    if (this.#feed !== undefined) this.#c.hub.emit('home-back', undefined, { home: link.url });
  }

  async #follow(link: PeerLink): Promise<void> {
    const { sequence } = this.#replica;
    const { reply } = await link.request('follow', { feed: this.#feed, sequence });
    this.#feed = reply.feed;
    if (!reply.whole) this.#isCurrent(link);
  }

  #isCurrent(link: PeerLink): void {
    link.event('applied', { sequence: this.#replica.sequence });
    this.#current?.();
    this.#current = undefined;
  }

  #down(link: PeerLink, reason: FsError): void {
    this.#replica.linkDown();
    if (this.#coordinator.line.isClosed) return;
    this.#c.hub.emit('home-lost', undefined, { home: link.url, why: reason.message });
  }

  #take(event: AnyPeerEvent, link: PeerLink): boolean {
    switch (event.name) {
      case 'changes':
        if (this.#replica.take(event.fields)) this.#isCurrent(link);
        return true;
      case 'happened': {
        const { kind, path, detail } = event.fields;
        this.#c.hub.emit(kind as EventKind, path, detail as Readonly<Record<string, unknown>>);
        return true;
      }
      default:
        return false;
    }
  }
}
