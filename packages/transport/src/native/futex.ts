/**
 * futex(2) on shared memory: works between processes. The waiting calls block their thread: for workers only.
 */
import { call, checked } from './binding.ts';

/** FUTEX_WAKE: wakes at most `count` waiters on a word; how many it woke. */
export const wakeFutex = (address: number, count: number): number =>
  checked(call('wakeFutex', address, count), 'futex');

export type WaitResult = 'woken' | 'timed-out' | 'not-equal' | 'interrupted';

const timedOut = -110;
const notEqual = -11;
const interrupted = -4;

/** FUTEX_WAIT: waits while the 32-bit word at `address` is `expected`. */
export function waitFutex(address: number, expected: number, timeoutMs: number): WaitResult {
  const result = call('waitFutex', address, expected, timeoutMs);
  const other = outcome(result);
  if (other === undefined) checked(result, 'futex');
  return other ?? 'woken';
}

const outcome = (result: number): Exclude<WaitResult, 'woken'> | undefined =>
  result === timedOut
    ? 'timed-out'
    : result === notEqual
      ? 'not-equal'
      : result === interrupted
        ? 'interrupted'
        : undefined;

export interface FutexWait {
  readonly address: number;
  readonly expected: number;
}

/**
 * futex_waitv(2), Linux 5.16: waits on up to 128 words at once; the index of the one that was woken, or why
 * not.
 */
export function waitFutexAny(
  waits: readonly FutexWait[],
  timeoutMs: number,
): number | Exclude<WaitResult, 'woken'> {
  const pairs = Float64Array.from(waits.flatMap(({ address, expected }) => [address, expected]));
  const result = call('waitFutexAny', new Uint8Array(pairs.buffer), waits.length, timeoutMs);
  return outcome(result) ?? checked(result, 'futex_waitv');
}
