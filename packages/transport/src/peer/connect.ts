/** Connects to another node: the socket, its security, hello and welcome; then there is a link. */
import { once } from 'node:events';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { FsError } from '../errors.ts';
import { checkExpected, checkIdentity, type ExpectedPeer, explainFailure } from './handshake.ts';
import type { HeartbeatOptions } from './heartbeat.ts';
import { Intake } from './intake.ts';
import { PeerLink } from './link.ts';
import { peerLimits } from './peer-limits.ts';
import type { PeerIdentity } from './peer-messages.ts';
import { formatPeerUrl, type PeerAddress } from './peer-url.ts';
import {
  certifiedBy,
  type PeerSecurity,
  type PeerTls,
  prepareSecurity,
  requireLoopback,
} from './security.ts';

export interface ConnectPeerOptions extends PeerAddress, HeartbeatOptions {
  readonly security: PeerSecurity;
  /** Who this node is. */
  readonly identity: PeerIdentity;
  readonly expect?: ExpectedPeer;
  /** Ends the attempt; the link that came of it stays. */
  readonly signal?: AbortSignal;
}

/**
 * Connects. `onLink` is called before anything that the other node sends is handed over: the place to set
 * handlers.
 *
 * @throws FsError EACCES when the nodes do not trust each other or belong to different clusters,
 * EPROTONOSUPPORT when they speak different versions, ETIMEDOUT when the other end does not answer in time,
 * ECONNREFUSED and its like as connect(2).
 */
export async function connectPeer(
  options: ConnectPeerOptions,
  onLink?: (link: PeerLink) => void,
): Promise<PeerLink> {
  const { security, signal } = options;
  const url = formatPeerUrl(options);
  const tls = await prepareSecurity(security);
  signal?.throwIfAborted();
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), peerLimits.handshakeMs);
  const end = signal === undefined ? deadline.signal : AbortSignal.any([deadline.signal, signal]);
  const intake = new Intake();
  const socket = open(options, tls, intake);
  const cutOff = (): void => void socket.destroy();
  end.addEventListener('abort', cutOff, { once: true });
  try {
    await once(socket, tls === undefined ? 'connect' : 'secureConnect', { signal: end });
    return await greet(socket, { options, onLink, url, intake });
  } catch (error) {
    socket.destroy();
    signal?.throwIfAborted();
    if (deadline.signal.aborted) {
      const why = `the other end did not answer within ${peerLimits.handshakeMs} ms`;
      throw new FsError('ETIMEDOUT', 'connect', { path: url, why });
    }
    throw error instanceof Error ? explainFailure(error, url) : error;
  } finally {
    clearTimeout(timer);
    end.removeEventListener('abort', cutOff);
  }
}

function open({ host, port }: PeerAddress, tls: PeerTls, { onread }: Intake): Socket {
  const address = { host, port, onread };
  const socket = tls === undefined ? connectPlain(address) : connectTls({ ...address, ...tls.client });
  socket.setNoDelay(true);
  // Whoever waits hears of it; between two who wait there is nobody.
  socket.on('error', () => undefined);
  return socket;
}

interface Greeting {
  readonly options: ConnectPeerOptions;
  readonly onLink: ((link: PeerLink) => void) | undefined;
  readonly url: string;
  readonly intake: Intake;
}

async function greet(socket: Socket, { options, onLink, url, intake }: Greeting): Promise<PeerLink> {
  const { security, identity, expect = {} } = options;
  if (security.kind === 'none') requireLoopback(socket, url);
  const certified = certifiedBy(socket, security);
  const link = new PeerLink(socket, { ...options, url, intake });
  try {
    await link.greet(identity, (theirs) => {
      try {
        checkIdentity({ mine: identity, theirs, certified, url });
        checkExpected(expect, theirs, url);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        link.close(error);
        return;
      }
      link.admit(theirs);
      onLink?.(link);
    });
  } catch (error) {
    throw link.closed ?? error;
  }
  if (link.closed !== undefined) throw link.closed;
  return link;
}
