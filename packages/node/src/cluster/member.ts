/**
 * A node that joined another one, its home: the link, and everything that goes over it from this side.
 *
 *   connecting ──▶ up ──link ends──▶ connecting (with backoff) ──▶ up ...
 *
 * What clients ask is forwarded while the link is up. While it is not, it waits for as long as the lease
 * lasts, and fails with ECONNRESET then.
 */
import {
  type AnyRequest,
  FsError,
  fromValues,
  type Reply,
  type Request,
  type RequestName,
  requests,
  type Spinner,
  toValues,
} from '@cluster-fs/transport';
import type { AnyPeerEvent, PeerLink } from '@cluster-fs/transport/peer';
import { defaultLease } from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport, HomeNode } from '../coordinator/elsewhere.ts';
import type { EventKind } from '../coordinator/event-hub.ts';
import type { Handle, Session } from '../coordinator/session.ts';
import { Signal } from '../coordinator/signal.ts';
import { Borrowed } from './borrowed.ts';
import { type HomeLine, RemoteContent } from './remote-content.ts';
import { Replica } from './replica.ts';

/** Connects to the home; rejects when `signal` is aborted. */
export type Connect = (signal: AbortSignal) => Promise<PeerLink>;

/** How long to wait before the next attempt, in turn; the last again and again. */
const backoffMs = [50, 100, 200, 400, 800] as const;

/** What this node answers by itself. */
const local: ReadonlySet<RequestName> = new Set([
  'hello',
  'attach',
  'resumed',
  'lease',
  'mapped',
  'present',
  'advance',
  'reserve',
  'fetch',
  'evict',
  'pin',
  'status',
  'holders',
  'revoke',
  'subscribe',
  'unsubscribe',
  'check',
] satisfies RequestName[]);

export class Member implements HomeNode, HomeLine {
  readonly #c: Coordinator;
  readonly #connect: Connect;
  readonly #replica: Replica;
  readonly #content: RemoteContent;
  readonly #borrowed: Borrowed;
  /** By session, and the link over which it was introduced. */
  readonly #guests = new WeakMap<Session, { link: PeerLink; ready: Promise<unknown> }>();
  readonly #stop = new AbortController();
  readonly #linkChanged = new Signal();
  #link: PeerLink | undefined;
  #url = '';
  #feed: Uint8Array | undefined;
  #current: (() => void) | undefined;
  /** Resolves when the tree is here for the first time. */
  readonly ready: Promise<void>;

  constructor(c: Coordinator, connect: Connect, options: { memory: number; spinner: Spinner }) {
    this.#c = c;
    this.#connect = connect;
    this.#borrowed = new Borrowed(c, { link: () => this.#link, linkUp: () => this.link() }, options);
    this.#replica = new Replica(c, (relaid, extents) => this.#borrowed.relay(relaid, extents));
    this.#content = new RemoteContent(c, this);
    this.ready = new Promise((resolve) => {
      this.#current = resolve;
    });
    c.home = this;
    c.blocks = this.#borrowed;
  }

  /** Goes on until `close`. `link`: one that is there already. */
  start(link: PeerLink): void {
    this.#use(link);
  }

  /** Before the end: what clients have stored goes home, so that nobody waits for a lease. */
  async leave(): Promise<void> {
    const link = this.#link;
    if (link === undefined) return;
    await this.#borrowed.giveUp();
    link.event('leaving', {});
    // Answered, or cut off, when the home has heard that.
    await link.request('describe', {}).catch(() => undefined);
  }

  /** Safe to call twice. */
  close(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#borrowed.close();
    this.#link?.close();
    this.#linkChanged.notify();
  }

  get report(): ClusterReport {
    return {
      role: 'member',
      nodes: [],
      lentBlocks: 0,
      home: { url: this.#url, isConnected: this.#link !== undefined },
      sequence: this.#replica.sequence,
      ...this.#borrowed.report,
    };
  }

  #use(link: PeerLink): void {
    this.#link = link;
    this.#url = link.url;
    link.setHandlers({
      onEvent: (event) => this.#onEvent(event),
      onClose: (reason) => this.#lost(link, reason),
    });
    if (link.closed !== undefined) {
      this.#lost(link, link.closed);
      return;
    }
    this.#follow(link).catch((error: unknown) => {
      if (link.closed === undefined) this.#c.hub.report(error);
      link.close();
    });
    this.#borrowed.linkUp();
    this.#linkChanged.notify();
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

  #lost(link: PeerLink, reason: FsError): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#borrowed.linkDown();
    this.#replica.linkDown();
    this.#linkChanged.notify();
    if (this.#stop.signal.aborted) return;
    this.#c.hub.emit('home-lost', undefined, { home: link.url, why: reason.message });
    this.#again(0);
  }

  #again(attempt: number): void {
    const { signal } = this.#stop;
    const timer = setTimeout(
      () => {
        this.#connect(signal).then(
          (link) => {
            this.#c.hub.emit('home-back', undefined, { home: link.url });
            this.#use(link);
          },
          () => {
            if (!signal.aborted) this.#again(attempt + 1);
          },
        );
      },
      backoffMs[Math.min(attempt, backoffMs.length - 1)],
    );
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }

  #onEvent(event: AnyPeerEvent): void {
    switch (event.name) {
      case 'changes':
        if (this.#replica.take(event.fields) && this.#link !== undefined) this.#isCurrent(this.#link);
        return;
      case 'happened': {
        const { kind, path, detail } = event.fields;
        this.#c.hub.emit(kind as EventKind, path, detail as Readonly<Record<string, unknown>>);
        return;
      }
      default:
        this.#borrowed.receive(event);
    }
  }

  /** The link; ECONNRESET when it does not come up in time. */
  async link(): Promise<PeerLink> {
    const endMs = performance.now() + defaultLease.leaseMs;
    while (this.#link === undefined) {
      const leftMs = endMs - performance.now();
      if (leftMs <= 0 || this.#stop.signal.aborted)
        throw new FsError('ECONNRESET', 'request', { why: 'the home of the files cannot be reached' });
      await this.#linkChanged.next(leftMs);
    }
    return this.#link;
  }

  answer(session: Session, request: AnyRequest): Promise<Reply<RequestName>> | undefined {
    switch (request.name) {
      case 'open':
        return this.#open(session, request.fields);
      case 'put':
        return this.#content.put(session, request.fields);
      case 'attachPages':
        return this.#content.attachPages(session, request.fields);
      case 'writeBegin':
        return this.#content.writeBegin(session, request.fields);
      case 'writeEnd':
        return this.#content.writeEnd(session, request.fields);
      default:
        return local.has(request.name) ? undefined : this.ask(session, request.name, request.fields);
    }
  }

  async #open(session: Session, request: Request<'open'>): Promise<Reply<'open'>> {
    const reply = await this.ask(session, 'open', request);
    const { handle: id, ino, generation } = reply;
    const writable = (request.flags & 3) !== 0;
    const handle: Handle = { id, ino, generation, path: request.path, writable };
    if (session.ended) {
      this.#link?.event('handleClose', { guest: session.id, handle: id });
      throw new FsError('ECONNRESET', 'open', { path: request.path });
    }
    session.handles.set(id, handle);
    this.#c.refer(ino);
    return reply;
  }

  handleClosed(session: Session, handle: number): void {
    if (this.#guests.has(session)) this.#link?.event('handleClose', { guest: session.id, handle });
  }

  sessionEnded(session: Session): void {
    this.#content.forget(session);
    if (this.#guests.delete(session)) this.#link?.event('guestClose', { guest: session.id });
  }

  guestOf(session: Session): number {
    return session.id;
  }

  async ask<N extends RequestName>(session: Session, name: N, fields: Request<N>): Promise<Reply<N>> {
    const link = await this.link();
    await this.#introduce(session, link);
    const { id: type, fields: shape, reply: replyShape } = requests[name];
    const values = toValues(shape, fields as never);
    const { reply } = await link.request('forward', { guest: session.id, type, values });
    return fromValues(replyShape, reply.values, name) as Reply<N>;
  }

  #introduce(session: Session, link: PeerLink): Promise<unknown> {
    const known = this.#guests.get(session);
    if (known?.link === link) return known.ready;
    const { id: guest, credentials, pid, label, access } = session;
    const { uid, gids } = credentials;
    const ready = link
      .request('guestOpen', { guest, uid, gids: [...gids], pid, label, access })
      .catch((error: unknown) => {
        // The home has kept it over a link that broke.
        if (!(error instanceof FsError) || error.code !== 'EEXIST') throw error;
      });
    this.#guests.set(session, { link, ready });
    return ready;
  }
}
