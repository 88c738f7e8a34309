/**
 * Claims: opening a view copies nothing and takes no time; many processes that map a file have it in memory
 * once.
 */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Bench, bench } from './harness/bench.ts';
import { onEnd } from './harness/cleanup.ts';
import { type Cluster, startCluster, temporaryDirectory, tmpfsDirectory } from './harness/cluster.ts';
import { type Client, startClient, startClients } from './harness/processes.ts';
import { elapsed, interleave, median, ratios, timed } from './harness/rounds.ts';

const mebibyte = 2 ** 20;
const residentMib = (): number => process.memoryUsage.rss() / mebibyte;

async function run(b: Bench): Promise<void> {
  const large = b.pick(1024, 32) * mebibyte;
  const cluster = await startCluster({ memory: large + 512 * mebibyte });
  const tmpfs = tmpfsDirectory();
  await fill(cluster, '/large', large);
  await opening(b, cluster, { tmpfs, large });
  await cluster.fs.promises.rm('/large');

  const size = b.pick(256, 8) * mebibyte;
  await fill(cluster, '/data', size);
  writeFileSync(join(tmpfs, 'data'), Buffer.alloc(size, 1));
  const clients = await startClients(b.pick(8, 2), cluster.url);
  await sharing(b, clients, { size, file: join(tmpfs, 'data') });
  await handingOver(b, clients[0] as Client);
}

/** Content that is no hole, in parts, so that this process stays small. */
async function fill({ fs }: Cluster, path: string, size: number): Promise<void> {
  const part = Buffer.alloc(Math.min(size, 32 * mebibyte), 1);
  const file = await fs.promises.open(path, 'w');
  for (let at = 0; at < size; at += part.length) await file.write(part, 0, part.length, at);
  await file.close();
}

async function opening(
  b: Bench,
  { fs }: Cluster,
  { tmpfs, large }: { tmpfs: string; large: number },
): Promise<void> {
  const mib = large / mebibyte;
  const file = join(tmpfs, 'large');
  const before = residentMib();
  const view = await fs.map('/large');
  b.row({
    claim: `memory that map of ${mib} MiB takes here`,
    unit: 'MiB',
    ours: [residentMib() - before],
    target: { of: 'ours', atMost: 4 },
  });
  view.close();

  writeFileSync(file, '');
  for (let at = 0; at < mib; at += 32) writeFileSync(file, Buffer.alloc(32 * mebibyte, 1), { flag: 'a' });
  const mapOnce = async (): Promise<number> => {
    let opened: { close(): void } | undefined;
    const ms = await elapsed(async () => {
      opened = await fs.map('/large');
    });
    opened?.close();
    return ms;
  };
  // After a round of the reader node and worker are asleep, and their code is out of the caches.
  const first: number[] = [];
  const map = async (): Promise<number> => {
    first.push(await mapOnce());
    const more: number[] = [];
    for (let i = 0; i < 9; i++) more.push(await mapOnce());
    return median(more);
  };
  // In a process of its own: what it leaves to the garbage collector would hold up the next map here.
  const reader = startClient();
  const read = async (): Promise<number> => {
    const took = await reader.call<number>('read', file);
    await reader.call('forget');
    return took;
  };
  const ms = await interleave({ map, read }, { rounds: b.pick(9, 3), warmup: 2 });
  await reader.stop();
  b.row({
    claim: `map a file of ${mib} MiB`,
    unit: 'ms',
    ours: ms.map,
    other: { what: 'node:fs readFile', samples: ms.read },
    ratio: ratios(ms.read, ms.map),
    target: { of: 'ours', atMost: 2 },
  });
  b.row({
    claim: `map a file of ${mib} MiB, first after a second of rest`,
    unit: 'ms',
    ours: first.slice(2),
  });
  writeFileSync(file, '');
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, n) => a + n, 0);

/** All clients at once; what they answer. */
const all = <T>(clients: readonly Client[], operation: string, ...args: unknown[]): Promise<T[]> =>
  Promise.all(clients.map((client) => client.call<T>(operation, ...args)));

async function sharing(
  b: Bench,
  clients: readonly Client[],
  { size, file }: { size: number; file: string },
): Promise<void> {
  const mib = size / mebibyte;
  const inView: number[] = [];
  const inAll: number[] = [];
  const copies: number[] = [];
  for (let round = 0; round < b.pick(5, 1); round++) {
    await all(clients, 'forget');
    const idle = sum(await all<number>(clients, 'pssAll'));
    await all(clients, 'map', '/data', {});
    await all(clients, 'touch');
    const pss = await all<{ view: number; all: number }>(clients, 'pss');
    inView.push(sum(pss.map(({ view }) => view)) / 1024);
    inAll.push((sum(pss.map((each) => each.all)) - idle) / 1024);
    await all(clients, 'unmap');
    await all(clients, 'forget');
    const before = sum(await all<number>(clients, 'pssAll'));
    await all(clients, 'read', file);
    copies.push((sum(await all<number>(clients, 'pssAll')) - before) / 1024);
    await all(clients, 'forget');
  }
  const what = `${clients.length} processes map and touch ${mib} MiB`;
  const other = { what: 'each reads the file with node:fs', samples: copies };
  b.row({
    claim: `${what}: memory of the views`,
    unit: 'MiB',
    ours: inView,
    other: { what: 'the file, once', samples: inView.map(() => mib) },
    ratio: inView.map((pss) => pss / mib),
    target: { of: 'ratio', atMost: 1.05 },
  });
  b.row({
    claim: `${what}: all they grow by`,
    unit: 'MiB',
    ours: inAll,
    other,
    ratio: ratios(copies, inAll),
  });
}

/** Another process gets at 64 MiB: by mapping them, or by having them sent. */
async function handingOver(b: Bench, client: Client): Promise<void> {
  const length = b.pick(64, 4) * mebibyte;
  const bytes = Buffer.alloc(length, 1);
  const path = join(temporaryDirectory(), 'copy.sock');
  const server = createServer((socket) => socket.end(bytes)).listen(path);
  onEnd(() => {
    server.close();
  });
  const map = async (): Promise<number> => {
    const ms = await elapsed(async () => {
      await client.call('map', '/data', { length });
      await client.call('touch');
    });
    await client.call('unmap');
    return ms;
  };
  const send = timed(() => client.call('receive', path, length));
  const ms = await interleave({ map, send }, { rounds: b.pick(7, 2), warmup: 1 });
  b.row({
    claim: `another process reads ${length / mebibyte} MiB of ours: a byte of each page`,
    unit: 'ms',
    ours: ms.map,
    other: { what: 'sent over a Unix socket', samples: ms.send },
    ratio: ratios(ms.send, ms.map),
  });
}

await bench(run);
