/** What the programs on the two hosts agree on: a counter, in a file that both map. */
import { setTimeout } from 'node:timers/promises';
import type { ClusterFs } from 'cluster-fs';

/** Who makes it odd runs on host a, who makes it even on host b. */
export interface Counter {
  readonly numbers: Int32Array;
}

/** How far the two count together; then each further number tells the other that it may go on. */
export const countTo = 200;

export const numbersFile = '/numbers.f64';
export const noteFile = '/note.txt';

export async function openCounter(fs: ClusterFs): Promise<Counter> {
  const file = await fs.promises.open('/counter', 'a');
  await file.truncate(4);
  await file.close();
  const { buffer } = await fs.map('/counter', { mode: 'rw' });
  return { numbers: new Int32Array(buffer, 0, 1) };
}

/**
 * Waits until the other has counted up to there: looks once a millisecond at an element of an array.
 * (`view.wait`, which sleeps until it is told, is for programs of one host.)
 */
export async function reaches({ numbers }: Counter, count: number): Promise<void> {
  while ((numbers[0] ?? 0) < count) await setTimeout(1);
}

/** One more: a load and a store. */
export function increment({ numbers }: Counter): void {
  numbers[0] = (numbers[0] ?? 0) + 1;
}
