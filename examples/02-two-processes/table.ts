/** What the two programs agree on: where the array is, what is in it, and whose turn it is. */
import type { ClusterFs, View } from 'cluster-fs';

export const roundTrips = 5000;

const path = '/table';
const byteLength = 32 * 2 ** 20;

export interface Table {
  readonly view: View;
  readonly numbers: Float64Array;
  /** One word, at the start of the file, that only grows: at odd numbers it is the turn of `second`. */
  readonly turn: Int32Array;
}

/** Maps the table; whoever comes first makes it. */
export async function openTable(fs: ClusterFs): Promise<Table> {
  const file = await fs.promises.open(path, 'a');
  await file.truncate(byteLength);
  await file.close();
  const view = await fs.map(path, { mode: 'rw' });
  return { view, numbers: new Float64Array(view.buffer, 8), turn: new Int32Array(view.buffer, 0, 1) };
}

/** Ends our turn: a store, and a wake-up for who waits on that word. */
export function passTurn({ view, turn }: Table, number: number): void {
  Atomics.store(turn, 0, number);
  view.notify(0);
}

/** Sleeps until that turn has come. The event loop goes on meanwhile. */
export async function waitForTurn({ view, turn }: Table, number: number): Promise<void> {
  for (let now = Atomics.load(turn, 0); now < number; now = Atomics.load(turn, 0)) await view.wait(0, now);
}
