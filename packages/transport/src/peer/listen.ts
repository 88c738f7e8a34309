/**
 * Waits for other nodes: who proves itself and says a right hello becomes a link, everybody else is closed.
 *
 * What is not through the handshake is bounded in number, memory and time, and never seen by the owner.
 */
import { once } from 'node:events';
import {
  type AddressInfo,
  createServer as createPlainServer,
  type Server,
  Socket,
  type SocketConstructorOpts,
} from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { type ErrorCode, FsError } from '../errors.ts';
import * as native from '../native.ts';
import { checkIdentity, explainFailure } from './handshake.ts';
import type { HeartbeatOptions } from './heartbeat.ts';
import { Intake } from './intake.ts';
import { PeerLink } from './link.ts';
import { peerLimits } from './peer-limits.ts';
import type { PeerIdentity } from './peer-messages.ts';
import { formatPeerUrl, type PeerAddress } from './peer-url.ts';
import { plainDescriptorOf } from './plain-descriptor.ts';
import {
  certifiedBy,
  distrustOf,
  loopbackAddress,
  type PeerSecurity,
  type PeerTls,
  prepareSecurity,
  requireLoopback,
} from './security.ts';

export interface ListenPeersOptions extends PeerAddress, HeartbeatOptions {
  readonly security: PeerSecurity;
  /** Who this node is. */
  readonly identity: PeerIdentity;
  /** Refuses a node of this cluster by throwing an FsError, which that node is told. */
  accept?(hello: PeerIdentity): void | Promise<void>;
  /** Hears of who was not let in, and why: for the log. */
  onRefused?(reason: FsError): void;
}

export interface PeerListener {
  /** Where it listens, with the port that it got. */
  readonly address: PeerAddress;
  readonly url: string;
  /** Stops listening. Links that there are stay. */
  close(): Promise<void>;
}

/**
 * Listens. `onLink` is called with each node that was let in, before anything it sends is handed over.
 *
 * @throws FsError EACCES without security on an address that others reach; EADDRINUSE and its like as
 * listen(2).
 */
export async function listenPeers(
  options: ListenPeersOptions,
  onLink: (link: PeerLink) => void,
): Promise<PeerListener> {
  const { security, port } = options;
  const tls = await prepareSecurity(security);
  const host = security.kind === 'none' ? await loopbackAddress(options) : options.host;
  const url = formatPeerUrl({ host, port });
  const server = makeServer(tls);
  const door = new Door(options, onLink);
  server.on('connection', (accepted: Socket) => {
    const { socket, intake } = tls === undefined ? withIntake(accepted) : { socket: accepted };
    door.arrived(socket);
    if (tls === undefined) door.secured(socket, intake);
  });
  if (tls !== undefined) {
    server.on('secureConnection', (socket: Socket) => door.secured(socket));
    server.on('tlsClientError', (error: Error, socket: Socket) => door.failed(error, socket));
  }
  server.listen({ host, port });
  try {
    await once(server, 'listening');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new FsError(code as ErrorCode, 'listen', { path: url, why: message, cause });
  }
  // From here accept(2) may fail, for want of descriptors: who came is not let in, others are later.
  server.on('error', (error) => door.refuse(explainFailure(error, url)));
  const { address, port: given } = server.address() as AddressInfo;
  const at = { host: address, port: given };
  return { address: at, url: formatPeerUrl(at), close: () => closeServer(server, door) };
}

const makeServer = (tls: PeerTls): Server =>
  tls === undefined
    ? createPlainServer({ noDelay: true, pauseOnConnect: true })
    : createTlsServer({ ...tls.server, noDelay: true });

/**
 * The same connection, read into one buffer again and again: a server has no option for that, so it becomes
 * another socket. Requires: nothing was read of it.
 */
function withIntake(accepted: Socket): { readonly socket: Socket; readonly intake?: Intake } {
  const fd = plainDescriptorOf(accepted);
  if (fd === undefined) return { socket: accepted.resume() };
  const intake = new Intake();
  const own = { fd: native.duplicate(fd), readable: true, writable: true };
  const socket = new Socket({ ...own, onread: intake.onread } as SocketConstructorOpts);
  accepted.destroy();
  return { socket, intake };
}

/** Does not wait for the links: they are their owners'. */
async function closeServer(server: Server, door: Door): Promise<void> {
  server.close();
  door.close();
}

/** Who has come and is not let in yet. */
class Door {
  readonly #options: ListenPeersOptions;
  readonly #onLink: (link: PeerLink) => void;
  /** By the address of the peer, oldest first. */
  readonly #waiting = new Map<string, { readonly socket: Socket; readonly timer: NodeJS.Timeout }>();

  constructor(options: ListenPeersOptions, onLink: (link: PeerLink) => void) {
    this.#options = options;
    this.#onLink = onLink;
  }

  /** A connection of which nothing is known. */
  arrived(socket: Socket): void {
    const url = urlOf(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => {
      // The peer's port may have been used again since.
      if (this.#waiting.get(url)?.socket === socket) this.#forget(url);
    });
    const timer = setTimeout(() => {
      this.refuse(new FsError('ETIMEDOUT', 'hello', { path: url, why: 'no hello came in time' }));
      socket.destroy();
    }, peerLimits.handshakeMs).unref();
    this.#forget(url);
    this.#waiting.set(url, { socket, timer });
    if (this.#waiting.size <= peerLimits.pendingHandshakes) return;
    const [oldest] = this.#waiting.values();
    oldest?.socket.destroy();
  }

  /** The peer has proved itself, as far as the security asks for that. */
  secured(socket: Socket, intake?: Intake): void {
    const { security, identity } = this.#options;
    const url = urlOf(socket);
    socket.on('error', () => undefined);
    const certified = certifiedBy(socket, security);
    try {
      if (security.kind === 'none') requireLoopback(socket, url);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.refuse(error);
      socket.destroy();
      return;
    }
    const link: PeerLink = new PeerLink(socket, {
      ...this.#options,
      url,
      intake,
      onHello: (theirs, welcome) => {
        const claim = { mine: identity, theirs, certified, url };
        void this.#admit(link, claim, () => welcome(identity));
      },
    });
    link.setHandlers({ onClose: (reason) => this.refuse(reason) });
  }

  /** The peer could not prove itself. */
  failed(error: Error, socket: Socket): void {
    this.refuse(explainFailure(error, urlOf(below(socket)), distrustOf(socket)));
    socket.destroy();
  }

  refuse(reason: FsError): void {
    this.#options.onRefused?.(reason);
  }

  close(): void {
    for (const { socket } of [...this.#waiting.values()]) socket.destroy();
  }

  async #admit(
    link: PeerLink,
    claim: Parameters<typeof checkIdentity>[0],
    welcome: () => void,
  ): Promise<void> {
    try {
      checkIdentity(claim);
      await this.#options.accept?.(claim.theirs);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      link.close(error);
      return;
    }
    if (link.closed !== undefined) return;
    this.#forget(link.url);
    link.setHandlers({});
    link.admit(claim.theirs);
    welcome();
    this.#onLink(link);
  }

  #forget(url: string): void {
    clearTimeout(this.#waiting.get(url)?.timer);
    this.#waiting.delete(url);
  }
}

/**
 * The TCP socket of a TLS socket: it remembers the address that it was asked for while it was open, where a
 * TLS socket that node:tls has closed knows none. Node has no other name for it; without it the log lacks
 * the address.
 */
const below = (socket: Socket & { readonly _parent?: Socket }): Socket => socket._parent ?? socket;

const urlOf = ({ remoteAddress = '?', remotePort = 0 }: Socket): string =>
  formatPeerUrl({ host: remoteAddress, port: remotePort });
