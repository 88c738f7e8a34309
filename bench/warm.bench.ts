/** Claim: who reads what is in memory hardly notices that the node writes back and evicts. */
import type { ClusterFs } from 'cluster-fs';
import { type Bench, bench } from './harness/bench.ts';
import { startCluster, temporaryDirectory } from './harness/cluster.ts';
import { type Client, startClients } from './harness/processes.ts';
import { interleave, ratios } from './harness/rounds.ts';

const mebibyte = 2 ** 20;
const warmFiles = 256;
const pageSize = 4096;

/** A node, a reader here and a writer in a process of its own. */
interface Scene {
  readonly fs: ClusterFs;
  readonly writer: Client;
}

async function run(b: Bench): Promise<void> {
  const size = b.pick(256, 32) * mebibyte;
  const never = 10_000_000;
  // The same writes: into memory alone, and into a quarter of what they need.
  const calm = await scene({ memory: 2 * size, writeBackMs: never });
  const busy = await scene({ memory: size / 4, capacity: 2 * size, writeBackMs: 100 });
  const forMs = b.pick(2000, 200);
  const p99Of = (each: Scene) => async (): Promise<number> => {
    const pouring = each.writer.call('pour', '/poured', { size, piece: mebibyte, everyMs: 10, forMs });
    const us = await readFor(each.fs, forMs);
    await pouring;
    return us[Math.floor(us.length * 0.99)] as number;
  };
  const p99 = await interleave(
    { calm: p99Of(calm), busy: p99Of(busy) },
    { rounds: b.pick(7, 2), warmup: b.pick(2, 1) },
  );
  b.row({
    claim: 'p99 of a warm read of 4 KiB, while 100 MiB/s are written back and evicted',
    unit: 'us',
    ours: p99.busy,
    other: { what: 'the same writes, nothing written back or evicted', samples: p99.calm },
    ratio: ratios(p99.busy, p99.calm),
    target: { of: 'ratio', atMost: 2 },
  });
}

async function scene(options: Omit<Parameters<typeof startCluster>[0], 'store'>): Promise<Scene> {
  const { fs, url } = await startCluster({ ...options, store: temporaryDirectory() });
  await fs.promises.mkdir('/warm');
  for (let i = 0; i < warmFiles; i++) await fs.promises.writeFile(`/warm/${i}`, Buffer.alloc(pageSize, i));
  const [writer] = (await startClients(1, url)) as [Client];
  return { fs, writer };
}

/** Microseconds of each read, in order. */
async function readFor(fs: ClusterFs, forMs: number): Promise<number[]> {
  const us: number[] = [];
  const end = performance.now() + forMs;
  for (let i = 0; performance.now() < end; i++) {
    const path = `/warm/${i % warmFiles}`;
    const began = performance.now();
    const bytes = fs.readFileSync(path) as Buffer;
    us.push((performance.now() - began) * 1000);
    if (bytes[0] !== i % warmFiles) throw new Error(`${path} is not what it was`);
    // The session has its turns, as in an application.
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return us.sort((a, b) => a - b);
}

await bench(run);
