/**
 * The socket: accepts clients, opens their sessions, answers their requests.
 *
 * Who may connect is decided here, before a byte is read: the socket's mode keeps strangers out, SO_PEERCRED
 * says who came. A peer that breaks the protocol loses its connection, and nobody else notices.
 */
import { rmSync } from 'node:fs';
import {
  type AnyRequest,
  Connection,
  FsError,
  type FsError as FsErrorType,
  native,
  type RequestName,
  Spinner,
} from '@cluster-fs/transport';
import type { Coordinator } from './coordinator/coordinator.ts';
import { dispatch, dispatchEvent } from './coordinator/dispatch.ts';
import type { NodeFacts } from './coordinator/report.ts';
import type { Session } from './coordinator/session.ts';
import { attach, endSession, hello, type Peer, resolveSession } from './coordinator/sessions.ts';

export interface ServerOptions {
  readonly coordinator: Coordinator;
  readonly path: string;
  readonly metaFd: number;
  readonly facts: NodeFacts;
  /** Users who may connect besides root and the owner of the node. */
  readonly allowUids?: readonly number[];
  readonly onError: (error: unknown) => void;
}

/**
 * Connections that have not said hello yet: a peer that only connects holds one of these for a while and no
 * more.
 */
const limits = { strangers: 256, helloMs: 10_000, pendingRequests: 65_536 } as const;

interface Client {
  readonly connection: Connection;
  readonly peer: Peer;
  session: Session | undefined;
  /** 'stranger' has said nothing yet, 'opening' waits for its session, 'known' has or had one. */
  state: 'stranger' | 'opening' | 'known';
  /** Sessions of before that this client goes on with. */
  resume: readonly number[];
  pending: number;
  readonly long: Map<number, AbortController>;
  readonly strangerTimer: NodeJS.Timeout;
}

export class Server {
  readonly #options: ServerOptions;
  readonly #fd: number;
  readonly #poll: native.DescriptorPoll;
  readonly #clients = new Set<Client>();
  readonly #spinner = new Spinner();
  #strangers = 0;
  #closed = false;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#fd = native.listenUnix(options.path, { mode: options.allowUids === undefined ? 0o600 : 0o666 });
    this.#poll = native.pollDescriptor(this.#fd, () => this.#accept());
    this.#poll.watch({ readable: true, writable: false });
  }

  /** Safe to call twice. */
  close(reason: FsErrorType): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll.close();
    this.#spinner.close();
    native.closeDescriptor(this.#fd);
    // Somebody may have removed it already.
    rmSync(this.#options.path, { force: true });
    for (const client of [...this.#clients]) client.connection.close(reason);
  }

  #accept(): void {
    for (let i = 0; i < 64; i++) {
      let fd: number | undefined;
      try {
        fd = native.acceptUnix(this.#fd);
      } catch (error) {
        // Out of descriptors, or the peer left again: the others are served on.
        this.#options.onError(error);
        return;
      }
      if (fd === undefined) return;
      this.#welcome(fd);
    }
  }

  #welcome(fd: number): void {
    const peer = native.peerCredentials(fd);
    if (!this.#admits(peer) || this.#strangers >= limits.strangers) {
      native.closeDescriptor(fd);
      return;
    }
    this.#strangers++;
    const connection = new Connection(fd, {}, this.#spinner);
    const strangerTimer = setTimeout(() => {
      connection.close(new FsError('ETIMEDOUT', 'accept', { why: 'no hello' }));
    }, limits.helloMs);
    const client: Client = {
      connection,
      peer,
      session: undefined,
      state: 'stranger',
      resume: [],
      pending: 0,
      long: new Map(),
      strangerTimer,
    };
    this.#clients.add(client);
    connection.setHandlers({
      onRequest: (request, id, descriptors) => this.#onRequest(client, request, id, descriptors),
      onEvent: (event) => {
        if (event.name === 'cancel') client.long.get(event.fields.request)?.abort();
        else if (client.session !== undefined)
          dispatchEvent(this.#options.coordinator, client.session, event);
      },
      onClose: (reason) => this.#onClose(client, reason),
    });
  }

  #admits({ uid }: Peer): boolean {
    return uid === 0 || uid === process.getuid?.() || this.#options.allowUids?.includes(uid) === true;
  }

  #onClose(client: Client, reason: FsErrorType): void {
    const { session, connection } = client;
    this.#clients.delete(client);
    this.#noStranger(client);
    for (const controller of client.long.values()) controller.abort();
    if (session === undefined) return;
    if (session.control === connection) endSession(this.#options.coordinator, session, reason);
    else session.requests.delete(connection);
  }

  #noStranger(client: Client): void {
    if (client.state === 'known') return;
    client.state = 'known';
    clearTimeout(client.strangerTimer);
    this.#strangers--;
  }

  #onRequest(client: Client, request: AnyRequest, id: number, descriptors: readonly number[]): void {
    if (client.pending >= limits.pendingRequests) {
      client.connection.close(
        new FsError('EPROTO', 'recvmsg', { why: `${limits.pendingRequests} requests without an answer` }),
      );
      return;
    }
    client.pending++;
    // Called at once and not in a microtask: requests take effect in the order in which they came.
    try {
      const answer = this.#answer(client, request, id, descriptors);
      if (answer instanceof Promise) {
        answer.then(
          (reply) => this.#reply(client, request, id, reply),
          (error: unknown) => this.#fail(client, request, id, error),
        );
      } else this.#reply(client, request, id, answer);
    } catch (error) {
      this.#fail(client, request, id, error);
    }
  }

  #answer(client: Client, request: AnyRequest, id: number, descriptors: readonly number[]): unknown {
    const { coordinator, facts } = this.#options;
    if (client.session !== undefined) {
      for (const fd of descriptors) native.closeDescriptor(fd);
      if (request.name === 'resumed') return this.#resumed(client);
      const long = this.#longOptions(client, request, id);
      return dispatch(coordinator, client.session, request, { facts, long });
    }
    const isFirst = client.state === 'stranger';
    if (isFirst && request.name === 'hello') return this.#hello(client, request.fields, descriptors);
    for (const fd of descriptors) native.closeDescriptor(fd);
    if (!isFirst) throw new FsError('EPROTO', request.name, { why: 'the session is not open' });
    if (request.name !== 'attach') throw new FsError('EPROTO', request.name, { why: 'no session' });
    client.session = attach(coordinator, client.connection, client.peer, request.fields);
    this.#noStranger(client);
    return {};
  }

  /** When the last session of before is back or dead, what was kept back for them is free. */
  #resumed({ resume }: Client): unknown {
    for (const id of resume) resolveSession(this.#options.coordinator, id);
    return {};
  }

  async #hello(
    client: Client,
    fields: Extract<AnyRequest, { name: 'hello' }>['fields'],
    descriptors: readonly number[],
  ): Promise<unknown> {
    const { coordinator } = this.#options;
    client.state = 'opening';
    let opened: Awaited<ReturnType<typeof hello>>;
    try {
      opened = await hello(coordinator, client.connection, client.peer, fields, descriptors);
    } catch (error) {
      for (const fd of descriptors) native.closeDescriptor(fd);
      throw error;
    }
    client.session = opened.session;
    const { pid } = client.peer;
    client.resume = fields.resume.filter((id) => coordinator.unresolved.get(id)?.pid === pid);
    this.#noStranger(client);
    // The client may have died while the commit ran.
    const { closed } = client.connection;
    if (closed !== undefined) endSession(coordinator, opened.session, closed);
    return opened.reply;
  }

  /** Progress and cancellation, for the requests that may take long. */
  #longOptions(client: Client, { name, fields }: AnyRequest, id: number) {
    if (name !== 'move' && name !== 'defrag') return {};
    const controller = new AbortController();
    client.long.set(id, controller);
    const { connection } = client;
    const onProgress = (done: number, total: number): void => {
      connection.event('progress', { request: id, done, total, what: name });
    };
    return fields.progress ? { signal: controller.signal, onProgress } : { signal: controller.signal };
  }

  #reply(client: Client, { name }: AnyRequest, id: number, reply: unknown): void {
    client.pending--;
    client.long.delete(id);
    const { coordinator, metaFd } = this.#options;
    const descriptors = name === 'hello' ? [metaFd, this.#dataFd(client, coordinator)] : [];
    client.connection.reply(name, id, reply as never, descriptors);
  }

  #dataFd({ session }: Client, { data }: Coordinator): number {
    return session?.access === 'r' ? data.readOnlyFd : data.fd;
  }

  #fail(client: Client, request: AnyRequest, id: number, error: unknown): void {
    client.pending--;
    client.long.delete(id);
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
