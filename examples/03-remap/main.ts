/**
 * Files move while they are read and written.
 *
 *   npm run example -- 03
 *
 * Two files lie in many pieces, between others that were removed. Two readers check every number of one, over
 * and over; a writer adds to counters all over the other. Meanwhile everything is packed, and then moved
 * again and again.
 * Look at: the extents before and after, the addresses of the arrays, which stay, and that nothing is lost.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mount } from 'cluster-fs';
import { Sandbox } from '../sandbox.ts';
import { counters, numberAt, type Report, table } from './files.ts';
import { drawSegment } from './segment-map.ts';

const mib = 2 ** 20;
const pieces = 8;
const moves = 20;

await using sandbox = new Sandbox();
await sandbox.serve('--memory', '64MiB');
await using fs = await mount(sandbox.url);

await writeInPieces();
showSegment('before');

const readers = [await start('./reader.ts'), await start('./reader.ts')];
const writer = await start('./writer.ts');
console.log('\ntwo readers and a writer are at work');

const packed = await fs.defrag({ onProgress: (done, total) => showProgress('defrag', done, total) });
console.log(`defrag: ${packed.pages} pages moved in ${packed.elapsedMs.toFixed(0)} ms`);
for (let move = 1; move <= moves; move++) {
  await fs.move(table);
  await fs.move(counters);
  showProgress('move', move, moves);
}
console.log(`move: each of the two files, ${moves} times`);

showSegment('after');
for (const path of [table, counters]) assert.equal(fs.extents(path).length, 1, `${path} is still in pieces`);
console.log();
for (const reader of readers) {
  const { steps, wrong } = await stop(reader);
  console.log(`    checked ${millions(steps)} numbers, ${wrong} were wrong`);
  assert.equal(wrong, 0);
}
const { steps, longestMs } = await stop(writer);
const lost = steps - (await sumOfCounters());
console.log(`    counted ${millions(steps)} increments, ${lost} are lost`);
console.log(`    the longest that one took: ${longestMs.toFixed(1)} ms`);
console.log(`    (before anything moved: ${writer.first.longestMs.toFixed(1)} ms, waiting for a processor)`);
assert.equal(lost, 0);
console.log('\nEvery page of both files moved many times. No array moved, no increment was lost.');

/**
 * Two files grow in turns with others, which are then removed: what is left lies in pieces, with holes
 * between.
 */
async function writeInPieces(): Promise<void> {
  const length = (2 * mib) / Uint32Array.BYTES_PER_ELEMENT;
  const { appendFile, writeFile, unlink } = fs.promises;
  for (let piece = 0; piece < pieces; piece++) {
    const numbers = Uint32Array.from({ length }, (_, i) => numberAt(piece * length + i));
    await appendFile(table, new Uint8Array(numbers.buffer));
    await writeFile(`/between-${piece}`, new Uint8Array(mib));
    await appendFile(counters, new Uint8Array(mib));
    await writeFile(`/between-${pieces + piece}`, new Uint8Array(mib));
  }
  for (let each = 0; each < 2 * pieces; each++) await unlink(`/between-${each}`);
}

function showSegment(when: string): void {
  const extents = (path: string): string => `${path} has extents: ${fs.extents(path).length}`;
  console.log(`\n${when}: ${extents(table)}, ${extents(counters)}`);
  console.log(drawSegment(fs, { T: table, C: counters }));
}

/** On a terminal, one line that changes. */
function showProgress(what: string, done: number, total: number): void {
  if (process.stdout.isTTY) process.stdout.write(`${what}: ${Math.round((100 * done) / total)} %\r`);
}

async function start(script: string) {
  const program = sandbox.start(new URL(script, import.meta.url), sandbox.url);
  const [first] = (await once(program, 'message')) as [Report];
  return { script, program, first };
}

/** Its last report; the array must be where it was in the beginning. */
async function stop({ script, program, first }: Awaited<ReturnType<typeof start>>): Promise<Report> {
  program.send('stop');
  const [report] = (await once(program, 'message')) as [Report];
  const { address, remaps } = report;
  console.log(`${script}: array at 0x${address.toString(16)}, the pages under it swapped ${remaps} times`);
  assert.equal(address, first.address);
  assert(remaps >= moves);
  return report;
}

async function sumOfCounters(): Promise<number> {
  using view = await fs.map(counters);
  return new Uint32Array(view.buffer).reduce((sum, count) => sum + count, 0);
}

function millions(count: number): string {
  return `${(count / 1e6).toFixed(1)} million`;
}
