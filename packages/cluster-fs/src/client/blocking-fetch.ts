/**
 * A synchronous read that meets an absent page: the application's thread waits on a word of shared memory
 * while the session worker asks the node.
 *
 *   asked (0) ──▶ done (1)
 *           └──▶ failed (2), with the code of the error behind the word
 */
import { type ErrorCode, FsError } from '@cluster-fs/transport';

const state = { asked: 0, done: 1, failed: 2 } as const;
const codeBytes = 28;
/** A node that is stopped, or away for longer than this. */
const patienceMs = 60_000;

export const createAnswer = (): SharedArrayBuffer => new SharedArrayBuffer(4 + codeBytes);

/** Blocks until the answer is there. EIO as the node says; ETIMEDOUT. */
export function awaitFetch(answer: SharedArrayBuffer): void {
  const word = new Int32Array(answer, 0, 1);
  if (Atomics.wait(word, 0, state.asked, patienceMs) === 'timed-out') {
    throw new FsError('ETIMEDOUT', 'read', { why: `the node did not bring pages in for ${patienceMs} ms` });
  }
  if (Atomics.load(word, 0) === state.done) return;
  const code = Buffer.from(new Uint8Array(answer, 4)).toString('latin1').replace(/\0+$/, '');
  throw new FsError(code as ErrorCode, 'read', { why: 'a page could not be brought in' });
}

/** Answers; without an error all went well. */
export function answerFetch(answer: SharedArrayBuffer, error?: FsError): void {
  const word = new Int32Array(answer, 0, 1);
  if (error !== undefined)
    new Uint8Array(answer, 4).set(Buffer.from(error.code.slice(0, codeBytes), 'latin1'));
  Atomics.store(word, 0, error === undefined ? state.done : state.failed);
  Atomics.notify(word, 0);
}
