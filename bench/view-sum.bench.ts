/** Claim: a view is memory. Summing one is as fast as summing a private Buffer. */
import { type Bench, bench } from './harness/bench.ts';
import { startCluster } from './harness/cluster.ts';
import { interleave, ratios, timed } from './harness/rounds.ts';

const mebibyte = 2 ** 20;

/** One function for each kind of array, so that the compiler sees one kind in each. */
const arrays = [
  {
    name: 'Uint8Array',
    over: (buffer: ArrayBufferLike) => new Uint8Array(buffer),
    sum(array: ArrayLike<number>): number {
      let total = 0;
      for (let i = 0; i < array.length; i++) total += array[i] as number;
      return total;
    },
  },
  {
    name: 'Float64Array',
    over: (buffer: ArrayBufferLike) => new Float64Array(buffer),
    sum(array: ArrayLike<number>): number {
      let total = 0;
      for (let i = 0; i < array.length; i++) total += array[i] as number;
      return total;
    },
  },
];

async function run(b: Bench): Promise<void> {
  const length = b.pick(64, 8) * mebibyte;
  const { fs } = await startCluster({ memory: 2 * length });
  const bytes = Buffer.allocUnsafeSlow(length);
  new Float64Array(bytes.buffer).forEach((_, i, all) => {
    all[i] = i;
  });
  await fs.promises.writeFile('/data', bytes);
  const view = await fs.map('/data');

  for (const { name, over, sum } of arrays) {
    const [shared, own] = [over(view.buffer), over(bytes.buffer)];
    const rounds = { rounds: b.pick(15, 3), warmup: 3 };
    const ms = await interleave({ view: timed(() => sum(shared)), buffer: timed(() => sum(own)) }, rounds);
    b.row({
      claim: `sum a view of ${length / mebibyte} MiB as ${name}`,
      unit: 'ms',
      ours: ms.view,
      other: { what: 'private Buffer', samples: ms.buffer },
      ratio: ratios(ms.buffer, ms.view),
      target: { of: 'ratio', atLeast: 0.95 },
    });
  }
}

await bench(run);
