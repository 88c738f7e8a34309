/** Claims: small files, made one after the other and many at a time. */
import nodeFs from 'node:fs';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { startCluster, tmpfsDirectory } from './harness/cluster.ts';
import { openLmdb } from './harness/lmdb.ts';
import { interleave, perSecond, ratios } from './harness/rounds.ts';

/** Chains of open, write and close under way at a time: as many as an application copies files with. */
const depth = 128;
const content = Buffer.alloc(1024, 1);

interface FileSystem {
  open(
    path: string,
    flags: string,
  ): Promise<{ write(data: Uint8Array): Promise<unknown>; close(): Promise<void> }>;
}

/** Three ways to make one file, or what comes nearest to it. */
type Create = Readonly<Record<'ours' | 'node' | 'lmdb', (path: string) => Promise<unknown>>>;

async function run(b: Bench): Promise<void> {
  const { fs } = await startCluster({ memory: 2 ** 30 });
  const directory = tmpfsDirectory();
  const db = openLmdb(tmpfsDirectory());
  const openWriteClose = (files: FileSystem, base: string) => async (path: string) => {
    const file = await files.open(base + path, 'w');
    await file.write(content);
    await file.close();
  };
  const lmdb = (path: string) => db.put(path, content);
  const inSteps: Create = {
    ours: openWriteClose(fs.promises, ''),
    node: openWriteClose(nodeFs.promises, directory),
    lmdb,
  };
  const inOne: Create = {
    ours: (path) => fs.promises.writeFile(path, content),
    node: (path) => nodeFs.promises.writeFile(directory + path, content),
    lmdb,
  };
  const step = 'create + write 1 KiB + close';
  // A round lasts some seconds: what other rounds leave behind in processors and heaps goes first.
  const few = b.pick(12_000, 200);
  const many = b.pick(40_000, 400);
  const cases: readonly Case[] = [
    { claim: `${step}, one by one`, create: inSteps, lanes: 1, count: few, atLeast: 5000 },
    { claim: `${step}, ${depth} at a time`, create: inSteps, lanes: depth, count: many, atLeast: 20_000 },
    { claim: 'writeFile of 1 KiB, one by one', create: inOne, lanes: 1, count: few },
  ];
  for (const each of cases) await measure(b, { fs, directory }, each);
}

interface Case {
  readonly claim: string;
  readonly create: Create;
  readonly lanes: number;
  readonly count: number;
  readonly atLeast?: number;
}

let folders = 0;

async function measure(
  b: Bench,
  { fs, directory }: { fs: ClusterFs; directory: string },
  { claim, create, lanes, count, atLeast }: Case,
): Promise<void> {
  /** Files of a round go into a directory of their own, which goes after it, so that nothing piles up. */
  const rate = (make: (path: string) => Promise<unknown>) => async (): Promise<number> => {
    const folder = `/r${++folders}`;
    await fs.promises.mkdir(folder);
    nodeFs.mkdirSync(join(directory, folder));
    const files = await perSecond(count, () => inLanes(lanes, count, (i) => make(`${folder}/file-${i}`)));
    await fs.promises.rm(folder, { recursive: true });
    nodeFs.rmSync(join(directory, folder), { recursive: true });
    return files;
  };
  const rates = await interleave(
    { ours: rate(create.ours), node: rate(create.node), lmdb: rate(create.lmdb) },
    // The first rounds are slower: both processes compile what they run.
    { rounds: b.pick(5, 2), warmup: b.pick(2, 1) },
  );
  report(b, claim, rates, atLeast);
}

/** Runs `work` for 0 .. count, in so many chains at a time. */
async function inLanes(lanes: number, count: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

function report(
  b: Bench,
  claim: string,
  { ours, node, lmdb }: Record<'ours' | 'node' | 'lmdb', readonly number[]>,
  atLeast: number | undefined,
): void {
  const target = atLeast === undefined ? {} : { target: { of: 'ours', atLeast } as const };
  b.row({
    claim,
    unit: '/s',
    ours,
    other: { what: 'node:fs on tmpfs', samples: node },
    ratio: ratios(ours, node),
    ...target,
  });
  b.row({
    claim,
    unit: '/s',
    ours,
    other: { what: 'lmdb put, awaited', samples: lmdb },
    ratio: ratios(ours, lmdb),
  });
}

await bench(run);
