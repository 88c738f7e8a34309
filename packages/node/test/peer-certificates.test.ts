/**
 * Links of nodes by certificate, over real sockets: who has the right one is let in, and nobody else gets a
 * byte of a node. Who is not proved hears nothing but the end; who is proved and claims too much is told why.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect as connectPlain, createServer, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer, type TlsOptions } from 'node:tls';
import type { FsError } from '@cluster-fs/transport';
import {
  type ConnectPeerOptions,
  connectPeer,
  formatClusterId,
  listenPeers,
  type PeerIdentity,
  type PeerLink,
  type PeerSecurity,
} from '@cluster-fs/transport/peer';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Issued, issueAuthority, issueNode, makeKey, type Validity } from '../src/certificates/issue.ts';

const dayMs = 86_400_000;
const clusterId = randomBytes(16);
const cluster = formatClusterId(clusterId);
const days = (from: number, to: number): Validity => ({
  notBefore: new Date(Date.now() + from * dayMs),
  notAfter: new Date(Date.now() + to * dayMs),
});
const now = days(-1, 1);
const authority = await issueAuthority(cluster, now);
const stranger = await issueAuthority(cluster, now);

const identityOf = (name: string): PeerIdentity => ({ clusterId, nodeId: 1, name, incarnation: 1 });

type Tls = Extract<PeerSecurity, { kind: 'tls' }>;
interface Made {
  readonly by?: Issued;
  readonly for?: string;
  readonly validity?: Validity;
  readonly hosts?: readonly string[];
}

/** The security of a node as its directory has it: the cluster's authority, and its certificate. */
async function certify(name: string, { by = authority, hosts = [], ...made }: Made = {}): Promise<Tls> {
  const key = makeKey();
  const subject = { name, clusterId: made.for ?? cluster, hosts };
  const cert = await issueNode(subject, { ...(made.validity ?? now), key, authority: by });
  return { kind: 'tls', ca: authority.cert, cert, key };
}

interface Listening {
  readonly port: number;
  readonly links: PeerLink[];
  readonly refused: FsError[];
  connect(security: PeerSecurity, options?: Partial<ConnectPeerOptions>): Promise<PeerLink>;
}

async function listen(security: PeerSecurity): Promise<Listening> {
  const links: PeerLink[] = [];
  const refused: FsError[] = [];
  const listener = await listenPeers(
    {
      host: '127.0.0.1',
      port: 0,
      security,
      identity: identityOf('a'),
      onRefused: (why) => refused.push(why),
    },
    (link) => {
      links.push(link);
      link.setHandlers({
        onRequest: (request) => {
          if (request.name === 'probe') request.reply({ serial: request.fields.serial });
        },
      });
    },
  );
  onTestFinished(async () => {
    await listener.close();
    for (const link of links) link.close();
  });
  const { port } = listener.address;
  return {
    port,
    links,
    refused,
    connect: async (theirs, options = {}) => {
      const to = { host: '127.0.0.1', port, identity: identityOf('b'), ...options };
      const link = await connectPeer({ ...to, security: theirs });
      onTestFinished(() => link.close());
      return link;
    },
  };
}

/** Who has the right to is let in as before, and asks what it wants. */
async function expectLetIn({ connect }: Listening): Promise<void> {
  const link = await connect(await certify('b'));
  await expect(link.request('probe', { serial: 3 })).resolves.toMatchObject({ reply: { serial: 3 } });
}

test('each end shows its certificate, and learns who the other is', async () => {
  const listening = await listen(await certify('a'));
  const client = await listening.connect(await certify('b'), { expect: { name: 'a' } });
  await expect(client.request('probe', { serial: 1 })).resolves.toMatchObject({ reply: { serial: 1 } });
  expect(client.peer.name).toBe('a');
  expect(listening.links.map(({ peer }) => peer.name)).toEqual(['b']);
  expect(listening.refused).toEqual([]);
});

/** The log says where who was refused came from. */
const from: unknown = expect.stringMatching(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);

/** Of a node that is trusted, as an authority: it may sign nothing. */
async function signedByNode(): Promise<Tls> {
  const { cert, key } = await certify('c');
  const leaf = await certify('b', { by: { cert: String(cert), key: String(key) } });
  return { ...leaf, cert: `${leaf.cert}${cert}` };
}

const unproved: readonly (readonly [string, Promise<Tls>, RegExp])[] = [
  ['of another authority', certify('b', { by: stranger }), /same token or authority/],
  ['that has expired', certify('b', { validity: days(-9, -1) }), /out of date.*cert show.*expired/i],
  ['that is not valid yet', certify('b', { validity: days(1, 9) }), /out of date.*not.yet.valid/i],
  ['signed by a node', signedByNode(), /same token or authority/],
  [
    'of the authority itself',
    Promise.resolve({ kind: 'tls', ca: authority.cert, ...authority }),
    /authority/,
  ],
];

describe.each(unproved)('a certificate %s', (_, theirs, why) => {
  test('is not let in', async () => {
    const listening = await listen(await certify('a'));
    await expect(listening.connect(await theirs)).rejects.toMatchObject({ code: 'ECONNRESET' });
    await expect
      .poll(() => listening.refused)
      .toMatchObject([{ code: 'EACCES', path: from, why: expect.stringMatching(why) }]);
    expect(listening.links).toEqual([]);
    await expectLetIn(listening);
  });

  test('gets no byte of a node, whatever it says', async () => {
    const listening = await listen(await certify('a'));
    const { ca, cert, key } = await theirs;
    const socket = connectTls({ port: listening.port, ca, cert, key, rejectUnauthorized: false });
    const heard = hear(socket);
    socket.write(await helloOf('b'));
    await closed(socket);
    expect(Buffer.concat(heard)).toEqual(Buffer.alloc(0));
    expect(listening.links).toEqual([]);
  });

  test('is not talked to where it listens', async () => {
    const { ca, cert, key } = await theirs;
    const { port, heard, left } = await impostor({ ca, cert, key });
    const options = { host: '127.0.0.1', port, identity: identityOf('b'), security: await certify('b') };
    await expect(connectPeer(options)).rejects.toMatchObject({
      code: 'EACCES',
      path: `tcp://127.0.0.1:${port}`,
      why: expect.stringMatching(why),
    });
    await left;
    expect(Buffer.concat(heard)).toEqual(Buffer.alloc(0));
  });
});

const claims: readonly (readonly [string, Promise<Tls>, RegExp])[] = [
  ['another node’s name', certify('c'), /node 'b' shows a certificate of 'c'.*clusterfs cert node DIR b/],
  ['another cluster’s id', certify('b', { for: 'ff'.repeat(16) }), /certificate of cluster 'f{32}'/],
  ['no cluster', certify('b', { for: '' }), /certificate of cluster ''/],
];

describe.each(claims)('a certificate with %s than is claimed', (_, theirs, why) => {
  test('is not let in, and told why', async () => {
    const listening = await listen(await certify('a'));
    const reason = { code: 'EACCES', why: expect.stringMatching(why) };
    await expect(listening.connect(await theirs)).rejects.toMatchObject(reason);
    await expect.poll(() => listening.refused).toMatchObject([reason]);
    expect(listening.links).toEqual([]);
    await expectLetIn(listening);
  });

  test('is not talked to where it listens', async () => {
    const identity = identityOf('b');
    const listener = await listenPeers(
      { host: '127.0.0.1', port: 0, security: await theirs, identity },
      () => undefined,
    );
    onTestFinished(() => listener.close());
    const options = { ...listener.address, security: await certify('a'), identity: identityOf('a') };
    await expect(connectPeer(options)).rejects.toMatchObject({
      code: 'EACCES',
      why: expect.stringMatching(why),
    });
  });
});

test('a right certificate with the hello of another cluster is not let in', async () => {
  const listening = await listen(await certify('a'));
  const identity = { ...identityOf('b'), clusterId: randomBytes(16) };
  const security = await certify('b', { for: formatClusterId(identity.clusterId) });
  await expect(listening.connect(security, { identity })).rejects.toMatchObject({
    code: 'EACCES',
    why: expect.stringContaining('different clusters'),
  });
  expect(listening.links).toEqual([]);
});

test('who has no certificate gets no byte of a node', async () => {
  const listening = await listen(await certify('a'));
  const socket = connectTls({ port: listening.port, ca: authority.cert, rejectUnauthorized: false });
  const heard = hear(socket);
  socket.write(await helloOf('b'));
  await closed(socket);
  expect(Buffer.concat(heard)).toEqual(Buffer.alloc(0));
  await expect.poll(() => listening.refused.map(({ code }) => code)).toEqual(['EACCES']);
  expect(listening.links).toEqual([]);
  await expectLetIn(listening);
});

test('a client without TLS gets an alert, and no byte of a node', async () => {
  const listening = await listen(await certify('a'));
  const socket = connectPlain({ port: listening.port });
  const heard = hear(socket);
  socket.write(await helloOf('b'));
  await closed(socket);
  // A TLS alert has seven bytes.
  expect(Buffer.concat(heard).length).toBeLessThanOrEqual(7);
  await expect.poll(() => listening.refused.map(({ code }) => code)).toEqual(['EPROTO']);
  expect(listening.links).toEqual([]);
  await expect(listening.connect({ kind: 'none' })).rejects.toMatchObject({
    code: expect.stringMatching(/^(EPROTO|ECONNRESET)$/),
  });
  await expectLetIn(listening);
});

test('a token opens nothing where certificates are asked for', async () => {
  const listening = await listen(await certify('a'));
  const security = { kind: 'token', token: randomBytes(32).toString('base64url') } as const;
  await expect(listening.connect(security)).rejects.toMatchObject({ code: 'EACCES' });
  await expect.poll(() => listening.refused).toMatchObject([{ path: from }]);
  expect(listening.links).toEqual([]);
});

describe('hosts in a certificate', () => {
  test('are where the node may be', async () => {
    const listening = await listen(await certify('a', { hosts: ['a.example', '127.0.0.1'] }));
    await expectLetIn(listening);
  });

  test('are the only ones', async () => {
    const listening = await listen(await certify('a', { hosts: ['a.example', '127.0.0.2'] }));
    await expect(listening.connect(await certify('b'))).rejects.toMatchObject({
      code: 'EACCES',
      why: expect.stringContaining('clusterfs cert node DIR NAME --host'),
    });
    await expect.poll(() => listening.refused).toHaveLength(1);
    expect(listening.links).toEqual([]);
  });
});

test.each([
  ['a key that is another’s', async () => ({ ...(await certify('a')), key: makeKey() })],
  ['a certificate that is none', async () => ({ ...(await certify('a')), cert: 'no certificate' })],
  ['an authority that is none', async () => ({ ...(await certify('a')), ca: '-----BEGIN CERTIFICATE-----' })],
])('%s is found out before a socket is opened', async (_, security) => {
  await expect(listen(await security())).rejects.toMatchObject({ code: 'EINVAL' });
});

/** All that comes out of a socket; its errors are what the test is about, and end it. */
function hear(socket: Socket): readonly Buffer[] {
  const heard: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => heard.push(chunk));
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  return heard;
}

/** Errors are how it may come to that. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('close', () => resolve()));

/** A server that would take everybody, and keeps what it hears. */
async function impostor(options: TlsOptions) {
  const heard: Buffer[] = [];
  let settle = (): void => undefined;
  const left = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const server = createTlsServer({ ...options, requestCert: true, rejectUnauthorized: false });
  server.on('connection', (socket: Socket) => socket.once('close', () => settle()));
  server.on('tlsClientError', () => undefined);
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, heard, left };
}

/** The first bytes that a node of that name says, heard where nobody asks for a proof. */
async function helloOf(name: string): Promise<Buffer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const controller = new AbortController();
  const identity = identityOf(name);
  const attempt = connectPeer({
    host: '127.0.0.1',
    port,
    identity,
    security: { kind: 'none' },
    signal: controller.signal,
  });
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [hello] = (await once(socket, 'data')) as [Buffer];
  controller.abort();
  await expect(attempt).rejects.toThrow();
  socket.destroy();
  server.close();
  return hello;
}
