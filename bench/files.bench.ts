/** Claims: whole files are written and read as fast as on tmpfs; stat asks no kernel. */
import nodeFs from 'node:fs';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { startCluster, tmpfsDirectory } from './harness/cluster.ts';
import { interleave, perSecond, ratios, timed } from './harness/rounds.ts';

const mebibyte = 2 ** 20;

async function run(b: Bench): Promise<void> {
  const length = b.pick(64, 4) * mebibyte;
  const { fs } = await startCluster({ memory: 6 * length });
  const directory = tmpfsDirectory();
  const bytes = Buffer.alloc(length, 1);
  await writing(b, fs, { directory, bytes });
  await reading(b, fs, { directory, mib: length / mebibyte });
  await stats(b, fs, directory);
}

interface Files {
  readonly directory: string;
  readonly bytes: Buffer;
}

async function writing(b: Bench, fs: ClusterFs, { directory, bytes }: Files): Promise<void> {
  const mib = bytes.length / mebibyte;
  const rounds = { rounds: b.pick(15, 3), warmup: 2 };
  const file = join(directory, 'data');
  for (const fresh of [true, false]) {
    const before = async (): Promise<void> => {
      if (!fresh) return;
      nodeFs.rmSync(file, { force: true });
      await fs.promises.rm('/data', { force: true });
    };
    const after = (work: () => unknown) => async (): Promise<number> => {
      await before();
      return timed(work)();
    };
    const ms = await interleave(
      {
        ours: after(() => fs.promises.writeFile('/data', bytes)),
        promises: after(() => nodeFs.promises.writeFile(file, bytes)),
        sync: after(() => nodeFs.writeFileSync(file, bytes)),
      },
      rounds,
    );
    const claim = `promises.writeFile of ${mib} MiB, ${fresh ? 'a new file' : 'over an old one'}`;
    compare(b, claim, { ours: ms.ours, what: 'node:fs promises.writeFile', other: ms.promises, atLeast: 1 });
    compare(b, claim, { ours: ms.ours, what: 'node:fs writeFileSync', other: ms.sync });
  }
}

async function reading(
  b: Bench,
  fs: ClusterFs,
  { directory, mib }: { directory: string; mib: number },
): Promise<void> {
  const file = join(directory, 'data');
  const ms = await interleave(
    {
      ours: timed(() => fs.promises.readFile('/data')),
      promises: timed(() => nodeFs.promises.readFile(file)),
      oursSync: timed(() => fs.readFileSync('/data')),
      sync: timed(() => nodeFs.readFileSync(file)),
    },
    { rounds: b.pick(15, 3), warmup: 2 },
  );
  compare(b, `promises.readFile of ${mib} MiB`, {
    ours: ms.ours,
    what: 'node:fs promises.readFile',
    other: ms.promises,
    atLeast: 1,
  });
  compare(b, `readFileSync of ${mib} MiB`, {
    ours: ms.oursSync,
    what: 'node:fs readFileSync',
    other: ms.sync,
    atLeast: 1,
  });
}

interface Times {
  readonly ours: readonly number[];
  readonly what: string;
  readonly other: readonly number[];
  readonly atLeast?: number;
}

function compare(b: Bench, claim: string, { ours, what, other, atLeast }: Times): void {
  b.row({
    claim,
    unit: 'ms',
    ours,
    other: { what, samples: other },
    ratio: ratios(other, ours),
    ...(atLeast === undefined ? {} : { target: { of: 'ratio', atLeast } }),
  });
}

async function stats(b: Bench, fs: ClusterFs, directory: string): Promise<void> {
  const names = Array.from({ length: 100 }, (_, i) => `/d/file-${i}`);
  await fs.promises.mkdir('/d');
  nodeFs.mkdirSync(join(directory, 'd'));
  for (const name of names) {
    await fs.promises.writeFile(name, 'x');
    nodeFs.writeFileSync(join(directory, name), 'x');
  }
  const files = names.map((name) => join(directory, name));
  const repeats = b.pick(500, 20);
  const rate = (statSync: (path: string) => unknown, paths: readonly string[]) => () =>
    perSecond(repeats * paths.length, () => {
      for (let i = 0; i < repeats; i++) for (const path of paths) statSync(path);
    });
  const rates = await interleave(
    { ours: rate((path) => fs.statSync(path), names), node: rate((path) => nodeFs.statSync(path), files) },
    { rounds: b.pick(11, 3), warmup: 2 },
  );
  b.row({
    claim: 'statSync of 100 paths, again and again',
    unit: '/s',
    ours: rates.ours,
    other: { what: 'node:fs statSync', samples: rates.node },
    ratio: ratios(rates.ours, rates.node),
    target: { of: 'ratio', atLeast: 2 },
  });
}

await bench(run);
