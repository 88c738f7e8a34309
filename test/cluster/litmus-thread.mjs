/**
 * One thread of a litmus test, as a process:
 *   node litmus-thread.mjs URL NAME ROLE THREAD THREADS ROUNDS PLACE
 *
 * Each round has words x and y of its own. A thread begins a round when all others have begun the one
 * before: then they do it at nearly the same time. What a thread read in each round is told at the end.
 */
import { mount } from 'cluster-fs';
import { isOrphan, leave } from '../chaos/parent.mjs';

const [url, name, role, thread, threads, rounds, place] = process.argv.slice(2);
const count = Number(rounds);
const me = Number(thread);
const fs = await mount(url ?? '');
/** @param {string} part */
async function wordsOf(part) {
  const { bytes } = await fs.map(`/${name}-${part}`, { mode: 'rw' });
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

const [x, begun] = [await wordsOf('x'), await wordsOf('begun')];
/** In one block: the words of y lie behind those of x in one file, which has two names. */
const y = place === 'apart' ? await wordsOf('y') : x.subarray(count);

/** What each role does in a round, by the names of the literature; returns what it read. */
/** @type {Readonly<Record<string, (i: number) => (number | undefined)[] | void>>} */
const roles = {
  'store x, store y': (i) => {
    x[i] = 1;
    y[i] = 1;
  },
  'load y, load x': (i) => {
    const first = y[i];
    return [first, x[i]];
  },
  'load x, load y': (i) => {
    const first = x[i];
    return [first, y[i]];
  },
  'store x, load y': (i) => {
    x[i] = 1;
    return [y[i]];
  },
  'store y, load x': (i) => {
    y[i] = 1;
    return [x[i]];
  },
  'load x, store y': (i) => {
    const first = x[i];
    y[i] = 1;
    return [first];
  },
  'load y, store x': (i) => {
    const first = y[i];
    x[i] = 1;
    return [first];
  },
  'store x': (i) => {
    x[i] = 1;
  },
  'store y': (i) => {
    y[i] = 1;
  },
  'store x twice': (i) => {
    Atomics.store(x, i, 1);
    Atomics.store(x, i, 2);
  },
  'load x twice': (i) => [Atomics.load(x, i), Atomics.load(x, i)],
};

const doRound = roles[role ?? ''];
/** A place of this process to sleep on. */
const nowhere = new Int32Array(new SharedArrayBuffer(4));
const sleepMs = 0.02;
/** So that one goes on that does not hear of the others, because its node is broken. */
const patienceMs = 20;
/** A block apart, so that who waits does not take the words from who works. */
const wordsApart = 16_384;

/** @param {number} i */
const othersHaveBegun = (i) => {
  for (let t = 0; t < Number(threads); t++) if ((begun[t * wordsApart] ?? 0) < i) return false;
  return true;
};

process.send?.({ kind: 'ready' });
process.once('message', () => {
  /** @type {(number | undefined)[][]} */
  const read = [];
  for (let i = 0; i < count; i++) {
    begun[me * wordsApart] = i;
    const endMs = performance.now() + patienceMs;
    while (!othersHaveBegun(i) && performance.now() < endMs) {
      if (isOrphan()) return;
      Atomics.wait(nowhere, 0, 0, sleepMs);
    }
    read.push(doRound?.(i) ?? []);
  }
  begun[me * wordsApart] = count;
  process.send?.({ kind: 'read', read }, async () => {
    await fs.unmount();
    leave();
  });
});
