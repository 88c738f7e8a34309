/**
 * A listener that a thousand clients die on, and links whose peer does not read: what they took comes back,
 * and another link goes on all the while.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  connectPeer,
  formatClusterId,
  type ListenPeersOptions,
  listenPeers,
  type PeerLink,
  type PeerSecurity,
} from '@cluster-fs/transport/peer';
import { describe, expect, onTestFinished, test } from 'vitest';
import { issueAuthority, issueNode, makeKey } from '../src/certificates/issue.ts';
import { type Started, startProgram } from './cli-process.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

const MiB = 2 ** 20;
const clusterId = randomBytes(16);
const validity = {
  notBefore: new Date(Date.now() - 86_400_000),
  notAfter: new Date(Date.now() + 86_400_000),
};
const authority = await issueAuthority(formatClusterId(clusterId), validity);

async function certify(name: string): Promise<PeerSecurity> {
  const key = makeKey();
  const subject = { name, clusterId: formatClusterId(clusterId), hosts: [] };
  const cert = await issueNode(subject, { ...validity, key, authority });
  return { kind: 'tls', ca: authority.cert, cert, key };
}

const identityOf = (name: string) => ({ clusterId, nodeId: 1, name, incarnation: 1 });

/** A listener of this process, with the links that came from node b. */
async function listen(options: Partial<ListenPeersOptions> = {}) {
  const links: PeerLink[] = [];
  const listener = await listenPeers(
    {
      host: '127.0.0.1',
      port: 0,
      security: await certify('a'),
      identity: identityOf('a'),
      ...options,
    },
    (link) => {
      if (link.peer.name === 'b') links.push(link);
      link.setHandlers({
        onRequest: (request) => {
          if (request.name === 'probe') request.reply({ serial: request.fields.serial });
        },
      });
    },
  );
  onTestFinished(() => listener.close());
  const { port } = listener.address;
  return { port, links, bystander: await probeOn(port) };
}

/** A link on which one question follows the other until it is stopped; each must be answered. */
async function probeOn(port: number) {
  const link = await connectPeer({
    host: '127.0.0.1',
    port,
    security: await certify('c'),
    identity: identityOf('c'),
  });
  let answered = 0;
  let isOn = true;
  const probing = (async () => {
    for (; isOn; answered++) {
      const { reply } = await link.request('probe', { serial: answered });
      expect(reply.serial).toBe(answered);
    }
  })();
  // It is looked at in the end, and may fail before.
  probing.catch(() => undefined);
  onTestFinished(() => link.close());
  return {
    /** Waits until another question was answered. */
    goesOn: async () => {
      const before = answered;
      await expect.poll(() => answered).toBeGreaterThan(before + 1);
    },
    stop: async () => {
      isOn = false;
      await probing;
      expect(link.closed).toBeUndefined();
    },
  };
}

async function start(port: number, mode: 'crowd' | 'one', count = 1): Promise<Started> {
  const security = await certify('b');
  const input = JSON.stringify({ port, security, clusterId: formatClusterId(clusterId), mode, count });
  const program = fileURLToPath(new URL('dying-peers.mjs', import.meta.url));
  const started = startProgram(program, { input });
  await started.says(/^up$/m);
  return started;
}

async function kill({ process, ended }: Started): Promise<void> {
  process.kill('SIGKILL');
  await ended;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** What lives in JavaScript's heap and in buffers. */
function usedBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Clients that came and were killed, `count` at a time. */
async function crowds(port: number, times: number, count: number): Promise<void> {
  for (let i = 0; i < times; i++) await kill(await start(port, 'crowd', count));
}

test('a thousand clients that die take nothing with them', { timeout: 120_000 }, async () => {
  const { port, links, bystander } = await listen();
  // What is made once is made.
  await crowds(port, 1, 100);
  await expect.poll(() => links.filter(({ closed }) => closed === undefined)).toEqual([]);
  links.length = 0;
  const before = { descriptors: descriptors(), usedBytes: usedBytes() };
  await crowds(port, 10, 100);
  await bystander.goesOn();
  // A quarter of each crowd are links.
  expect(links).toHaveLength(250);
  await expect.poll(() => links.filter(({ closed }) => closed === undefined)).toEqual([]);
  links.length = 0;
  await expect.poll(descriptors, { timeout: 20_000 }).toBeLessThanOrEqual(before.descriptors);
  await expect.poll(usedBytes, { timeout: 20_000 }).toBeLessThan(before.usedBytes + 4 * MiB);
  await bystander.stop();
});

describe('a peer that is stopped', () => {
  // stdout and stderr of its process; stdin was ended.
  const pipes = 2;
  const patient = { heartbeatMs: 500, deadAfterMs: 600_000 };
  test.each([
    ['is given up when it is silent', {}, 40, 'ETIMEDOUT'],
    ['is given up when too much waits for it', patient, 100, 'ENOBUFS'],
  ])('%s', { timeout: 60_000 }, async (_, times, count, code) => {
    const { port, links, bystander } = await listen(times);
    const before = { descriptors: descriptors(), usedBytes: usedBytes() };
    const peer = await start(port, 'one');
    await expect.poll(() => links.length).toBe(1);
    const [link] = links.splice(0) as [PeerLink];
    peer.process.kill('SIGSTOP');
    for (let serial = 0; serial < count; serial++) {
      if (code === 'ETIMEDOUT') expect(link.closed).toBeUndefined();
      link.event('note', { serial }, { payload: Buffer.alloc(MiB, serial) });
    }
    if (code === 'ETIMEDOUT') expect(usedBytes()).toBeGreaterThan(before.usedBytes + 20 * MiB);
    await bystander.goesOn();
    await expect.poll(() => link.closed, { timeout: 20_000 }).toMatchObject({ code });
    // The process is there still.
    await expect.poll(descriptors, { timeout: 20_000 }).toBeLessThanOrEqual(before.descriptors + pipes);
    await expect.poll(usedBytes, { timeout: 20_000 }).toBeLessThan(before.usedBytes + 4 * MiB);
    await bystander.goesOn();
    await bystander.stop();
    await kill(peer);
  });
});
