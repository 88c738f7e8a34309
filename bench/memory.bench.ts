/** Claims: what a node takes when nothing happens, and what a mount adds to a process. */
import { readFileSync } from 'node:fs';
import { type Bench, bench } from './harness/bench.ts';
import { startCluster } from './harness/cluster.ts';
import { startClient } from './harness/processes.ts';

async function run(b: Bench): Promise<void> {
  const { fs, nodePid, url } = await startCluster({ memory: 256 * 2 ** 20 });
  b.row({
    claim: 'a node that just started',
    unit: 'MiB',
    ours: [residentMib(nodePid)],
    target: { of: 'ours', atMost: 120 },
  });
  await sessions(b, url);

  const count = b.pick(100_000, 500);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await fs.promises.writeFile(`/file-${next++}`, '');
  };
  await Promise.all(Array.from({ length: 64 }, lane));
  b.row({
    claim: `a node with ${count.toLocaleString('en')} files, right after they were made`,
    unit: 'MiB',
    ours: [residentMib(nodePid)],
  });
}

/** Private and shared pages that are present. */
function residentMib(pid: number): number {
  const [, kib] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) / 1024;
}

async function sessions(b: Bench, url: string): Promise<void> {
  const ours: number[] = [];
  for (let i = 0; i < b.pick(7, 2); i++) {
    const client = startClient();
    const { before, after } = await client.call<{ before: number; after: number }>('mount', url);
    ours.push((after - before) / 1024);
    await client.stop();
  }
  b.row({
    claim: 'a process that mounts: import, session, worker thread',
    unit: 'MiB',
    ours,
    target: { of: 'ours', atMost: 25 },
  });
}

await bench(run);
