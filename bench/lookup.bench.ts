/** Claim: looking a name up takes as long in a directory of 100,000 as in one of 10. */
import nodeFs from 'node:fs';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { startCluster, tmpfsDirectory } from './harness/cluster.ts';
import { interleave, perSecond, ratios } from './harness/rounds.ts';

/**
 * Paths looked up in a round, each once: more than a mount remembers (fs/path-cache.ts), so that each is
 * walked, and as many for every size, so that caches of the processor serve all sizes alike.
 */
const paths = 10_000;

async function run(b: Bench): Promise<void> {
  const sizes = b.pick([10, 1000, 100_000], [10, 100, 1000]);
  const lookups = b.pick(paths, 1000);
  const { fs } = await startCluster({ memory: 64 * 2 ** 20 });
  const directory = tmpfsDirectory();
  const looked = new Map<string, string[]>();
  for (const size of sizes) looked.set(`${size}`, await populate(fs, directory, size, lookups));

  const lookUp = (statSync: (path: string) => unknown, names: readonly string[], base: string) => {
    const all = names.map((name) => base + name);
    return () =>
      perSecond(all.length, () => {
        for (const path of all) statSync(path);
      });
  };
  const contenders: Record<string, () => Promise<number>> = {};
  for (const [size, names] of looked) {
    contenders[`ours ${size}`] = lookUp((path) => fs.statSync(path), names, '');
    contenders[`node ${size}`] = lookUp((path) => nodeFs.statSync(path), names, directory);
  }
  const rates = await interleave(contenders, { rounds: b.pick(9, 3), warmup: 2 });
  const of = (name: string): number[] => rates[name] ?? [];
  for (const size of sizes) {
    b.row({
      claim: `look up in a directory of ${size.toLocaleString('en')}, each path once`,
      unit: '/s',
      ours: of(`ours ${size}`),
      other: { what: 'node:fs statSync', samples: of(`node ${size}`) },
      ratio: ratios(of(`ours ${size}`), of(`node ${size}`)),
    });
  }
  const [smallest = 0, largest = 0] = [sizes.at(0), sizes.at(-1)];
  b.row({
    claim: `look up among ${largest.toLocaleString('en')}: times as slow as among ${smallest}`,
    unit: '/s',
    ours: of(`ours ${largest}`),
    other: { what: `the same among ${smallest}`, samples: of(`ours ${smallest}`) },
    ratio: ratios(of(`ours ${smallest}`), of(`ours ${largest}`)),
    target: { of: 'ratio', atMost: 1.5 },
  });
}

/**
 * Directories of `size` entries here and on tmpfs, enough of them for `lookups` paths; returns those, in
 * random order.
 */
async function populate(fs: ClusterFs, directory: string, size: number, lookups: number): Promise<string[]> {
  const names: string[] = [];
  for (let folder = 0; names.length < lookups; folder++) {
    const parent = `/d${size}-${folder}`;
    await fs.promises.mkdir(parent);
    nodeFs.mkdirSync(join(directory, parent));
    for (let i = 0; i < size; i++) {
      names.push(`${parent}/entry-${i}`);
    }
  }
  const waiting = [...names];
  const lane = async (): Promise<void> => {
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      await fs.promises.writeFile(name, '');
      nodeFs.writeFileSync(directory + name, '');
    }
  };
  await Promise.all(Array.from({ length: 64 }, lane));
  return shuffled(names).slice(0, lookups);
}

/** Fisher and Yates, with a generator that starts the same in every run. */
function shuffled(names: readonly string[]): string[] {
  const result = [...names];
  let random = 1;
  for (let i = result.length - 1; i > 0; i--) {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    const j = Math.floor((random / 2 ** 32) * (i + 1));
    [result[i], result[j]] = [result[j] as string, result[i] as string];
  }
  return result;
}

await bench(run);
