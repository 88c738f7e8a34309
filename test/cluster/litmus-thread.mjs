/**
 * One thread of a litmus test, as a process:
 *   node litmus-thread.mjs URL REFEREE ROLE THREAD THREADS ROUNDS PLACE LAGS
 *
 * Each round has words x and y of its own. All threads begin it at nearly the same time: before every few
 * rounds each tells at the referee, a node that all of them mount and that is no part of the test, how far it
 * is, and waits for the others. What a thread read in each round is told at the end.
 *
 * LAGS: how many milliseconds each thread lets the others go ahead in a round, with commas between.
 */
import { mount } from 'cluster-fs';
import { isOrphan, leave } from '../chaos/parent.mjs';
import { randomOf } from '../random.mjs';
import { wordsOf } from './litmus-words.mjs';

const [url, referee, role, thread, threads, rounds, place, lags = ''] = process.argv.slice(2);
const count = Number(rounds);
const me = Number(thread);
const lagMs = Number(lags.split(',')[me] ?? 0);
const random = randomOf(me + 1);
const [fs, meeting] = [await mount(url), await mount(referee)];

/** @param {import('cluster-fs').ClusterFs} from @param {string} path */
async function numbersOf(from, path) {
  const { bytes } = await from.map(path, { mode: 'rw' });
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
/** How many rounds each thread has begun. */
const begun = await numbersOf(meeting, '/begun');
const x = await numbersOf(fs, '/x');
const y = place === 'apart' ? await numbersOf(fs, '/y') : x;
const wordOf = wordsOf(count, place === 'apart' ? 'apart' : 'in one block');

/** A place of this process to sleep on: there are more threads than processors. */
const nowhere = new Int32Array(new SharedArrayBuffer(4));
const sleep = (/** @type {number} */ ms) => Atomics.wait(nowhere, 0, 0, ms);

/** Now and then, so that threads meet at all distances. */
const longestPauseMs = 0.3;
function pause() {
  if (random.happens(0.25)) sleep(random.fraction() * longestPauseMs);
}

/** @param {number} i */
const loadX = (i) => x[wordOf.x(i)] ?? -1;
/** @param {number} i */
const loadY = (i) => y[wordOf.y(i)] ?? -1;
/** @param {number} i @param {number} value */
const storeX = (i, value = 1) => {
  x[wordOf.x(i)] = value;
};
/** @param {number} i */
const storeY = (i) => {
  y[wordOf.y(i)] = 1;
};

/**
 * What each role does in a round, by the names of the literature; returns what it read.
 *
 * @type {Readonly<Record<string, readonly ((i: number) => number | void)[]>>}
 */
const roles = {
  'store x, store y': [(i) => storeX(i), storeY],
  'load y, load x': [loadY, loadX],
  'load x, load y': [loadX, loadY],
  'store x, load y': [(i) => storeX(i), loadY],
  'store y, load x': [storeY, loadX],
  'load x, store y': [loadX, storeY],
  'load y, store x': [loadY, (i) => storeX(i)],
  'store x': [(i) => storeX(i)],
  'store y': [storeY],
  'store 2 to x': [(i) => storeX(i, 2)],
  'store x twice': [(i) => storeX(i, 1), (i) => storeX(i, 2)],
  'load x twice': [loadX, loadX],
};
const accesses = roles[role ?? ''];
if (accesses === undefined) throw new Error(`no role ${role}`);

const pollMs = 0.02;
const roundsAtOnce = lags === '' ? 4 : 1;
/** A processor's line apart. */
const wordsApart = 16;

/** @param {number} i */
function othersHaveBegun(i) {
  for (let t = 0; t < Number(threads); t++) if (Atomics.load(begun, t * wordsApart) < i) return false;
  return true;
}

process.send?.({ kind: 'ready' });
process.once('message', () => {
  /** @type {number[][]} */
  const read = [];
  for (let i = 0; i < count; i++) {
    Atomics.store(begun, me * wordsApart, i + 1);
    const mayBegin = i - (i % roundsAtOnce) + 1;
    while (!othersHaveBegun(mayBegin)) {
      if (isOrphan()) return;
      sleep(pollMs);
    }
    /** @type {number[]} */
    const values = [];
    if (lagMs > 0) sleep(lagMs);
    for (const access of accesses) {
      pause();
      const value = access(i);
      if (value !== undefined) values.push(value);
    }
    read.push(values);
  }
  process.send?.({ kind: 'read', read }, async () => {
    await Promise.all([fs.unmount(), meeting.unmount()]);
    leave();
  });
});
