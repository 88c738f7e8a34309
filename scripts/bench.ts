/** `npm run bench`: runs bench/*.bench.ts one after the other and prints one table. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Machine, machine, machineLine } from '../bench/harness/machine.ts';
import { median } from '../bench/harness/rounds.ts';
import { figure, isMet, type Row, tableOf } from '../bench/harness/table.ts';
import { root } from './command.ts';

interface Run {
  readonly when: string;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly rows: readonly Row[];
}

const usage = `usage: npm run bench -- [OPTIONS]

Runs bench/*.bench.ts one after the other, about eight minutes, and prints one table: what is claimed, what
was measured, what a user would otherwise take, how they compare, and whether that keeps what is promised.

  --only WORD    those with the word in their name
  --compare      how the figures changed since they were last saved
  --quick        a smoke run: everything happens, the figures mean little
  --profile      CPU profiles of the bench and its node, in bench/results/profiles
  --help         this

Every run is saved in bench/results, which git ignores. Nothing else should run meanwhile.`;

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    compare: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
/** The kernel, and what is below a virtual machine, are busy for a while with gigabytes that were freed. */
const restMs = 15_000;
const resultsDirectory = join(root, 'bench/results');
const facts = machine();

// A bench ends by the same signal and cleans up; this process only has to wait for it.
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    interrupted = true;
  });
}

const rows: Row[] = [];

if (options.help) console.log(usage);
else await runAll();

async function runAll(): Promise<void> {
  const files = readdirSync(join(root, 'bench')).filter(
    (file) => file.endsWith('.bench.ts') && file.includes(options.only),
  );
  if (files.length === 0) console.log(`bench: no bench/*.bench.ts has '${options.only}' in its name`);
  console.log(machineLine(facts));

  const failed: string[] = [];
  for (const [i, file] of files.entries()) {
    if (i > 0 && !options.quick && !interrupted) await sleep(restMs);
    if (interrupted) break;
    const beganMs = performance.now();
    process.stdout.write(`bench: ${file} ... `);
    if (!(await runs(file))) failed.push(file);
    const seconds = (performance.now() - beganMs) / 1000;
    console.log(`${seconds.toFixed(1)} s, load ${machine().load.toFixed(1)}`);
  }
  const run: Run = { when: new Date().toISOString(), quick: options.quick, machine: facts, rows };
  if (rows.length > 0) console.log(`\n${tableOf(rows)}\n`);
  if (options.compare) printChanges(run);
  if (rows.length > 0 && !interrupted) save(run);
  const missed = rows.filter((row) => isMet(row) === false).length;
  const targets = options.quick
    ? 'a smoke run, its figures mean little'
    : `${rows.filter(isMet).length} targets met, ${missed} missed`;
  console.log(`bench: ${targets}; ${failed.length} files failed`);
  process.exitCode = failed.length > 0 || interrupted ? 1 : 0;
}

/** Runs one file in a process of its own; its rows come as messages. */
async function runs(file: string): Promise<boolean> {
  const profiles = join(resultsDirectory, 'profiles');
  const profiling = options.profile ? ['--cpu-prof', `--cpu-prof-dir=${profiles}`] : [];
  const child = fork(join(root, 'bench', file), options.quick ? ['--quick'] : [], {
    execArgv: ['--import', 'tsx', ...profiling],
    cwd: join(root, 'bench'),
    env: options.profile ? { ...process.env, BENCH_PROFILE: profiles } : process.env,
  });
  child.on('message', (row: Row) => rows.push(row));
  const [code] = await once(child, 'exit');
  return code === 0;
}

function save(result: Run): void {
  mkdirSync(resultsDirectory, { recursive: true });
  const file = join(resultsDirectory, `${result.when.replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(file, `${JSON.stringify(result, undefined, 1)}\n`);
  console.log(`bench: saved in ${file}`);
}

/** Saved runs of the same kind, newest first. */
function savedRuns(): Run[] {
  mkdirSync(resultsDirectory, { recursive: true });
  return readdirSync(resultsDirectory)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .reverse()
    .map((file) => JSON.parse(readFileSync(join(resultsDirectory, file), 'utf8')) as Run)
    .filter(({ quick }) => quick === options.quick);
}

/**
 * Each claim against the newest saved run that has it; its ratio too, since that does not depend on the
 * machine's day.
 */
function printChanges(now: Run): void {
  const saved = savedRuns();
  for (const row of now.rows) {
    const same = ({ claim, other }: Row) => claim === row.claim && other?.what === row.other?.what;
    const before = saved.flatMap((each) => each.rows.filter(same)).at(0);
    const change = before === undefined ? 'new' : changeOf(before, row);
    console.log(`${row.claim}${row.other === undefined ? '' : ` / ${row.other.what}`}: ${change}`);
  }
  console.log();
}

function changeOf(before: Row, after: Row): string {
  const change = (a: number, b: number): string =>
    `${figure(a)} -> ${figure(b)} (${b >= a ? '+' : ''}${(((b - a) / a) * 100).toFixed(0)}%)`;
  const ours = `${change(median(before.ours), median(after.ours))} ${after.unit}`;
  if (before.ratio === undefined || after.ratio === undefined) return ours;
  return `${ours}, ratio ${change(median(before.ratio), median(after.ratio))}`;
}
