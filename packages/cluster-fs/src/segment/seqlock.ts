/**
 * The reader's half of a sequence counter (linux/seqlock.h): load it, read, load it again; when it moved,
 * read again.
 *
 * Each load here pairs with the two stores of publish(): odd before the first changed byte, even after the
 * last.
 * A reader never blocks the writer. A writer that died inside leaves an odd counter; the reader then gives up
 * with
 * EAGAIN after `patienceMs`, and finds a rebuilt segment when the node is back.
 */
import { FsError } from '@cluster-fs/transport';

/** A publish takes microseconds; what takes longer than this is a writer that was stopped or has died. */
const patienceMs = 250;
const spins = 4_000;

/** The counter, once it is even. */
export function guardBegin(words: Int32Array, index: number): number {
  for (let i = 0; i < spins; i++) {
    const sequence = Atomics.load(words, index);
    if ((sequence & 1) === 0) return sequence;
  }
  return waitForEven(words, index);
}

/** Whether what was read since `guardBegin` returned `sequence` may be torn. */
export const guardChanged = (words: Int32Array, index: number, sequence: number): boolean =>
  Atomics.load(words, index) !== sequence;

/** The writer lost its processor in the middle: give it ours for a moment instead of spinning. */
function waitForEven(words: Int32Array, index: number): number {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  for (let waitedMs = 0; waitedMs < patienceMs; waitedMs++) {
    Atomics.wait(nap, 0, 0, 1);
    const sequence = Atomics.load(words, index);
    if ((sequence & 1) === 0) return sequence;
  }
  throw new FsError('EAGAIN', 'read', { why: 'the node stopped in the middle of a change' });
}
