/** Who is let in to be a node of the cluster, and what everybody else finds out: nothing. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import {
  connectPeer,
  listenPeers,
  type PeerLink,
  peerLimits,
  peerProtocolVersion,
  peerRequests,
} from '../../src/peer/index.ts';
import { encodePeerFrame } from '../../src/peer/peer-frame.ts';
import { answerProbes, identityOf, type Listening, listen, newToken, none, pair } from './peers.ts';

describe('a node without the right token', () => {
  test.each([
    ['another token', newToken()],
    ['no token', none],
  ])('%s', async (_, security) => {
    const listening = await listen({ security: newToken() });
    await expect(listening.connect({ security })).rejects.toMatchObject({
      code: expect.stringMatching(/EACCES|ECONNRESET|EPROTO/),
      path: listening.url,
    });
    expect(listening.links).toEqual([]);
    await expectToGoOn(listening);
  });

  test('finds out that a listener without TLS is one', async () => {
    const listening = await listen({ security: none });
    await expect(listening.connect({ security: newToken() })).rejects.toMatchObject({
      code: expect.stringMatching(/EACCES|ECONNRESET|EPROTO/),
    });
    expect(listening.links).toEqual([]);
    await expectToGoOn(listening);
  });

  test('gets no byte of a node: what it hears is the end', async () => {
    const listening = await listen({ security: newToken() });
    const socket = await listening.bare();
    const heard: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    socket.write(helloOf(1).head);
    await once(socket, 'close');
    // A TLS alert has seven bytes.
    expect(Buffer.concat(heard).length).toBeLessThanOrEqual(7);
    expect(listening.links).toEqual([]);
    await expectToGoOn(listening);
  });

  test('one that is too short to be a secret is refused', async () => {
    const security = { kind: 'token', token: 'hunter2' } as const;
    await expect(listen({ security })).rejects.toMatchObject({ code: 'EINVAL' });
  });
});

test('a token is the same with the newline of its file', async () => {
  const token = randomBytes(32).toString('base64url');
  const listening = await listen({ security: { kind: 'token', token } });
  const link = await listening.connect({ security: { kind: 'token', token: `${token}\n` } });
  expect(link.closed).toBeUndefined();
  await expect(
    listen({ security: { kind: 'token', token: `hunter2${' '.repeat(40)}` } }),
  ).rejects.toMatchObject({
    code: 'EINVAL',
  });
});

test('without security nobody listens where others could come', async () => {
  const options = { host: '0.0.0.0', port: 0, security: none, identity: identityOf(1) };
  await expect(listenPeers(options, () => undefined)).rejects.toMatchObject({
    code: 'EACCES',
    why: expect.stringContaining('token'),
  });
});

test('a node of another cluster is refused, and told so', async () => {
  const listening = await listen();
  const identity = { ...identityOf(2), clusterId: randomBytes(16) };
  await expect(listening.connect({ identity })).rejects.toMatchObject({
    code: 'EACCES',
    why: expect.stringContaining('different clusters'),
  });
  expect(listening.links).toEqual([]);
  await expectToGoOn(listening);
});

test('a node that speaks another version is refused, and told so', async () => {
  const listening = await listen();
  const socket = await listening.bare();
  const heard: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => heard.push(chunk));
  socket.write(helloOf(1, peerProtocolVersion + 1).head);
  await once(socket, 'close');
  expect(String(Buffer.concat(heard))).toContain('EPROTONOSUPPORT');
  await vi.waitFor(() => expect(listening.refused).toEqual(['EPROTONOSUPPORT']));
  expect(listening.links).toEqual([]);
});

test('another node than was looked for is not talked to', async () => {
  const { address } = await listen();
  const options = { ...address, security: none, identity: identityOf(2), expect: { nodeId: 9 } };
  await expect(connectPeer(options)).rejects.toMatchObject({ code: 'EACCES' });
});

test('who says nothing is closed', { timeout: peerLimits.handshakeMs * 4 }, async () => {
  const listening = await listen();
  const socket = await listening.bare();
  await once(socket.resume(), 'close');
  expect(listening.refused).toContain('ETIMEDOUT');
});

test('a peer that falls silent is given up', async () => {
  const { server, socket } = await admittedByHand({ heartbeatMs: 50, deadAfterMs: 300 });
  const asked = server.request('probe', { serial: 1 });
  await expect(asked).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  expect(server.closed).toMatchObject({ code: 'ETIMEDOUT' });
  socket.destroy();
});

describe('bytes that mean nothing', () => {
  test('before the hello end that connection, and no other', async () => {
    const { client, listening } = await pair();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 8, maxLength: 9000 }), async (bytes) => {
        const socket = await listening.bare();
        socket.resume().end(bytes);
        await once(socket, 'close');
      }),
      { numRuns: 100 },
    );
    expect(listening.links).toHaveLength(1);
    await expect(client.request('probe', { serial: 1 })).resolves.toMatchObject({ reply: { serial: 1 } });
  });

  test('behind the hello end that link, and no other', async () => {
    const { client, listening } = await pair();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 9, maxLength: 9000 }), async (bytes) => {
        const socket = await listening.bare();
        socket.resume().write(helloOf(7).head);
        socket.end(bytes);
        await once(socket, 'close');
      }),
      { numRuns: 100 },
    );
    await vi.waitFor(() => {
      for (const link of listening.links.slice(1)) expect(link.closed).toBeDefined();
    });
    await expect(client.request('probe', { serial: 1 })).resolves.toMatchObject({ reply: { serial: 1 } });
  });
});

/** A hello as a peer would say it that was written by somebody else. */
const helloOf = (request: number, version: number = peerProtocolVersion) => {
  const { clusterId, nodeId, name, incarnation } = identityOf(2);
  return encodePeerFrame(
    [peerRequests.hello.id, request, version, clusterId, nodeId, name, incarnation],
    undefined,
  );
};

async function admittedByHand(times: { heartbeatMs: number; deadAfterMs: number }) {
  const listening = await listen(times);
  const socket = await listening.bare();
  socket.resume().write(helloOf(1).head);
  const server = await vi.waitFor(() => {
    const [link] = listening.links as PeerLink[];
    if (link === undefined) throw new Error('no link yet');
    return link;
  });
  return { server, socket };
}

/** Whoever has the right to is let in as before. */
async function expectToGoOn(listening: Listening): Promise<void> {
  const link = await listening.connect();
  await vi.waitFor(() => expect(listening.links).toHaveLength(1));
  answerProbes(listening.links[0] as PeerLink);
  await expect(link.request('probe', { serial: 5 })).resolves.toMatchObject({ reply: { serial: 5 } });
}
