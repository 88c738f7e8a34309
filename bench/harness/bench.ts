/**
 * The frame of a bench file: runs it, hands its rows to `npm run bench` or prints them, and cleans up after
 * it.
 */
import { cleanUp } from './cleanup.ts';
import { machine, machineLine } from './machine.ts';
import { type Row, tableOf } from './table.ts';

export interface Bench {
  /** A smoke run: everything happens, in seconds, and the figures mean little. */
  readonly quick: boolean;
  /** One of two by `quick`. */
  pick<T>(full: T, quick: T): T;
  row(row: Row): void;
}

export async function bench(run: (b: Bench) => Promise<void>): Promise<void> {
  const quick = process.argv.includes('--quick');
  const rows: Row[] = [];
  const b: Bench = {
    quick,
    pick: (full, small) => (quick ? small : full),
    row: (row) => {
      rows.push(row);
      process.send?.(row);
    },
  };
  const facts = machine();
  try {
    await run(b);
    if (process.send === undefined) console.log(`${machineLine(facts)}\n\n${tableOf(rows)}`);
  } finally {
    await cleanUp();
    // The runner's channel would keep this process alive.
    process.disconnect?.();
  }
}
