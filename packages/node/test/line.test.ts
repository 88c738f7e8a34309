/** The way to another node, while that is away. */
import { getEventListeners } from 'node:events';
import { FsError } from '@cluster-fs/transport';
import { connectPeer, listenPeers, type PeerLink } from '@cluster-fs/transport/peer';
import { expect, onTestFinished, test } from 'vitest';
import { Line } from '../src/cluster/line.ts';

test('attempts to connect leave nothing behind, and end with the line', async () => {
  const listeners: number[] = [];
  const away = new FsError('ECONNREFUSED', 'connect');
  const line = new Line(
    (signal) => {
      listeners.push(getEventListeners(signal, 'abort').length);
      return Promise.reject(away);
    },
    { up: () => undefined, down: () => undefined, event: () => undefined, unreachable: () => away },
  );
  onTestFinished(() => line.close());
  line.connect();
  await expect.poll(() => listeners.length, { timeout: 5000 }).toBeGreaterThan(3);
  expect(Math.max(...listeners)).toBe(0);
  line.close();
  await expect(line.link()).rejects.toBe(away);
});

test('that a node leaves over is its last link', async () => {
  const identity = { clusterId: new Uint8Array(16), name: 'a', incarnation: 1 };
  const common = { host: '127.0.0.1', security: { kind: 'none' } } as const;
  const links: PeerLink[] = [];
  const listener = await listenPeers(
    { ...common, port: 0, identity: { ...identity, nodeId: 1 }, onRefused: () => undefined },
    (link) => links.push(link),
  );
  onTestFinished(() => listener.close());
  const there = { ...common, ...listener.address, identity: { ...identity, nodeId: 2 } };
  const gone = new FsError('EIO', 'request');
  let downs = 0;
  const line = new Line((signal) => connectPeer({ ...there, signal }), {
    up: () => undefined,
    down: () => downs++,
    event: () => undefined,
    unreachable: () => gone,
  });
  onTestFinished(() => line.close());
  await line.link();
  line.finish();
  await expect.poll(() => links.length).toBe(1);
  links[0]?.close();
  await expect.poll(() => downs).toBe(1);
  await expect(line.link()).rejects.toBe(gone);
  expect(links).toHaveLength(1);
});
