/**
 * The application's side of a session: the segment in this process's memory, a connection for requests, and
 * the session worker that keeps views in place.
 *
 * The worker's control connection is the session. This thread has a connection of its own for everything it
 * asks, so that a call costs no hop between threads.
 */
import type { Worker } from 'node:worker_threads';
import {
  type Connection,
  type ConnectionHandlers,
  type Event,
  type EventName,
  type events,
  type FieldsOf,
  FsError,
  type HomeLossPolicy,
  native,
  type Reply,
  type RequestName,
  type Requests,
  type Run,
  Spinner,
} from '@cluster-fs/transport';
import type { Backend } from '../fs/backend.ts';
import { type Credentials, nodesHere, openSegment, type Segment } from '../segment/index.ts';
import { awaitFetch, createAnswer } from './blocking-fetch.ts';
import { DataAccess } from './data-access.ts';
import { answered, dial, type Endpoint } from './handshake.ts';
import { PageStock } from './page-stock.ts';
import { lookAt } from './seen.ts';
import { startWorker } from './start-worker.ts';
import {
  fromPlain,
  type MapOptions,
  type Mapped,
  type SessionFacts,
  type ToMain,
  type ToWorker,
} from './worker-protocol.ts';

export interface SessionOptions extends Endpoint {
  readonly access: 'r' | 'rw';
  readonly label: string;
  readonly pinned: boolean;
  /** What touches get while the home of a file is away. */
  readonly onHomeLoss: HomeLossPolicy;
  readonly reconnectMs: number;
}

/** What a view hears of its file. */
export interface ViewListener {
  onRemapped(event: Extract<ToMain, { type: 'remapped' }>): void;
  onChanged(event: Extract<ToMain, { type: 'changed' }>): void;
  onStale(): void;
  onRecall(event: Extract<ToMain, { type: 'recall' }>): void;
}

export interface SessionListener {
  onAway(): void;
  onBack(): void;
  onLost(error: FsError): void;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

type LongRequest = NonNullable<Parameters<Backend['request']>[2]>;

export class Session implements Backend {
  readonly readOnly: boolean;
  readonly credentials: Credentials = {
    uid: process.geteuid?.() ?? 0,
    gids: [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])],
  };
  readonly #options: SessionOptions;
  readonly #worker: Worker;
  readonly #exited: Promise<unknown>;
  readonly #listener: SessionListener;
  readonly #views = new Map<number, ViewListener>();
  readonly #pending = new Map<number, Pending>();
  readonly #progress = new Map<number, (p: Event<'progress'>) => void>();
  readonly #subscriptions = new Map<
    number,
    { readonly path: string | undefined; readonly listener: (event: Event<'event'>) => void }
  >();
  readonly #stock: PageStock;
  readonly #spinner = new Spinner();
  readonly #access: DataAccess;
  /** Resolved while the node is there. */
  #present: Promise<void> = Promise.resolve();
  #setPresent: (() => void) | undefined;
  #connection: Connection | undefined;
  #facts: SessionFacts;
  #segment: Segment;
  #metaAddress: number;
  #incarnation = 1;
  #nextId = 1;
  #refs = 0;
  #ended: FsError | undefined;

  private constructor(
    options: SessionOptions,
    { worker, facts, flags }: Awaited<ReturnType<typeof startWorker>>,
    listener: SessionListener,
  ) {
    this.#options = options;
    this.#access = new DataAccess(flags);
    this.#worker = worker;
    this.#exited = new Promise((resolve) => worker.once('exit', resolve));
    this.#facts = facts;
    this.#listener = listener;
    this.readOnly = options.access === 'r';
    this.#metaAddress = mapMeta(facts);
    this.#segment = openSegment(native.arrayBufferAt(this.#metaAddress, facts.metaSize));
    this.#stock = new PageStock(this);
    worker.on('message', (message: ToMain) => this.#onMessage(message));
    worker.on('error', (error) =>
      this.#end(new FsError('EIO', 'mount', { why: 'the session worker failed', cause: error })),
    );
    worker.unref();
  }

  /** Opens a session with the node that listens on a Unix socket. */
  static async open(options: SessionOptions, listener: SessionListener): Promise<Session> {
    const session = new Session(options, await startWorker(options), listener);
    try {
      await session.#attach();
    } catch (error) {
      // Else its worker would keep the session, and its lock, as long as the process lives.
      await session.close();
      throw error;
    }
    return session;
  }

  get segment(): Segment {
    return this.#segment;
  }

  get dataFd(): number {
    return this.#facts.dataFd;
  }

  get incarnation(): number {
    return this.#incarnation + (this.#access.isStale ? 0.5 : 0);
  }

  get facts(): SessionFacts {
    return this.#facts;
  }

  assertUsable(syscall: string, path?: string): void {
    if (this.#ended !== undefined)
      throw new FsError(this.#ended.code, syscall, { path, why: this.#ended.why, cause: this.#ended });
  }

  async request<N extends RequestName>(
    name: N,
    fields: FieldsOf<Requests[N]['fields']>,
    options: LongRequest = {},
  ): Promise<Reply<N>> {
    if (this.#connection === undefined) await this.#whenPresent(name);
    const connection = this.#connection as Connection;
    const { onProgress, signal } = options;
    if (onProgress === undefined && signal === undefined)
      return this.#counted(connection.request(name, fields));
    return this.#longRequest(connection, name, fields, options);
  }

  async #longRequest<N extends RequestName>(
    connection: Connection,
    name: N,
    fields: FieldsOf<Requests[N]['fields']>,
    { onProgress, signal }: LongRequest,
  ): Promise<Reply<N>> {
    signal?.throwIfAborted();
    let id = 0;
    const cancel = (): void => connection.event('cancel', { request: id });
    const reply = connection.request(name, fields, {
      onSent: (sent) => {
        id = sent;
      },
    });
    if (onProgress !== undefined) this.#progress.set(id, onProgress);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      return await this.#counted(reply);
    } finally {
      this.#progress.delete(id);
      signal?.removeEventListener('abort', cancel);
    }
  }

  event<N extends EventName>(name: N, fields: FieldsOf<(typeof events)[N]['fields']>): void {
    this.#connection?.event(name, fields);
  }

  takePages(count: number): Run[] | Promise<Run[]> {
    return this.#stock.take(count);
  }

  async fetchPages(ino: number, { from, count }: { from: number; count: number }): Promise<void> {
    await this.request('fetch', { ino, from, count });
  }

  fetchPagesNow(ino: number, { from, count }: { from: number; count: number }): void {
    this.assertUsable('read');
    if (nodesHere.has(this.segment.id)) throw waitsForItself();
    const answer = createAnswer();
    this.#post({ type: 'fetchNow', ino, from, count, answer });
    awaitFetch(answer);
  }

  givePages(runs: readonly Run[]): void {
    this.event('unreserve', { runs });
  }

  /** Gives back pages that are set aside and not used. */
  giveBackStock(): void {
    this.#stock.giveBack();
  }

  get access(): DataAccess {
    return this.#access;
  }

  async subscribe(path: string | undefined, listener: (event: Event<'event'>) => void): Promise<() => void> {
    const subscription = this.#nextId++;
    this.#subscriptions.set(subscription, { path, listener });
    try {
      await this.#ask({ type: 'request', name: 'subscribe', fields: { subscription, path } });
    } catch (error) {
      this.#subscriptions.delete(subscription);
      throw error;
    }
    this.#ref();
    return () => {
      if (!this.#subscriptions.delete(subscription)) return;
      this.#unref();
      if (this.#ended !== undefined) return;
      // Nobody waits for the answer; a node that is gone has no subscription to end.
      this.#ask({ type: 'request', name: 'unsubscribe', fields: { subscription } }).catch(() => undefined);
    };
  }

  /** Opens a view in the worker; `listener` hears of it until `unmap`. */
  async map(options: MapOptions, listener: ViewListener): Promise<Mapped> {
    const seen = this.readOnly && options.mode === 'rw' ? undefined : lookAt(this, options.path);
    const mapped = (await this.#ask({ type: 'map', options, seen })) as Mapped;
    this.#views.set(mapped.key, listener);
    return mapped;
  }

  /** Answers a recall of the view: it stays. */
  keep(key: number): void {
    this.#post({ type: 'keep', key });
  }

  async advance(key: number): Promise<void> {
    await this.#ask({ type: 'advance', key });
  }

  /** Requires: no array is over the view's addresses any more, or keepAddresses. */
  unmap(key: number, { keepAddresses }: { keepAddresses: boolean }): void {
    this.#views.delete(key);
    this.#post({ type: 'unmap', key, keepAddresses });
  }

  /** Ends the session. Requires: every view is closed. */
  async close(): Promise<void> {
    this.#end(new FsError('EBADF', 'unmount', { why: 'the file system is unmounted' }));
    // Counted: what was pending and has just failed lets go of the worker in a moment.
    this.#ref();
    // The node gives pages to others as soon as the session is gone, and the program the number of `dataFd`.
    await this.#access.drained();
    this.#post({ type: 'close' });
    await this.#exited;
    this.#spinner.close();
    native.detachArrayBuffer(this.#segment.view.buffer as ArrayBuffer);
    native.unmap(this.#metaAddress, this.#facts.metaSize);
    native.closeDescriptor(this.#facts.metaFd);
    native.closeDescriptor(this.#facts.dataFd);
  }

  /** Opens the request connection of this thread. */
  async #attach(): Promise<void> {
    const { session, token } = this.#facts;
    const handlers: ConnectionHandlers = {
      onEvent: ({ name, fields }) => {
        if (name === 'progress') this.#progress.get(fields.request)?.(fields);
        else if (name === 'bye')
          connection.close(new FsError(fields.code as FsError['code'], 'mount', fields));
      },
      onClose: () => {
        if (this.#connection === connection) this.#connection = undefined;
      },
    };
    const connection: Connection = await dial(this.#options, handlers, this.#spinner);
    try {
      await answered(this.#options, connection, connection.request('attach', { session, token }));
      if (this.#ended !== undefined) throw this.#ended;
    } catch (error) {
      // Nobody else would, and it keeps the process alive.
      connection.close();
      throw error;
    }
    connection.unref();
    this.#connection = connection;
    this.#setPresent?.();
    this.#setPresent = undefined;
  }

  async #whenPresent(syscall: string): Promise<void> {
    this.assertUsable(syscall);
    // The connection may have ended before the worker said that the node is away.
    if (this.#setPresent === undefined) this.#goAway();
    await this.#counted(this.#present);
    this.assertUsable(syscall);
  }

  #goAway(): void {
    this.#present = new Promise((resolve) => {
      this.#setPresent = resolve;
    });
  }

  #onMessage(message: ToMain): void {
    switch (message.type) {
      case 'done':
        this.#settle(message.id)?.resolve(message.value);
        return;
      case 'failed':
        this.#settle(message.id)?.reject(fromPlain(message.error));
        return;
      case 'remapped':
        this.#views.get(message.key)?.onRemapped(message);
        return;
      case 'changed':
        this.#views.get(message.key)?.onChanged(message);
        return;
      case 'recall':
        this.#views.get(message.key)?.onRecall(message);
        return;
      case 'event':
        this.#subscriptions.get(message.event.subscription)?.listener(message.event);
        return;
      case 'away':
        if (this.#setPresent === undefined) this.#goAway();
        this.#listener.onAway();
        return;
      case 'back':
        this.#onBack(message);
        return;
      case 'lost':
        this.#end(fromPlain(message.error));
        for (const key of message.stale) this.#views.get(key)?.onStale();
        this.#sayDrained();
        return;
      default:
        return;
    }
  }

  /** The node is back, with a rebuilt segment: everything cached from the old one is void. */
  #onBack({ facts, stale, times }: Extract<ToMain, { type: 'back' }>): void {
    const old = { segment: this.#segment, address: this.#metaAddress, facts: this.#facts };
    this.#facts = facts;
    this.#metaAddress = mapMeta(facts);
    this.#segment = openSegment(native.arrayBufferAt(this.#metaAddress, facts.metaSize));
    this.#incarnation++;
    this.#access.renew(times);
    this.#stock.forget();
    native.detachArrayBuffer(old.segment.view.buffer as ArrayBuffer);
    native.unmap(old.address, old.facts.metaSize);
    native.closeDescriptor(old.facts.metaFd);
    this.#connection?.close();
    this.#attach()
      .then(() => this.#resubscribe())
      .then(
        () => {
          this.#sayDrained();
          for (const key of stale) this.#views.get(key)?.onStale();
          this.#listener.onBack();
        },
        // Gone again: the worker tells when it is back once more.
        () => undefined,
      );
  }

  /** No store of before is under way from here on: the node may give away what was kept back for them. */
  #sayDrained(): void {
    const incarnation = this.#incarnation;
    this.#access.settled().then(
      () => {
        if (incarnation !== this.#incarnation) return;
        const { times } = this.#access;
        this.#post({ type: 'drained', times });
      },
      () => undefined,
    );
  }

  async #resubscribe(): Promise<void> {
    for (const [subscription, { path }] of this.#subscriptions) {
      await this.#ask({ type: 'request', name: 'subscribe', fields: { subscription, path } });
    }
  }

  #ask(message: DistributiveOmit<Extract<ToWorker, { id: number }>, 'id'>): Promise<unknown> {
    this.assertUsable('map');
    const id = this.#nextId++;
    return this.#counted(
      new Promise((resolve, reject) => {
        this.#pending.set(id, { resolve, reject });
        this.#post({ ...message, id } as ToWorker);
      }),
    );
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #end(reason: FsError): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    // No store begins any more into pages of before (term.ts).
    this.#incarnation++;
    this.#access.close();
    this.#connection?.close(reason);
    this.#connection = undefined;
    for (const { reject } of this.#pending.values()) reject(reason);
    this.#pending.clear();
    this.#setPresent?.();
    if (reason.syscall !== 'unmount') this.#listener.onLost(reason);
  }

  /** The process lives as long as somebody waits for an answer, and not for the mount alone. */
  #counted<T>(promise: Promise<T>): Promise<T> {
    this.#ref();
    return promise.finally(() => this.#unref());
  }

  #ref(): void {
    if (this.#refs++ > 0) return;
    this.#worker.ref();
    this.#connection?.ref();
  }

  #unref(): void {
    if (--this.#refs > 0) return;
    this.#worker.unref();
    this.#connection?.unref();
  }
}

type DistributiveOmit<T, K extends string> = T extends unknown ? Omit<T, K> : never;

const mapMeta = ({ metaFd, metaSize }: SessionFacts): number =>
  native.mapFile({ fd: metaFd, offset: 0, length: metaSize, protection: 'read' });

/** As flock(2) and fcntl(2) say it of a lock that its holder would wait for. */
const waitsForItself = (): FsError =>
  new FsError('EDEADLK', 'read', {
    why: 'this thread runs the node, which must bring pages in: read asynchronously, or in another thread',
  });
