/** Claims: small files, made one after the other and many at a time. */
import nodeFs from 'node:fs';
import { join } from 'node:path';
import { type Bench, bench } from './harness/bench.ts';
import { startCluster, tmpfsDirectory } from './harness/cluster.ts';
import { openLmdb } from './harness/lmdb.ts';
import { interleave, perSecond, ratios } from './harness/rounds.ts';

/** Chains of open, write and close under way at a time: as many as an application copies files with. */
const depth = 64;
const content = Buffer.alloc(1024, 1);

interface FileSystem {
  open(
    path: string,
    flags: string,
  ): Promise<{ write(data: Uint8Array): Promise<unknown>; close(): Promise<void> }>;
}

async function run(b: Bench): Promise<void> {
  const { fs } = await startCluster({ memory: 2 ** 30 });
  const directory = tmpfsDirectory();
  const db = openLmdb(tmpfsDirectory());
  let round = 0;
  const count = b.pick(3000, 200);
  /**
   * Files of a round go into a directory of their own; what was there before goes first, so that nothing
   * piles up.
   */
  const inRound = (work: (folder: string) => Promise<unknown>) => async (): Promise<number> => {
    const folder = `/r${++round}`;
    await fs.promises.mkdir(folder);
    nodeFs.mkdirSync(join(directory, folder));
    const rate = await perSecond(count, () => work(folder));
    await fs.promises.rm(folder, { recursive: true });
    nodeFs.rmSync(join(directory, folder), { recursive: true });
    return rate;
  };
  const make = (files: FileSystem, base: string) => async (path: string) => {
    const file = await files.open(base + path, 'w');
    await file.write(content);
    await file.close();
  };
  const ours = make(fs.promises, '');
  const theirs = make(nodeFs.promises, directory);
  const store = (path: string) => db.put(path, content);
  for (const lanes of [1, depth]) {
    const run = (create: (path: string) => Promise<unknown>) =>
      inRound((folder) => inLanes(lanes, count, (i) => create(`${folder}/file-${i}`)));
    const rates = await interleave(
      { ours: run(ours), node: run(theirs), lmdb: run(store) },
      { rounds: b.pick(7, 2), warmup: 2 },
    );
    const claim = lanes === 1 ? 'create + write 1 KiB + close, one by one' : `the same, ${lanes} at a time`;
    report(b, claim, rates, lanes === 1 ? 5000 : 20_000);
  }
  const whole = await interleave(
    {
      ours: inRound((folder) => inLanes(1, count, (i) => fs.promises.writeFile(`${folder}/${i}`, content))),
      node: inRound((folder) =>
        inLanes(1, count, (i) => nodeFs.promises.writeFile(`${directory}${folder}/${i}`, content)),
      ),
      lmdb: inRound((folder) => inLanes(1, count, (i) => db.put(`${folder}/${i}`, content))),
    },
    { rounds: b.pick(7, 2), warmup: 1 },
  );
  report(b, 'writeFile of 1 KiB, one by one', whole, undefined);
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
