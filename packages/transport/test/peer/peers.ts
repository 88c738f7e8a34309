/** Two nodes on this machine, for tests: a listener, links to it, and bare sockets beside them. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { onTestFinished, vi } from 'vitest';
import {
  type AnyPeerEvent,
  type AnyPeerRequest,
  type ArrivedRequest,
  type ConnectPeerOptions,
  connectPeer,
  type ListenPeersOptions,
  listenPeers,
  type PeerEvent,
  type PeerIdentity,
  type PeerLink,
  type PeerListener,
  type PeerSecurity,
} from '../../src/peer/index.ts';

const clusterId = Uint8Array.from({ length: 16 }, (_, i) => i);
export const identityOf = (nodeId: number): PeerIdentity => ({
  clusterId,
  nodeId,
  name: `node-${nodeId}`,
  incarnation: 1,
});

export const none: PeerSecurity = { kind: 'none' };
export const newToken = (): PeerSecurity => ({
  kind: 'token',
  token: randomBytes(32).toString('base64url'),
});

export interface Listening extends PeerListener {
  /** Links that were let in, in order. */
  readonly links: readonly PeerLink[];
  /** Codes of who was not. */
  readonly refused: readonly string[];
  readonly port: number;
  connect(options?: Partial<ConnectPeerOptions>): Promise<PeerLink>;
  /** A socket without any manners. */
  bare(): Promise<Socket>;
}

export async function listen(
  { security = none, ...options }: Partial<ListenPeersOptions> = {},
  onLink: (link: PeerLink) => void = answerProbes,
): Promise<Listening> {
  const links: PeerLink[] = [];
  const refused: string[] = [];
  const listener = await listenPeers(
    {
      host: '127.0.0.1',
      port: 0,
      security,
      identity: identityOf(1),
      onRefused: ({ code }) => refused.push(code),
      ...options,
    },
    (link) => {
      links.push(link);
      onLink(link);
    },
  );
  onTestFinished(async () => {
    await listener.close();
    for (const link of links) link.close();
  });
  const { host, port } = listener.address;
  return {
    ...listener,
    links,
    refused,
    port,
    connect: async (others = {}) => {
      const link = await connectPeer({ host, port, security, identity: identityOf(2), ...others });
      onTestFinished(() => link.close());
      return link;
    },
    bare: async () => {
      const socket = connect({ host, port });
      onTestFinished(() => void socket.destroy());
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      return socket;
    },
  };
}

/** Both ends of a link. */
export async function pair(
  options: Partial<ListenPeersOptions> = {},
): Promise<{ readonly client: PeerLink; readonly server: PeerLink; readonly listening: Listening }> {
  const listening = await listen(options);
  const client = await listening.connect();
  const server = await vi.waitFor(() => {
    const [link] = listening.links;
    if (link === undefined) throw new Error('no link yet');
    return link;
  });
  return { client, server, listening };
}

/** Sends back what came. */
export function answerProbes(link: PeerLink): void {
  link.setHandlers({
    onRequest: probed((request) => {
      const { fields, payload } = request;
      request.reply({ serial: fields.serial }, payload === undefined ? {} : { payload });
    }),
  });
}

/** What answers probes, and is asked nothing else. */
export const probed =
  (answer: (request: ArrivedRequest<'probe'>) => void) =>
  (request: AnyPeerRequest): void => {
    if (request.name !== 'probe') throw new Error(`a request ${request.name}`);
    answer(request);
  };

/** What hears notes, and is told nothing else. */
export const noted =
  (hear: (fields: PeerEvent<'note'>, payload: Uint8Array | undefined) => void) =>
  (event: AnyPeerEvent): void => {
    if (event.name !== 'note') throw new Error(`an event ${event.name}`);
    hear(event.fields, event.payload);
  };
