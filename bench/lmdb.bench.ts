/**
 * For comparison: the other way to have one copy of data for many Node processes. lmdb maps too, and hands
 * out copies.
 */
import { type Bench, bench } from './harness/bench.ts';
import { startCluster, tmpfsDirectory } from './harness/cluster.ts';
import { openLmdb } from './harness/lmdb.ts';
import { interleave, perSecond, ratios, timed } from './harness/rounds.ts';

const mebibyte = 2 ** 20;
const recordBytes = 4096;

async function run(b: Bench): Promise<void> {
  const length = b.pick(64, 4) * mebibyte;
  const { fs } = await startCluster({ memory: 2 * length });
  const db = openLmdb(tmpfsDirectory());
  const bytes = Buffer.alloc(length, 1);
  await fs.promises.writeFile('/data', bytes);
  await db.put('data', bytes);
  const records = length / recordBytes;
  for (let i = 0; i < records; i++) void db.put(i, bytes.subarray(i * recordBytes, (i + 1) * recordBytes));
  await db.flushed;

  const open = await interleave(
    {
      view: timed(async () => {
        const view = await fs.map('/data');
        pageSum(view.bytes);
        view.close();
      }),
      lmdb: timed(() => pageSum(db.get('data') as Buffer)),
    },
    { rounds: b.pick(11, 3), warmup: 2 },
  );
  b.row({
    claim: `open ${length / mebibyte} MiB and read a byte of each page`,
    unit: 'ms',
    ours: open.view,
    other: { what: 'lmdb get', samples: open.lmdb },
    ratio: ratios(open.lmdb, open.view),
  });
  const view = await fs.map('/data');
  await randomReads(b, { records, ours: view.bytes, get: (key) => db.get(key) as Buffer });
}

function pageSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += recordBytes) sum += bytes[at] as number;
  return sum;
}

interface Records {
  readonly records: number;
  readonly ours: Uint8Array;
  readonly get: (key: number) => Uint8Array;
}

async function randomReads(b: Bench, { records, ours, get }: Records): Promise<void> {
  const count = b.pick(200_000, 5000);
  let random = 1;
  let seen = 0;
  const reads = (record: (index: number) => Uint8Array) => () =>
    perSecond(count, () => {
      for (let i = 0; i < count; i++) {
        random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
        const bytes = record(Math.floor((random / 2 ** 32) * records));
        seen += (bytes[0] as number) + (bytes[recordBytes - 1] as number);
      }
    });
  const copy = Buffer.alloc(recordBytes);
  const at = (index: number): Uint8Array => ours.subarray(index * recordBytes, (index + 1) * recordBytes);
  const rates = await interleave(
    {
      view: reads(at),
      copied: reads((index) => {
        copy.set(at(index));
        return copy;
      }),
      lmdb: reads(get),
    },
    { rounds: b.pick(9, 3), warmup: 2 },
  );
  if (seen === 0) throw new Error('nothing was read');
  const other = { what: 'lmdb get', samples: rates.lmdb };
  const claim = 'read a random record of 4 KiB';
  b.row({ claim, unit: '/s', ours: rates.view, other, ratio: ratios(rates.view, rates.lmdb) });
  b.row({
    claim: `${claim}, and copy it`,
    unit: '/s',
    ours: rates.copied,
    other,
    ratio: ratios(rates.copied, rates.lmdb),
  });
}

await bench(run);
