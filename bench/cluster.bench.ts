/** Claims: what another node has is as near as TCP allows, and once it is here as near as memory. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '@cluster-fs/transport';
import { type ClusterFs, mount } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { onEnd } from './harness/cleanup.ts';
import { startCluster, startNode, tmpfsDirectory } from './harness/cluster.ts';
import { startPaging } from './harness/paging.ts';
import { startClient } from './harness/processes.ts';
import { interleave, median, ratios, timed } from './harness/rounds.ts';
import { startTcpPeer, type TcpPeer } from './harness/tcp.ts';

const mebibyte = 2 ** 20;
const pageSize = 4096;
/** The node that joins. */
const other = 'b';

/** V8 compiles what nodes do for each touch after some thousands of them. */
const manyRounds = 15;

interface Nodes {
  /** On the home, and on a node that joined it. */
  readonly home: ClusterFs;
  readonly member: ClusterFs;
  readonly tcp: TcpPeer;
}

async function run(b: Bench): Promise<void> {
  const memory = 2 ** 30;
  const { fs: home, url: homeUrl, peerUrl } = await startCluster({ memory, forNodes: true });
  const { url } = await startNode({ memory, join: peerUrl, forNodes: true, name: other });
  const member = await mount(url);
  onEnd(() => member.unmount());
  const nodes = { home, member, tcp: await startTcpPeer() };
  await inOrder(b, nodes);
  await onePage(b, nodes);
  await toAndFro(b, nodes);
  await names(b, nodes);
  await writing(b, nodes);
  await toAnotherNode(b, nodes, { home: homeUrl, member: url });
  await ofNobodyElse(b, home);
}

const touch = (bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length; at += pageSize) Atomics.load(bytes, at);
};

async function fill(fs: ClusterFs, path: string, size: number): Promise<void> {
  const part = Buffer.alloc(Math.min(size, 32 * mebibyte), 7);
  const file = await fs.promises.open(path, 'w');
  for (let at = 0; at < size; at += part.length) await file.write(part, 0, part.length, at);
  await file.close();
}

const throughTcp = 'as much through a bare TCP socket into fresh tmpfs pages';

/** Memory that processes could share, without any cluster: the least that comes to who maps what arrives. */
function freshPages(length: number) {
  const fd = openSync(join(tmpfsDirectory(), 'pages'), 'w+');
  ftruncateSync(fd, length);
  const address = native.mapFile({ fd, offset: 0, length, protection: 'read' });
  const bytes = new Uint8Array(native.arrayBufferAt(address, length));
  onEnd(() => {
    native.unmap(address, length);
    closeSync(fd);
  });
  const receive = (tcp: TcpPeer, { isTouched }: { isTouched: boolean }): Promise<number> => {
    native.punchHole(fd, 0, length);
    return tcp.receive(length, (chunk, at) => {
      writeSync(fd, chunk, 0, chunk.length, at);
      if (isTouched) touch(bytes.subarray(at, at + chunk.length));
    });
  };
  return { receive };
}

async function inOrder(b: Bench, { home, member, tcp }: Nodes): Promise<void> {
  const size = b.pick(256, 16) * mebibyte;
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
    await fill(home, '/large', size);
    const [there, here] = [await home.map('/large'), await member.map('/large')];
    first.push(speed(here.bytes));
    touch(there.bytes);
    // Milliseconds: one alone is too short to be told from what else goes on.
    const often = (bytes: Uint8Array): number => median(Array.from({ length: 9 }, () => speed(bytes)));
    again.push(often(here.bytes));
    local.push(often(there.bytes));
    there.close();
    here.close();
    return first.at(-1) as number;
  };
  const shared = freshPages(size);
  const gbs = await interleave(
    { round, bare: () => tcp.receive(size), limit: () => shared.receive(tcp, { isTouched: true }) },
    { rounds: b.pick(5, 2), warmup: 1 },
  );
  const claim = `touch ${size / mebibyte} MiB of another node's file, in order`;
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.round,
    other: { what: 'as much through a bare TCP socket', samples: gbs.bare },
    ratio: ratios(gbs.round, gbs.bare),
    target: { of: 'ratio', atLeast: 0.6 },
  });
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.round,
    other: { what: `${throughTcp}, and touched there (the limit)`, samples: gbs.limit },
    ratio: ratios(gbs.round, gbs.limit),
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
    { touching, bare: () => pingPong(tcp, count), limit: startPaging('tcp') },
    { rounds: b.pick(9, 2), warmup: b.pick(manyRounds, 1) },
  );
  const claim = "touch a page of another node's file";
  b.row({
    claim,
    unit: 'us',
    ours: us.touching,
    other: { what: pingPongOfPage, samples: us.bare },
    ratio: ratios(us.bare, us.touching),
    target: { of: 'ratio', atLeast: 1 / 2.5 },
  });
  b.row({
    claim,
    unit: 'us',
    ours: us.touching,
    other: { what: limitOfPage, samples: us.limit },
    ratio: ratios(us.limit, us.touching),
  });
}

const pingPongOfPage = 'a page asked for and sent through a bare TCP socket';
const limitOfPage = 'a page that a process in C++ brings through TCP (the limit)';

async function pingPong(tcp: TcpPeer, count: number): Promise<number> {
  const us: number[] = [];
  for (let i = 0; i < count; i++) us.push(await tcp.pingPong(pageSize));
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
    { rounds: b.pick(9, 2), warmup: b.pick(manyRounds, 1) },
  );
  for (const view of views) view.close();
  b.row({
    claim: 'store where another node stored last',
    unit: 'us',
    ours: us.storing,
    other: { what: pingPongOfPage, samples: us.bare },
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

/** Whole files, which are at their home when the call returns. */
async function writing(b: Bench, { member, tcp }: Nodes): Promise<void> {
  const size = b.pick(16, 1) * mebibyte;
  const large = Buffer.alloc(size, 7);
  const small = Buffer.alloc(1024, 7);
  const count = b.pick(200, 20);
  const writingSmall = async (): Promise<number> => {
    const us: number[] = [];
    for (let i = 0; i < count; i++) {
      const started = performance.now();
      await member.promises.writeFile('/small', small);
      us.push((performance.now() - started) * 1000);
    }
    return median(us);
  };
  const writingLarge = async (): Promise<number> => {
    const started = performance.now();
    await member.promises.writeFile('/large', large);
    return size / (performance.now() - started) / 1e6;
  };
  const results = await interleave(
    {
      writingSmall,
      bareSmall: () => pingPong(tcp, count),
      writingLarge,
      bareLarge: () => tcp.receive(size),
    },
    { rounds: b.pick(9, 2), warmup: b.pick(3, 1) },
  );
  b.row({
    claim: 'writeFile of 1 KiB at another node than its home',
    unit: 'us',
    ours: results.writingSmall,
    other: { what: pingPongOfPage, samples: results.bareSmall },
    ratio: ratios(results.bareSmall, results.writingSmall),
  });
  b.row({
    claim: `writeFile of ${size / mebibyte} MiB at another node than its home`,
    unit: 'GB/s',
    ours: results.writingLarge,
    other: { what: 'as much through a bare TCP socket', samples: results.bareLarge },
    ratio: ratios(results.writingLarge, results.bareLarge),
  });
  await member.promises.rm('/large');
}

interface Urls {
  readonly home: string;
  readonly member: string;
}

/** Files that get another home while processes of both nodes read them, and one stores. */
async function toAnotherNode(b: Bench, { home, tcp }: Nodes, urls: Urls): Promise<void> {
  const size = b.pick(256, 16) * mebibyte;
  const [writer, ...readers] = [startClient(), startClient(), startClient()] as const;
  const clients = [writer, ...readers];
  const at = [urls.home, urls.home, urls.member];
  await Promise.all(clients.map((client, i) => client.call('mount', at[i])));
  const [moving, still]: [number[], number[]] = [[], []];
  let made = 0;
  const round = async (): Promise<number> => {
    // What has moved before would be half way there.
    const path = `/moving-${made++}`;
    await fill(home, path, size);
    const pages = size / pageSize;
    await writer.call('visit', path, { mode: 'rw', pages: mebibyte / pageSize });
    await Promise.all(readers.map((reader) => reader.call('visit', path, { mode: 'r', pages })));
    await pause(200);
    await writer.call('restart');
    await pause(200);
    still.push(await writer.call<number>('longestMs'));
    await writer.call('restart');
    const { elapsedMs } = await home.migrate(path, other);
    moving.push(await writer.call<number>('longestMs'));
    await Promise.all(clients.map((client) => client.call('leave')));
    await home.promises.rm(path);
    return size / elapsedMs / 1e6;
  };
  // V8 compiles what nodes do for each block in the first of them.
  const warmup = 3;
  const shared = freshPages(size);
  const gbs = await interleave(
    { round, bare: () => tcp.receive(size), limit: () => shared.receive(tcp, { isTouched: false }) },
    { rounds: b.pick(5, 2), warmup },
  );
  const claim = `move ${size / mebibyte} MiB to another node, while processes of both use them`;
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.round,
    other: { what: 'as much through a bare TCP socket', samples: gbs.bare },
    ratio: ratios(gbs.round, gbs.bare),
    target: { of: 'ratio', atLeast: 0.5 },
  });
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.round,
    other: { what: `${throughTcp} (the limit)`, samples: gbs.limit },
    ratio: ratios(gbs.round, gbs.limit),
  });
  b.row({
    claim: 'longest stall of a store into it meanwhile',
    unit: 'ms',
    ours: moving.slice(warmup),
    other: { what: 'the same stores, nothing moves', samples: still.slice(warmup) },
    target: { of: 'ours', atMost: 20 },
  });
  await Promise.all(clients.map((client) => client.stop()));
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const sum = (array: Float64Array): number => {
  let total = 0;
  for (let i = 0; i < array.length; i++) total += array[i] as number;
  return total;
};

/** On a home that others use, with a file that only processes of the home use. */
async function ofNobodyElse(b: Bench, home: ClusterFs): Promise<void> {
  const length = b.pick(64, 8) * mebibyte;
  const { fs: alone } = await startCluster({ memory: 4 * length });
  for (const fs of [home, alone]) await fill(fs, '/own', length);
  const view = await home.map('/own');
  const [shared, own] = [new Float64Array(view.buffer), new Float64Array(Buffer.alloc(length, 7).buffer)];
  const ms = await interleave(
    { view: timed(() => sum(shared)), buffer: timed(() => sum(own)) },
    { rounds: b.pick(15, 3), warmup: 3 },
  );
  b.row({
    claim: `sum a view of ${length / mebibyte} MiB at a home that others use`,
    unit: 'ms',
    ours: ms.view,
    other: { what: 'private Buffer', samples: ms.buffer },
    ratio: ratios(ms.buffer, ms.view),
    target: { of: 'ratio', atLeast: 0.95 },
  });
  view.close();
  const moved = async (fs: ClusterFs): Promise<number> => {
    const speeds: number[] = [];
    for (let i = 0; i < 5; i++) speeds.push(length / (await fs.move('/own')).elapsedMs / 1e6);
    return median(speeds);
  };
  const gbs = await interleave(
    { home: () => moved(home), alone: () => moved(alone) },
    { rounds: b.pick(9, 2), warmup: 1 },
  );
  b.row({
    claim: `move ${length / mebibyte} MiB at a home that others use`,
    unit: 'GB/s',
    ours: gbs.home,
    other: { what: 'at a node without others', samples: gbs.alone },
    ratio: ratios(gbs.home, gbs.alone),
    target: { of: 'ratio', atLeast: 0.95 },
  });
}

await bench(run);
