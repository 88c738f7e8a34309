/**
 * The way from this node to another one: one link at a time, made anew when it ends, and the clients of this
 * node in whose names the other is asked.
 *
 *   idle ──link()──▶ connecting ──▶ up ──link ends──▶ connecting (with backoff) ──▶ up ...
 *
 * A link that ends as soon as it is up counts as an attempt that failed.
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

/** A request of a client. */
interface Asked<N extends RequestName> {
  readonly name: N;
  readonly fields: Request<N>;
  /** What is in its pages, which are the other side's then. */
  readonly content?: Uint8Array | undefined;
}

/** What the other side was told of, over which link. */
interface Told {
  readonly link: PeerLink;
  readonly ready: Promise<unknown>;
}

/** A client that is gone, or an open file of one, or what it was given under a number and does not want. */
interface Closing {
  readonly guest: number;
  readonly handle?: number;
  readonly asked?: number;
  /** The link over which the other side was told last. */
  over: PeerLink | undefined;
}

/** What is answered with something that the other side keeps for a client. */
const gives: ReadonlySet<RequestName> = new Set(['open', 'reserve'] satisfies RequestName[]);

const toldPollMs = 5;
/** How long to wait before the next attempt, in turn; the last again and again. */
const backoffMs = [50, 100, 200, 400, 800] as const;
/** A link that was up for less has brought nothing. */
const shortMs = 1000;

export class Line {
  readonly #connect: Connect;
  readonly #events: LineEvents;
  /** By session, and the link over which it was introduced. */
  readonly #guests = new WeakMap<Session, Told>();
  /** Handles that the other side knows. */
  readonly #handles = new WeakMap<Handle, Told>();
  /**
   * What the other side may not have heard: it keeps clients and their files while a link is away. An answer
   * to what was asked later, over the same link, shows that it has.
   */
  readonly #closings = new Set<Closing>();
  #asked = 0;
  readonly #stop = new AbortController();
  readonly #changed = new Signal();
  #link: PeerLink | undefined;
  #life: number | undefined;
  #upSinceMs = 0;
  /** How many links ended too soon, one after the other. */
  #shortLinks = 0;
  #isConnecting = false;
  #isFinished = false;
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

  /** Which life of the other node was reached last: what an earlier one kept for clients may be gone. */
  get life(): number | undefined {
    return this.#life;
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

  /**
   * No other link comes up from here on: by it the other side would take a node that leaves for one that is
   * there, and wait for it.
   */
  finish(): void {
    this.#isFinished = true;
  }

  /** Goes on over a link that is there. */
  use(link: PeerLink): void {
    this.#link = link;
    this.#upSinceMs = performance.now();
    link.setHandlers({
      onEvent: (event) => this.#events.event(event, link),
      ...(this.#events.request === undefined ? {} : { onRequest: this.#events.request }),
      onClose: (reason) => this.#lost(link, reason),
    });
    if (link.closed !== undefined) {
      this.#lost(link, link.closed);
      return;
    }
    this.#life = link.peer.incarnation;
    for (const closing of this.#closings) this.#sayClosing(closing, link);
    this.#events.up(link);
    this.#changed.notify();
  }

  #lost(link: PeerLink, reason: FsError): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    const isShort = performance.now() - this.#upSinceMs < shortMs;
    this.#shortLinks = isShort ? this.#shortLinks + 1 : 0;
    this.#events.down(link, reason);
    this.#changed.notify();
    this.connect();
  }

  /** Sees to it that a link comes up. */
  connect(): void {
    if (this.#link !== undefined || this.#isConnecting || this.#isFinished || this.isClosed) return;
    this.#isConnecting = true;
    if (this.#shortLinks === 0) this.#attempt(0);
    else this.#attemptLater(this.#shortLinks - 1, 0);
  }

  /** `failures`: how many there were in front of this attempt. */
  #attemptLater(failures: number, attempt: number): void {
    const waitMs = backoffMs[Math.min(failures, backoffMs.length - 1)];
    this.#retry = setTimeout(() => this.#attempt(attempt), waitMs);
  }

  #attempt(attempt: number): void {
    const { signal } = this.#stop;
    const again = (): void => {
      if (!signal.aborted) this.#attemptLater(attempt, attempt + 1);
    };
    this.#connect(signal).then((link) => {
      this.#isConnecting = false;
      if (signal.aborted || this.#isFinished) link.close();
      else this.use(link);
    }, again);
  }

  /** The link; ECONNRESET when it does not come up in time. */
  async link(): Promise<PeerLink> {
    const endMs = performance.now() + defaultLease.leaseMs;
    while (this.#link === undefined) {
      this.connect();
      const leftMs = endMs - performance.now();
      if (leftMs <= 0 || this.#isFinished || this.isClosed) throw this.#events.unreachable();
      await this.#changed.next(leftMs);
    }
    return this.#link;
  }

  /** What the other side says soon after a link is up; as `link` when it does not in that time. */
  async told<T>(look: () => T | undefined, waitMs: number = defaultLease.leaseMs): Promise<T> {
    const endMs = performance.now() + waitMs;
    for (;;) {
      await this.link();
      const found = look();
      if (found !== undefined) return found;
      if (performance.now() > endMs) throw this.#events.unreachable();
      await new Promise((goOn) => setTimeout(goOn, toldPollMs));
    }
  }

  guestOf(session: Session): number {
    return session.id;
  }

  /** Asks in the name of a client of ours. */
  ask<N extends RequestName>(session: Session, name: N, fields: Request<N>): Promise<Reply<N>> {
    return this.askAs(this.nextAsked(), session, { name, fields });
  }

  /** The number of what is asked next. */
  nextAsked(): number {
    return ++this.#asked;
  }

  /** As `ask`, under a number by which `takeBack` takes back what was given. */
  async askAs<N extends RequestName>(
    asked: number,
    session: Session,
    { name, fields, content }: Asked<N>,
  ): Promise<Reply<N>> {
    const link = await this.link();
    await this.#introduce(session, link);
    const handle = handleIn(session, fields);
    if (handle !== undefined) await this.#introduceHandle(session, handle, link);
    const { id: type, fields: shape, reply: replyShape } = requests[name];
    const values = toValues(shape, fields as never);
    const said = this.#saidOver(link);
    try {
      const request = { guest: session.id, type, values, asked };
      const { reply } = await (content === undefined
        ? link.request('forward', request)
        : link.request('forwardContent', request, { payload: content }));
      this.#heard(said);
      return fromValues(replyShape, reply.values, name) as Reply<N>;
    } catch (error) {
      // Nobody here knows what was given.
      if (link.closed !== undefined && gives.has(name)) this.takeBack(session, asked);
      throw error;
    }
  }

  /** What that client was given under the number goes back: also when the link has ended meanwhile. */
  takeBack(session: Session, asked: number): void {
    this.#close({ guest: session.id, asked });
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
    if (this.#handles.delete(handle)) this.#close({ guest: session.id, handle: handle.id });
  }

  sessionEnded(session: Session): void {
    if (this.#guests.delete(session)) this.#close({ guest: session.id });
  }

  #close(gone: Omit<Closing, 'over'>): void {
    const closing: Closing = { ...gone, over: undefined };
    this.#closings.add(closing);
    if (this.#link !== undefined) this.#sayClosing(closing, this.#link);
  }

  #sayClosing(closing: Closing, link: PeerLink): void {
    const { guest, handle, asked } = closing;
    closing.over = link;
    if (asked !== undefined) link.event('takeBack', { guest, asked });
    else if (handle !== undefined) link.event('handleClose', { guest, handle });
    else link.event('guestClose', { guest });
  }

  /** What an answer to the next request over a link shows to have been heard. */
  #saidOver(link: PeerLink): readonly Closing[] {
    return this.#closings.size === 0 ? [] : [...this.#closings].filter(({ over }) => over === link);
  }

  #heard(said: readonly Closing[]): void {
    for (const closing of said) this.#closings.delete(closing);
  }

  #introduce(session: Session, link: PeerLink): Promise<unknown> {
    return this.#tell(this.#guests, session, link, async () => {
      // Nobody would say again that it is gone.
      if (session.ended) throw new FsError('ECONNRESET', 'request', { why: 'the client has left' });
      const { id: guest, credentials, pid, label, access } = session;
      const { uid, gids } = credentials;
      await link.request('guestOpen', { guest, uid, gids: [...gids], pid, label, access });
    });
  }

  #introduceHandle(session: Session, handle: Handle, link: PeerLink): Promise<unknown> {
    return this.#tell(this.#handles, handle, link, async () => {
      const { id, ino, generation, path, writable } = handle;
      if (session.handles.get(id) !== handle) throw new FsError('EBADF', 'request', { path });
      await link.request('handleOpen', { guest: session.id, handle: id, ino, generation, path, writable });
    });
  }

  /** Once over each link; what it refuses is asked again. */
  #tell<K extends object>(
    told: WeakMap<K, Told>,
    about: K,
    link: PeerLink,
    say: () => Promise<void>,
  ): Promise<unknown> {
    const known = told.get(about);
    if (known?.link === link) return known.ready;
    const said = this.#saidOver(link);
    const ready = say().then(
      () => this.#heard(said),
      (error: unknown) => {
        // The other side has kept it over a link that broke.
        if (error instanceof FsError && error.code === 'EEXIST') return;
        // Of what was under way when the link ended nobody knows whether it has come.
        if (link.closed === undefined && told.get(about)?.link === link) told.delete(about);
        throw error;
      },
    );
    told.set(about, { link, ready });
    return ready;
  }
}

/** The open file that a request is about. */
function handleIn(session: Session, fields: object): Handle | undefined {
  const { handle } = fields as { readonly handle?: number };
  return handle === undefined ? undefined : session.handles.get(handle);
}
