/**
 * The socket: accepts clients, opens their sessions, answers their requests.
 *
 *   connected ──not allowed, too many──▶ turned away: told why, no descriptor passed
 *       │ admitted
 *   stranger ──hello──▶ opening ──▶ known        (no hello or attach in time: closed)
 *       └─────attach────────────────▶
 *
 * A peer that breaks the protocol or takes more than its limits loses its connection, and nobody else
 * notices.
 */
import { closeSync, openSync, rmSync } from 'node:fs';
import {
  type AnyRequest,
  Connection,
  FsError,
  type FsError as FsErrorType,
  frameLimits,
  native,
  type RequestName,
  type Spinner,
  turnAway,
} from '@cluster-fs/transport';
import type { Admission, Peer } from './admission.ts';
import type { Coordinator } from './coordinator/coordinator.ts';
import { dispatch, dispatchEvent } from './coordinator/dispatch.ts';
import type { MoveOptions } from './coordinator/move.ts';
import type { NodeFacts } from './coordinator/report.ts';
import type { Session } from './coordinator/session.ts';
import { attach, endSession, hello, revokeSession } from './coordinator/sessions.ts';
import { exceeded } from './limits.ts';
import type { UserLoad, UserLoads } from './user-load.ts';

export interface ServerOptions {
  readonly coordinator: Coordinator;
  readonly path: string;
  readonly metaFd: number;
  readonly facts: NodeFacts;
  readonly admission: Admission;
  readonly loads: UserLoads;
  /** Of this thread; for the connections. */
  readonly spinner: Spinner;
  readonly onError: (error: unknown) => void;
}

/** Accepted in one turn of the event loop, so that a storm of connections lets others work. */
const acceptedAtOnce = 64;
/** Those that may take long, and can be cancelled. */
const longNames: ReadonlySet<RequestName> = new Set([
  'put',
  'move',
  'migrate',
  'drain',
  'rebalance',
  'defrag',
]);

/** When not even a spare descriptor helps, how long newcomers wait. */
const acceptAgainMs = 100;

/** With these a connection ends that wanted too much, or did too little. */
const overLimitCodes: ReadonlySet<string> = new Set(['ENOBUFS', 'EPIPE', 'ETIMEDOUT', 'EMSGSIZE']);

/** What came with a request. */
interface Message {
  readonly id: number;
  readonly descriptors: readonly number[];
  /** Its length on the wire. */
  readonly bytes: number;
}

interface Client {
  readonly connection: Connection;
  readonly peer: Peer;
  readonly load: UserLoad;
  session: Session | undefined;
  /** 'stranger' has said nothing yet, 'opening' waits for its session, 'known' has or had one. */
  state: 'stranger' | 'opening' | 'known';
  pending: number;
  /** Bytes of its requests that have no answer. */
  pendingBytes: number;
  /** Messages that it sent. */
  heard: number;
  readonly long: Map<number, AbortController>;
  timer: NodeJS.Timeout;
}

export class Server {
  readonly #options: ServerOptions;
  readonly #fd: number;
  readonly #poll: native.DescriptorPoll;
  readonly #clients = new Set<Client>();
  /** Given up for a moment when there are no descriptors left, to accept a peer and turn it away. */
  #spareFd: number;
  #closed = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#fd = native.listenUnix(options.path, { mode: options.admission.socketMode });
    this.#spareFd = openSync('/dev/null', 'r');
    this.#poll = native.pollDescriptor(this.#fd, () => this.#accept());
    this.#poll.watch({ readable: true, writable: false });
  }

  /** Lets nobody in from here on. Safe to call twice. */
  refuse(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll.close();
    native.closeDescriptor(this.#fd);
    closeSync(this.#spareFd);
    // Somebody may have removed it already.
    rmSync(this.#options.path, { force: true });
  }

  /** Safe to call twice. */
  close(reason: FsErrorType): void {
    this.refuse();
    for (const client of [...this.#clients]) client.connection.close(reason);
  }

  #accept(): void {
    for (let i = 0; i < acceptedAtOnce; i++) {
      let fd: number | undefined;
      try {
        fd = native.acceptUnix(this.#fd);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        if (error.code === 'ECONNABORTED') continue;
        // Out of descriptors: who waits is told so, or it would wake us up for ever.
        this.#options.admission.countOverLimit(error);
        if (this.#acceptWithSpare(error)) continue;
        this.#acceptLater();
        return;
      }
      if (fd === undefined) return;
      this.#welcome(fd);
    }
  }

  /** Returns whether a peer could be turned away. */
  #acceptWithSpare(reason: FsErrorType): boolean {
    closeSync(this.#spareFd);
    try {
      const fd = native.acceptUnix(this.#fd);
      if (fd !== undefined) turnAway(fd, new FsError(reason.code, 'mount', { why: 'of the node' }));
      return fd !== undefined;
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      return false;
    } finally {
      this.#spareFd = openSync('/dev/null', 'r');
    }
  }

  #acceptLater(): void {
    this.#poll.watch({ readable: false, writable: false });
    setTimeout(() => {
      if (!this.#closed) this.#poll.watch({ readable: true, writable: false });
    }, acceptAgainMs);
  }

  #welcome(fd: number): void {
    const { admission, loads, coordinator, spinner } = this.#options;
    let peer: Peer;
    try {
      peer = admission.admit(fd);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      turnAway(fd, error);
      return;
    }
    const load = loads.enter(peer.uid);
    if (load === undefined) {
      const error = exceeded(coordinator.limits, 'connections', { syscall: 'mount' });
      admission.countOverLimit(error);
      turnAway(fd, error);
      return;
    }
    try {
      const { firstFrameBytes } = frameLimits;
      const options = { meter: load, frameBytes: firstFrameBytes, spinner };
      this.#serve(new Connection(fd, {}, options), { peer, load });
    } catch (error) {
      loads.leave(peer.uid);
      if (!(error instanceof FsError)) throw error;
      // The poll of a connection takes a descriptor too.
      admission.countOverLimit(error);
      turnAway(fd, error);
    }
  }

  #serve(connection: Connection, { peer, load }: Pick<Client, 'peer' | 'load'>): void {
    const client: Client = {
      connection,
      peer,
      load,
      session: undefined,
      state: 'stranger',
      pending: 0,
      pendingBytes: 0,
      heard: 0,
      long: new Map(),
      timer: this.#deadline(connection, 'no hello', () => client.state !== 'known'),
    };
    this.#clients.add(client);
    connection.setHandlers({
      onRequest: (request, id, descriptors, bytes) =>
        this.#onRequest(client, request, { id, descriptors, bytes }),
      onEvent: (event) => {
        client.heard++;
        if (event.name === 'cancel') client.long.get(event.fields.request)?.abort();
        else if (client.session !== undefined)
          dispatchEvent(this.#options.coordinator, client.session, event);
      },
      onOverflow: (reason) => {
        if (client.session?.control === connection) this.#cutOff(client.session, reason);
        else connection.close(reason);
      },
      onClose: (reason) => this.#onClose(client, reason),
    });
  }

  /** Ends a session whose client does not read. What it still maps is kept until it has heard of that. */
  #cutOff(session: Session, reason: FsErrorType): void {
    const { coordinator, admission } = this.#options;
    if (session.views.size === 0 && session.reservations.size === 0 && session.grants.size === 0) {
      session.control.close(reason);
      return;
    }
    admission.countOverLimit(reason);
    revokeSession(coordinator, session, reason.why ?? reason.code);
  }

  /** Closes a connection that is late with what it has to do first. */
  #deadline(connection: Connection, why: string, isLate: () => boolean): NodeJS.Timeout {
    return setTimeout(() => {
      if (isLate()) connection.close(new FsError('ETIMEDOUT', 'accept', { why }));
    }, this.#options.coordinator.limits.helloMs);
  }

  #onClose(client: Client, reason: FsErrorType): void {
    const { session, connection, peer } = client;
    const { coordinator, loads, admission } = this.#options;
    this.#clients.delete(client);
    clearTimeout(client.timer);
    loads.leave(peer.uid);
    if (overLimitCodes.has(reason.code)) admission.countOverLimit(reason);
    for (const controller of client.long.values()) controller.abort();
    if (session === undefined) return;
    session.requests.delete(connection);
    // A peer that hung up its request connection may open another; one that we had to cut off starts anew.
    if (session.control === connection) endSession(coordinator, session, reason);
    else if (reason.code !== 'ECONNRESET' && !session.ended) this.#cutOff(session, reason);
  }

  #known(client: Client): void {
    client.state = 'known';
    client.connection.admit();
    clearTimeout(client.timer);
  }

  #onRequest(client: Client, request: AnyRequest, message: Message): void {
    client.heard++;
    const { limits } = this.#options.coordinator;
    const { id, descriptors, bytes } = message;
    const isTooMuch = client.pending >= limits.pendingRequests;
    if (!client.load.keep(bytes, client.pendingBytes + bytes) || isTooMuch) {
      client.load.keep(-bytes, 0);
      for (const fd of descriptors) native.closeDescriptor(fd);
      const name = isTooMuch ? 'pendingRequests' : 'keptBytes';
      client.connection.fail(id, exceeded(limits, name, { syscall: request.name }));
      return;
    }
    client.pending++;
    client.pendingBytes += bytes;
    // Called at once and not in a microtask: requests take effect in the order in which they came.
    try {
      const answer = this.#answer(client, request, id, descriptors);
      if (answer instanceof Promise) {
        answer.then(
          (reply) => this.#reply(client, request, message, reply),
          (error: unknown) => this.#fail(client, request, message, error),
        );
      } else this.#reply(client, request, message, answer);
    } catch (error) {
      this.#fail(client, request, message, error);
    }
  }

  #answer(client: Client, request: AnyRequest, id: number, descriptors: readonly number[]): unknown {
    const { coordinator, facts } = this.#options;
    if (client.session !== undefined) {
      for (const fd of descriptors) native.closeDescriptor(fd);
      if (client.session.ended)
        throw new FsError('ECANCELED', request.name, { why: 'the session was revoked' });
      const { session } = client;
      const long = this.#longOptions(client, request, id);
      return dispatch(coordinator, session, request, { facts, long });
    }
    const isFirst = client.state === 'stranger';
    if (isFirst && request.name === 'hello') return this.#hello(client, request.fields, descriptors);
    for (const fd of descriptors) native.closeDescriptor(fd);
    if (!isFirst) throw new FsError('EPROTO', request.name, { why: 'the session is not open' });
    if (request.name !== 'attach') throw new FsError('EPROTO', request.name, { why: 'no session' });
    client.session = attach(coordinator, client.connection, client.peer, request.fields);
    this.#known(client);
    return {};
  }

  async #hello(
    client: Client,
    fields: Extract<AnyRequest, { name: 'hello' }>['fields'],
    descriptors: readonly number[],
  ): Promise<unknown> {
    const { coordinator } = this.#options;
    client.state = 'opening';
    await coordinator.blocks?.opening;
    let opened: Awaited<ReturnType<typeof hello>>;
    try {
      opened = await hello(coordinator, client.connection, client.peer, fields, descriptors);
    } catch (error) {
      for (const fd of descriptors) native.closeDescriptor(fd);
      throw error;
    }
    client.session = opened.session;
    this.#known(client);
    // The client may have died while the commit ran.
    const { closed } = client.connection;
    if (closed !== undefined) endSession(coordinator, opened.session, closed);
    return opened.reply;
  }

  /** Progress and cancellation; a signal is made when there is something to wait for. */
  #longOptions(client: Client, { name, fields }: AnyRequest, id: number): MoveOptions {
    if (!longNames.has(name)) return {};
    const { connection, long } = client;
    const onProgress = (done: number, total: number): void => {
      connection.event('progress', { request: id, done, total, what: name });
    };
    const wantsProgress = 'progress' in fields && fields.progress;
    return {
      get signal() {
        const controller = long.get(id) ?? new AbortController();
        long.set(id, controller);
        return controller.signal;
      },
      ...(wantsProgress ? { onProgress } : {}),
    };
  }

  #settled(client: Client, { id, bytes }: Message): void {
    client.pending--;
    client.pendingBytes -= bytes;
    client.load.keep(-bytes, 0);
    client.long.delete(id);
  }

  #reply(client: Client, { name }: AnyRequest, message: Message, reply: unknown): void {
    this.#settled(client, message);
    const descriptors = name === 'hello' ? this.#donated(client) : [];
    client.connection.reply(name, message.id, reply as never, descriptors);
    if (name === 'hello') this.#expectReceived(client);
  }

  /**
   * Descriptors that nobody receives are kept by the kernel, which counts them against the node and at some
   * number sends no more, to nobody. Whoever goes on talking has received them or need not.
   */
  #expectReceived(client: Client): void {
    const { connection, session, heard } = client;
    if (connection.closed !== undefined) return;
    client.timer = this.#deadline(
      connection,
      'the answer to hello is not received',
      () => client.heard === heard && session?.requests.size === 0 && native.unreadBytes(connection.fd) > 0,
    );
    client.timer.unref();
  }

  /** None when the session has ended meanwhile, and nobody is there to take them. */
  #donated({ session }: Client): number[] {
    const { coordinator, metaFd } = this.#options;
    if (session?.lockFd === undefined) return [];
    const { fd, readOnlyFd } = coordinator.data;
    return [metaFd, session.access === 'r' ? readOnlyFd : fd, session.lockFd];
  }

  #fail(client: Client, request: AnyRequest, message: Message, error: unknown): void {
    this.#settled(client, message);
    const { id } = message;
    if (error instanceof FsError) {
      client.connection.fail(id, aboutRequest(error, request));
      return;
    }
    if (error instanceof Error && error.name === 'AbortError') {
      client.connection.fail(id, new FsError('ECANCELED', 'cancel'));
      return;
    }
    // A bug of ours. The client gets EIO; the node tells its operator.
    this.#options.onError(error);
    client.connection.fail(
      id,
      new FsError('EIO', 'request', { why: error instanceof Error ? error.message : String(error) }),
    );
  }
}

/** System calls by what they ask of the node, where the names differ. */
const syscalls: Partial<Record<RequestName, string>> = {
  put: 'open',
  attachPages: 'write',
  writeBegin: 'write',
  writeEnd: 'write',
  reserve: 'write',
  lease: 'map',
  present: 'map',
  remove: 'rm',
};

/** An error that does not say so itself is about the path of the request, and about its system call. */
function aboutRequest(error: FsErrorType, { name, fields }: AnyRequest): FsErrorType {
  const path = 'path' in fields ? fields.path : 'from' in fields ? fields.from : undefined;
  if (typeof path !== 'string' || error.path !== undefined) {
    if (error.syscall !== 'commit') return error;
  }
  const { code, why, cause } = error;
  const syscall = error.syscall === 'commit' ? (syscalls[name] ?? name) : error.syscall;
  const dest = 'to' in fields && typeof fields.to === 'string' ? fields.to : undefined;
  const place = typeof path === 'string' ? { path, dest } : {};
  return new FsError(code, syscall, { ...place, why, cause });
}
