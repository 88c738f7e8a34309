/**
 * Claims: a touch of what is not in memory costs little more than reading it; a sync costs what the disk
 * costs, and many at once share it; a node with many files serves at once.
 */
import nodeFs from 'node:fs';
import { join } from 'node:path';
import { native } from '@cluster-fs/transport';
import { type ClusterFs, mount } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { onEnd } from './harness/cleanup.ts';
import { startCluster, startNode, temporaryDirectory, tmpfsDirectory } from './harness/cluster.ts';
import { startPaging } from './harness/paging.ts';
import { interleave, median, perSecond, ratios } from './harness/rounds.ts';
import { limitWrites } from './harness/slow-disk.ts';

const mebibyte = 2 ** 20;
const blockBytes = 64 * 1024;
const pageSize = 4096;
const syncers = 16;
/** Of a small disk in a cloud. */
const slowWrites = 1000;

async function run(b: Bench): Promise<void> {
  const store = temporaryDirectory();
  const { fs, url } = await startCluster({ memory: 2 ** 30, store });
  await touching(b, fs);
  await syncing(b, fs, url);
  await syncingSlowly(b);
  await restarting(b);
}

/** A file in the store and not in memory, and the same bytes in a file beside it. */
async function touching(b: Bench, fs: ClusterFs): Promise<void> {
  const size = b.pick(256, 16) * mebibyte;
  const plain = join(temporaryDirectory(), 'plain');
  const content = Buffer.alloc(size, 7);
  await fs.promises.writeFile('/stored', content);
  nodeFs.writeFileSync(plain, content);
  const fd = nodeFs.openSync(plain, 'r');
  onEnd(() => nodeFs.closeSync(fd));
  const view = await fs.map('/stored');
  const files = { bytes: view.bytes, evict: () => fs.evict('/stored'), fd, plain };
  await apart(b, files);
  await inOrder(b, files);
  view.close();
}

interface Files {
  /** Of the view. */
  readonly bytes: Uint8Array;
  evict(): Promise<unknown>;
  /** The file beside it. */
  readonly fd: number;
  readonly plain: string;
}

const buffer = Buffer.allocUnsafeSlow(mebibyte);

/** Every third block, backwards: nothing is read ahead. */
async function apart(b: Bench, { bytes, evict, fd, plain }: Files): Promise<void> {
  const blocks = bytes.length / blockBytes;
  const some = Array.from({ length: Math.floor(blocks / 3) }, (_, i) => blocks - 1 - 3 * i);
  const medianOf = (work: (at: number) => unknown): number =>
    median(
      some.map((block) => {
        const started = performance.now();
        work(block * blockBytes);
        return (performance.now() - started) * 1000;
      }),
    );
  const touched = (length: number) => async (): Promise<number> => {
    await evict();
    return medianOf((at) => {
      for (let page = 0; page < length; page += pageSize) Atomics.load(bytes, at + page);
    });
  };
  const read = (): Promise<number> =>
    Promise.resolve(medianOf((at) => nodeFs.readSync(fd, buffer, 0, blockBytes, at)));
  const us = await interleave(
    { fault: touched(pageSize), all: touched(blockBytes), read, limit: startPaging({ file: plain }) },
    { rounds: b.pick(9, 2), warmup: 1 },
  );
  const claim = 'touch a block of 64 KiB that is not in memory';
  const other = { what: 'readSync of as much, from the page cache', samples: us.read };
  b.row({
    claim: `${claim}, until it is there`,
    unit: 'us',
    ours: us.fault,
    other,
    ratio: ratios(us.read, us.fault),
    target: { of: 'ours', atMost: 60 },
  });
  b.row({
    claim: `${claim}, until it is there`,
    unit: 'us',
    ours: us.fault,
    other: { what: 'a block that a process in C++ brings from a file (the limit)', samples: us.limit },
    ratio: ratios(us.limit, us.fault),
  });
  b.row({
    claim: `${claim}, each page of it`,
    unit: 'us',
    ours: us.all,
    other,
    ratio: ratios(us.read, us.all),
  });
}

const touchAll = (bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length; at += pageSize) Atomics.load(bytes, at);
};

/** Pages that are in memory, outside of any cluster. */
function tmpfsPages(length: number) {
  const fd = nodeFs.openSync(join(tmpfsDirectory(), 'pages'), 'w+');
  onEnd(() => nodeFs.closeSync(fd));
  nodeFs.writeSync(fd, Buffer.alloc(length, 7));
  const map = () => {
    const address = native.mapFile({ fd, offset: 0, length, protection: 'read' });
    const bytes = new Uint8Array(native.arrayBufferAt(address, length));
    return { bytes, close: () => native.unmap(address, length) };
  };
  const free = () => native.punchHole(fd, 0, length);
  /** Another file's bytes go into them. */
  const fillFrom = (source: number): void => {
    for (let at = 0; at < length; at += blockBytes) {
      nodeFs.readSync(source, buffer, 0, blockBytes, at);
      nodeFs.writeSync(fd, buffer, 0, blockBytes, at);
    }
  };
  return { map, free, fillFrom };
}

async function inOrder(b: Bench, { bytes, evict, fd }: Files): Promise<void> {
  const size = bytes.length;
  const speed = (work: () => void): number => {
    const started = performance.now();
    work();
    return size / (performance.now() - started) / 1e6;
  };
  const touch = async (): Promise<number> => {
    await evict();
    return speed(() => touchAll(bytes));
  };
  const read = (): Promise<number> =>
    Promise.resolve(
      speed(() => {
        for (let at = 0; at < size; at += buffer.length) nodeFs.readSync(fd, buffer, 0, buffer.length, at);
      }),
    );
  const pages = tmpfsPages(size);
  const limit = (): Promise<number> => {
    const mapping = pages.map();
    const gbs = speed(() => touchAll(mapping.bytes));
    mapping.close();
    return Promise.resolve(gbs);
  };
  const fresh = tmpfsPages(size);
  const filling = (): Promise<number> => {
    fresh.free();
    return Promise.resolve(speed(() => fresh.fillFrom(fd)));
  };
  const gbs = await interleave({ touch, read, limit, filling }, { rounds: b.pick(11, 2), warmup: 3 });
  const claim = `touch ${size / mebibyte} MiB that are not in memory, in order`;
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.touch,
    other: { what: 'touch as much in tmpfs, mapped anew (the limit)', samples: gbs.limit },
    ratio: ratios(gbs.touch, gbs.limit),
  });
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.touch,
    other: { what: 'read as much, and write it to fresh tmpfs pages (the limit)', samples: gbs.filling },
    ratio: ratios(gbs.touch, gbs.filling),
  });
  b.row({
    claim,
    unit: 'GB/s',
    ours: gbs.touch,
    other: { what: 'readSync of the same, from the page cache', samples: gbs.read },
    ratio: ratios(gbs.touch, gbs.read),
    target: { of: 'ours', atLeast: 2, or: { of: 'ratio', atLeast: 0.6 } },
  });
}

type Handle = {
  write(bytes: Buffer, at: 0, length: number, position: 0): Promise<unknown>;
  sync(): Promise<void>;
};
const syncedPage = Buffer.alloc(pageSize, 1);

async function writeAndSync(handle: Handle, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await handle.write(syncedPage, 0, pageSize, 0);
    await handle.sync();
  }
}

/** Each writes a file of its own. */
async function openSyncers(url: string): Promise<Handle[]> {
  const mounts = await Promise.all(Array.from({ length: syncers }, () => mount(url)));
  for (const each of mounts) onEnd(() => each.unmount());
  const open = mounts.map((each, i) => each.promises.open(`/synced-${i}`, 'w+'));
  return (await Promise.all(open)) as unknown as Handle[];
}

async function syncing(b: Bench, fs: ClusterFs, url: string): Promise<void> {
  const plain = await nodeFs.promises.open(join(temporaryDirectory(), 'synced'), 'w+');
  onEnd(() => plain.close());
  const many = await openSyncers(url);
  const one = (await fs.promises.open('/synced', 'w+')) as unknown as Handle;
  const count = b.pick(100, 10);
  const node: Handle = { write: (...args) => plain.write(...args), sync: () => plain.datasync() };
  const rates = await interleave(
    {
      one: () => perSecond(count, () => writeAndSync(one, count)),
      many: () => perSecond(count * syncers, () => together(many, count)),
      node: () => perSecond(count, () => writeAndSync(node, count)),
    },
    { rounds: b.pick(7, 2), warmup: 1 },
  );
  b.row({
    claim: 'write 4 KiB and sync',
    unit: '/s',
    ours: rates.one,
    other: { what: 'write and fdatasync of a file on the same disk', samples: rates.node },
    ratio: ratios(rates.one, rates.node),
    target: { of: 'ratio', atLeast: 0.5 },
  });
  b.row({ claim: `write 4 KiB and sync, ${syncers} clients at once`, ...groupOf(rates) });
}

const together = async (handles: readonly Handle[], count: number): Promise<void> =>
  void (await Promise.all(handles.map((handle) => writeAndSync(handle, count))));

const groupOf = ({ one, many }: { readonly one: number[]; readonly many: number[] }) =>
  ({
    unit: '/s',
    ours: many,
    other: { what: 'one of them alone', samples: one },
    ratio: ratios(many, one),
    target: { of: 'ratio', atLeast: 4 },
  }) as const;

/** Where a client alone waits for the disk most of the time, one flush for many is what counts. */
async function syncingSlowly(b: Bench): Promise<void> {
  const store = temporaryDirectory();
  const { url, nodePid } = await startNode({ memory: 2 ** 28, store });
  const many = await openSyncers(url);
  const reason = limitWrites(nodePid, store, slowWrites);
  if (reason !== undefined) {
    console.log(`bench: no disk of ${slowWrites} writes a second here: ${reason}`);
    return;
  }
  const count = b.pick(50, 5);
  const rates = await interleave(
    {
      one: () => perSecond(count, () => writeAndSync(many[0] as Handle, count)),
      many: () => perSecond(count * syncers, () => together(many, count)),
    },
    { rounds: b.pick(5, 2), warmup: 1 },
  );
  const disk = `on a disk of ${slowWrites} writes a second`;
  b.row({ claim: `the same ${disk}`, ...groupOf(rates) });
}

async function restarting(b: Bench): Promise<void> {
  const store = temporaryDirectory();
  const files = b.pick(100_000, 500);
  const first = await startNode({ memory: 2 ** 30, store });
  const fs = await mount(first.url);
  const content = Buffer.alloc(100, 1);
  for (let at = 0; at < files; at += 500) {
    await fs.promises.mkdir(`/d${at}`);
    await Promise.all(Array.from({ length: 500 }, (_, i) => fs.promises.writeFile(`/d${at}/f${i}`, content)));
  }
  await fs.unmount();
  await first.stop();
  const ms: number[] = [];
  for (let round = 0; round < b.pick(3, 1); round++) {
    const started = performance.now();
    const node = await startNode({ memory: 2 ** 30, store });
    const again = await mount(node.url);
    const { size } = again.statSync(`/d${files - 500}/f499`);
    if (size !== content.length) throw new Error('a file is not what it was');
    ms.push(performance.now() - started);
    await again.unmount();
    await node.stop();
  }
  b.row({
    claim: `start a node on ${files} stored files, until a client has one`,
    unit: 'ms',
    ours: ms,
    target: { of: 'ours', atMost: 1000 },
  });
}

await bench(run);
