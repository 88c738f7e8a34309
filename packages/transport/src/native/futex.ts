/**
 * futex(2) on shared memory: works between processes. The waiting calls block their thread: for workers only.
 *
 * Addresses are those of 32-bit words, on four bytes, else EINVAL; EFAULT where nothing is mapped.
 * `timeoutMs` may be a fraction, 0 (look and do not wait) or Infinity. A waiter may be woken for no reason:
 * look again.
 */
import { addon, checked } from './binding.ts';

/** FUTEX_WAKE: wakes at most `count` waiters on a word; how many it woke. */
export const wakeFutex = (address: number, count: number): number =>
  checked(addon.wakeFutex(address, count), 'futex');

/**
 * Why a wait ended: somebody woke it, its time was up, the word was not what was expected, or a signal came.
 */
export type WaitResult = 'woken' | 'timed-out' | 'not-equal' | 'interrupted';

const endings = new Map<number, Exclude<WaitResult, 'woken'>>([
  [-110, 'timed-out'], // ETIMEDOUT
  [-11, 'not-equal'], // EAGAIN
  [-4, 'interrupted'], // EINTR
]);

/** FUTEX_WAIT: waits while the word at `address` is `expected`, a signed 32-bit integer. */
export function waitFutex(address: number, expected: number, timeoutMs: number): WaitResult {
  const result = addon.waitFutex(address, expected, timeoutMs);
  const ending = endings.get(result);
  if (ending === undefined) checked(result, 'futex');
  return ending ?? 'woken';
}

export interface FutexWait {
  readonly address: number;
  readonly expected: number;
}

/**
 * futex_waitv(2), Linux 5.16: waits on 1 to 128 words at once while each is what is expected there; the index
 * of one that was woken, or why the wait ended otherwise. ENOSYS on older kernels.
 */
export function waitFutexAny(
  waits: readonly FutexWait[],
  timeoutMs: number,
): number | Exclude<WaitResult, 'woken'> {
  const pairs = Float64Array.from(waits.flatMap(({ address, expected }) => [address, expected]));
  const result = addon.waitFutexAny(pairs, timeoutMs);
  return endings.get(result) ?? checked(result, 'futex_waitv');
}
