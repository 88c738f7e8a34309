/**
 * One database for all processes, exchanged while they use it.
 *
 *   npm run demo
 *
 * A real MaxMind-format database (GeoLite2 city data, under MaxMind's GeoLite2 EULA) lies in a directory that
 * a node publishes. Eight processes look addresses up straight from shared memory. Look at: the table of
 * memory, against the same eight processes that each load the file; and what happens when a newer file is put
 * into the directory.
 */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { memoryOf, mib } from '../memory.ts';
import { Sandbox } from '../sandbox.ts';
import { fileName, install } from './database.ts';
import type { FromWorker } from './worker.ts';

const workerCount = 8;
const measureMs = 3000;
type Answers = Extract<FromWorker, { type: 'answers' }>;
type Report = Extract<FromWorker, { type: 'report' }>;

await using sandbox = new Sandbox();
const directory = join(sandbox.directory, 'geo');
mkdirSync(directory);
const built = install(directory);
const file = join(directory, fileName);
console.log(`A database of ${mib(statSync(file).size)}, built ${built.toISOString().slice(0, 10)}.\n`);

const loaded = await measure('each loads the file', 'file', file);
await sandbox.serve('--memory', '256MiB', '--publish', `${directory}:/geo`);
const shared = await measure('all map one copy', sandbox.url, `/geo/${fileName}`);
printTable();

console.log('\nA newer file lands in the directory, while all of them look addresses up ...');
const news = shared.workers.map((worker) => next<Answers>(worker, 'answers'));
const newer = install(directory, { daysNewer: 30 });
const landedMs = Date.now();
const answers = await Promise.all(news);
const reports = await Promise.all(shared.workers.map(report));
for (const [i, { buildEpochMs, atMs }] of answers.entries()) {
  assert.equal(buildEpochMs, newer.getTime(), 'every process answers from the newer database');
  const lookups = reports[i]?.lookups ?? 0;
  assert.ok(lookups > 0, 'and has not stopped meanwhile');
  const { pid } = shared.workers[i] as ChildProcess;
  console.log(`  process ${pid}: answers from it after ${atMs - landedMs} ms; ${lookups} lookups meanwhile`);
}
assert.ok(shared.pss < loaded.pss - 2 * statSync(file).size, 'one copy and not one for each');
console.log(`
Seen: ${workerCount} processes, one copy of the data (${mib(shared.pss)} instead of ${mib(loaded.pss)}), and
a new version of it in all of them, without a restart, an error or a lookup that saw half of either.`);

interface Measured {
  readonly workers: readonly ChildProcess[];
  readonly pss: number;
  readonly perSecond: number;
}

/**
 * Starts the processes, lets them work, and takes their memory and their speed. Those that load the file end
 * then.
 */
async function measure(name: string, ...args: string[]): Promise<Measured> {
  console.log(`${workerCount} processes, ${name} ...`);
  const workers = Array.from({ length: workerCount }, () =>
    sandbox.start(new URL('./worker.ts', import.meta.url), ...args),
  );
  await Promise.all(workers.map((worker) => next<Answers>(worker, 'answers')));
  await Promise.all(workers.map(report));
  await sleep(measureMs);
  const reports = await Promise.all(workers.map(report));
  assert.ok(
    reports.every(({ found }) => found > 0),
    'addresses are found',
  );
  const pss = workers.reduce((sum, { pid }) => sum + memoryOf(pid as number).pss, 0);
  const perSecond = reports.reduce((sum, { lookups, ms }) => sum + (lookups / ms) * 1000, 0);
  if (args[0] === 'file') await Promise.all(workers.map(stop));
  return { workers, pss, perSecond };
}

function report(worker: ChildProcess): Promise<Report> {
  const answer = next<Report>(worker, 'report');
  worker.send('report');
  return answer;
}

async function next<T extends FromWorker>(worker: ChildProcess, type: T['type']): Promise<T> {
  for (;;) {
    const [message] = (await once(worker, 'message')) as [FromWorker];
    if (message.type === type) return message as T;
  }
}

async function stop(worker: ChildProcess): Promise<void> {
  worker.disconnect();
  await once(worker, 'exit');
}

function printTable(): void {
  const line = (name: string, ...cells: readonly string[]): void =>
    console.log(`  ${name.padEnd(22)}${cells.map((cell) => cell.padStart(16)).join('')}`);
  const row = (name: string, { pss, perSecond }: Measured): void =>
    line(name, mib(pss), mib(pss / workerCount), Math.round(perSecond).toLocaleString('en'));
  console.log();
  line('', 'PSS in all', 'each process', 'lookups/s');
  row('each loads the file', loaded);
  row('all map one copy', shared);
}
