/**
 * The way from this node to another one: one link at a time, made anew when it ends, and the clients of this
 * node in whose names the other is asked.
 *
 *   idle ──link()──▶ connecting ──▶ up ──link ends──▶ connecting (with backoff) ──▶ up ...
 *
 * What is asked while the link is not up waits for as long as a lease lasts, and fails with ECONNRESET then.
 */
import {
  FsError,
  fromValues,
  type Reply,
  type Request,
  type RequestName,
  requests,
  toValues,
} from '@cluster-fs/transport';
import type { AnyPeerEvent, AnyPeerRequest, PeerLink } from '@cluster-fs/transport/peer';
import { defaultLease } from 'cluster-fs/coherence';
import type { Handle, Session } from '../coordinator/session.ts';
import { Signal } from '../coordinator/signal.ts';

/** Connects to the other node; rejects when `signal` is aborted. */
export type Connect = (signal: AbortSignal) => Promise<PeerLink>;

/** What the owner of a line does when something happens to it. */
export interface LineEvents {
  up(link: PeerLink): void;
  down(link: PeerLink, reason: FsError): void;
  /** Throws when the other side breaks the protocol: the link is closed. */
  event(event: AnyPeerEvent, link: PeerLink): void;
  request?(request: AnyPeerRequest): void;
  /** What a request fails with that waited in vain. */
  unreachable(): FsError;
}

/** How long to wait before the next attempt, in turn; the last again and again. */
const backoffMs = [50, 100, 200, 400, 800] as const;

export class Line {
  readonly #connect: Connect;
  readonly #events: LineEvents;
  /** By session, and the link over which it was introduced. */
  readonly #guests = new WeakMap<Session, { link: PeerLink; ready: Promise<unknown> }>();
  /** Handles that the other side knows, and over which link it was told of them. */
  readonly #handles = new WeakMap<Handle, { link: PeerLink; ready: Promise<unknown> }>();
  readonly #stop = new AbortController();
  readonly #changed = new Signal();
  #link: PeerLink | undefined;
  #isConnecting = false;
  /** Until the next attempt. */
  #retry: NodeJS.Timeout | undefined;

  constructor(connect: Connect, events: LineEvents) {
    this.#connect = connect;
    this.#events = events;
  }

  /** The link that is up. */
  get current(): PeerLink | undefined {
    return this.#link;
  }

  get isClosed(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Safe to call twice. */
  close(): void {
    if (this.isClosed) return;
    this.#stop.abort();
    clearTimeout(this.#retry);
    this.#link?.close();
    this.#changed.notify();
  }

  /** Goes on over a link that is there. */
  use(link: PeerLink): void {
    this.#link = link;
    link.setHandlers({
      onEvent: (event) => this.#events.event(event, link),
      ...(this.#events.request === undefined ? {} : { onRequest: this.#events.request }),
      onClose: (reason) => this.#lost(link, reason),
    });
    if (link.closed !== undefined) {
      this.#lost(link, link.closed);
      return;
    }
    this.#events.up(link);
    this.#changed.notify();
  }

  #lost(link: PeerLink, reason: FsError): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#events.down(link, reason);
    this.#changed.notify();
    this.connect();
  }

  /** Sees to it that a link comes up. */
  connect(): void {
    if (this.#link !== undefined || this.#isConnecting || this.isClosed) return;
    this.#isConnecting = true;
    this.#attempt(0);
  }

  #attempt(attempt: number): void {
    const { signal } = this.#stop;
    const again = (): void => {
      if (signal.aborted) return;
      this.#retry = setTimeout(
        () => this.#attempt(attempt + 1),
        backoffMs[Math.min(attempt, backoffMs.length - 1)],
      );
    };
    this.#connect(signal).then((link) => {
      this.#isConnecting = false;
      if (signal.aborted) link.close();
      else this.use(link);
    }, again);
  }

  /** The link; ECONNRESET when it does not come up in time. */
  async link(): Promise<PeerLink> {
    const endMs = performance.now() + defaultLease.leaseMs;
    while (this.#link === undefined) {
      this.connect();
      const leftMs = endMs - performance.now();
      if (leftMs <= 0 || this.isClosed) throw this.#events.unreachable();
      await this.#changed.next(leftMs);
    }
    return this.#link;
  }

  guestOf(session: Session): number {
    return session.id;
  }

  /** Asks in the name of a client of ours. */
  async ask<N extends RequestName>(session: Session, name: N, fields: Request<N>): Promise<Reply<N>> {
    const link = await this.link();
    await this.#introduce(session, link);
    const handle = handleIn(session, fields);
    if (handle !== undefined) await this.#introduceHandle(session, handle, link);
    const { id: type, fields: shape, reply: replyShape } = requests[name];
    const values = toValues(shape, fields as never);
    const { reply } = await link.request('forward', { guest: session.id, type, values });
    return fromValues(replyShape, reply.values, name) as Reply<N>;
  }

  /** The link, with a client and its open file known on the other side. */
  async linkFor(session: Session, handle: Handle): Promise<PeerLink> {
    const link = await this.link();
    await this.#introduce(session, link);
    await this.#introduceHandle(session, handle, link);
    return link;
  }

  /** The other side has given this handle. */
  knows(handle: Handle): void {
    if (this.#link !== undefined) this.#handles.set(handle, { link: this.#link, ready: Promise.resolve() });
  }

  handleClosed(session: Session, handle: Handle): void {
    if (this.#handles.delete(handle))
      this.#link?.event('handleClose', { guest: session.id, handle: handle.id });
  }

  sessionEnded(session: Session): void {
    if (this.#guests.delete(session)) this.#link?.event('guestClose', { guest: session.id });
  }

  #introduce(session: Session, link: PeerLink): Promise<unknown> {
    const known = this.#guests.get(session);
    if (known?.link === link) return known.ready;
    const { id: guest, credentials, pid, label, access } = session;
    const { uid, gids } = credentials;
    const ready = link
      .request('guestOpen', { guest, uid, gids: [...gids], pid, label, access })
      .catch(unlessKnown);
    this.#guests.set(session, { link, ready });
    return ready;
  }

  #introduceHandle(session: Session, handle: Handle, link: PeerLink): Promise<unknown> {
    const known = this.#handles.get(handle);
    if (known?.link === link) return known.ready;
    const { id, ino, generation, path, writable } = handle;
    const ready = link
      .request('handleOpen', { guest: session.id, handle: id, ino, generation, path, writable })
      .catch(unlessKnown);
    this.#handles.set(handle, { link, ready });
    return ready;
  }
}

/** The other side has kept it over a link that broke. */
function unlessKnown(error: unknown): void {
  if (!(error instanceof FsError) || error.code !== 'EEXIST') throw error;
}

/** The open file that a request is about. */
function handleIn(session: Session, fields: object): Handle | undefined {
  const { handle } = fields as { readonly handle?: number };
  return handle === undefined ? undefined : session.handles.get(handle);
}
