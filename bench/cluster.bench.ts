/** Claims: what another node has is as near as TCP allows, and once it is here as near as memory. */
import { type ClusterFs, mount } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { onEnd } from './harness/cleanup.ts';
import { startCluster, startNode } from './harness/cluster.ts';
import { interleave, median, ratios } from './harness/rounds.ts';
import { startTcpPeer, type TcpPeer } from './harness/tcp.ts';

const mebibyte = 2 ** 20;
const pageSize = 4096;

interface Nodes {
  /** On the home, and on a node that joined it. */
  readonly home: ClusterFs;
  readonly member: ClusterFs;
  readonly tcp: TcpPeer;
}

async function run(b: Bench): Promise<void> {
  const memory = 2 ** 30;
  const { fs: home, peerUrl } = await startCluster({ memory, forNodes: true });
  const { url } = await startNode({ memory, join: peerUrl });
  const member = await mount(url);
  onEnd(() => member.unmount());
  const nodes = { home, member, tcp: await startTcpPeer() };
  await inOrder(b, nodes);
  await onePage(b, nodes);
  await toAndFro(b, nodes);
  await names(b, nodes);
}

const touch = (bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length; at += pageSize) Atomics.load(bytes, at);
};

async function inOrder(b: Bench, { home, member, tcp }: Nodes): Promise<void> {
  const size = b.pick(256, 16) * mebibyte;
  const part = Buffer.alloc(Math.min(size, 32 * mebibyte), 7);
  const first: number[] = [];
  const again: number[] = [];
  const local: number[] = [];
  const speed = (bytes: Uint8Array): number => {
    const started = performance.now();
    touch(bytes);
    return size / (performance.now() - started) / 1e6;
  };
  const round = async (): Promise<number> => {
    // New content is nowhere but at its home.
    const file = await home.promises.open('/large', 'w');
    for (let at = 0; at < size; at += part.length) await file.write(part, 0, part.length, at);
    await file.close();
    const [there, here] = [await home.map('/large'), await member.map('/large')];
    first.push(speed(here.bytes));
    again.push(speed(here.bytes));
    touch(there.bytes);
    local.push(speed(there.bytes));
    there.close();
    here.close();
    return first.at(-1) as number;
  };
  const gbs = await interleave({ round, bare: () => tcp.receive(size) }, { rounds: b.pick(5, 2), warmup: 1 });
  b.row({
    claim: `touch ${size / mebibyte} MiB of another node's file, in order`,
    unit: 'GB/s',
    ours: gbs.round,
    other: { what: 'as much through a bare TCP socket', samples: gbs.bare },
    ratio: ratios(gbs.round, gbs.bare),
    target: { of: 'ratio', atLeast: 0.6 },
  });
  b.row({
    claim: 'touch it again',
    unit: 'GB/s',
    ours: again,
    other: { what: 'touch it where it is at home', samples: local },
    ratio: ratios(again, local),
    target: { of: 'ratio', atLeast: 0.95 },
  });
  await home.promises.rm('/large');
}

/** Files of a page, each touched once. */
async function onePage(b: Bench, { home, member, tcp }: Nodes): Promise<void> {
  const count = b.pick(200, 20);
  await home.promises.mkdir('/pages');
  const touching = async (): Promise<number> => {
    const paths = Array.from({ length: count }, (_, i) => `/pages/${i}`);
    await Promise.all(paths.map((path) => home.promises.writeFile(path, Buffer.alloc(pageSize, 1))));
    const views = await Promise.all(paths.map((path) => member.map(path)));
    const us = views.map(({ bytes }) => {
      const started = performance.now();
      Atomics.load(bytes, 0);
      return (performance.now() - started) * 1000;
    });
    for (const view of views) view.close();
    return median(us);
  };
  const us = await interleave(
    { touching, bare: () => pingPong(tcp, count) },
    { rounds: b.pick(9, 2), warmup: 1 },
  );
  b.row({
    claim: "touch a page of another node's file",
    unit: 'us',
    ours: us.touching,
    other: { what: 'ping-pong of 64 bytes through a bare TCP socket', samples: us.bare },
    ratio: ratios(us.bare, us.touching),
    target: { of: 'ratio', atLeast: 1 / 2.5 },
  });
}

async function pingPong(tcp: TcpPeer, count: number): Promise<number> {
  const us: number[] = [];
  for (let i = 0; i < count; i++) us.push(await tcp.pingPong());
  return median(us);
}

/** Each store takes the block from the other node. */
async function toAndFro(b: Bench, { home, member, tcp }: Nodes): Promise<void> {
  const count = b.pick(200, 20);
  await home.promises.writeFile('/word', Buffer.alloc(pageSize));
  const views = [await home.map('/word', { mode: 'rw' }), await member.map('/word', { mode: 'rw' })];
  const storing = (): Promise<number> => {
    const us: number[] = [];
    for (let i = 0; i < count; i++) {
      const started = performance.now();
      for (const { bytes } of views) Atomics.store(bytes, 0, i & 0xff);
      us.push(((performance.now() - started) * 1000) / 2);
    }
    return Promise.resolve(median(us));
  };
  const us = await interleave(
    { storing, bare: () => pingPong(tcp, count) },
    { rounds: b.pick(9, 2), warmup: 1 },
  );
  for (const view of views) view.close();
  b.row({
    claim: 'store where another node stored last',
    unit: 'us',
    ours: us.storing,
    other: { what: 'ping-pong of 64 bytes through a bare TCP socket', samples: us.bare },
    ratio: ratios(us.bare, us.storing),
    target: { of: 'ratio', atLeast: 1 / 5 },
  });
}

async function names(b: Bench, { home, member }: Nodes): Promise<void> {
  const count = b.pick(200, 20);
  let made = 0;
  const visible = async (): Promise<number> => {
    const us: number[] = [];
    for (let i = 0; i < count; i++) {
      const path = `/made-${made++}`;
      const started = performance.now();
      await home.promises.mkdir(path);
      if (!member.existsSync(path)) throw new Error(`${path} is not on the other node`);
      us.push((performance.now() - started) * 1000);
    }
    return median(us);
  };
  const us = await interleave({ visible }, { rounds: b.pick(9, 2), warmup: 1 });
  b.row({
    claim: 'make a directory, until another node sees it',
    unit: 'us',
    ours: us.visible,
    target: { of: 'ours', atMost: 1000 },
  });
}

await bench(run);
