/** Fills the table, then plays ping-pong with `second`. */
import { mount } from 'cluster-fs';
import { openTable, passTurn, roundTrips, waitForTurn } from './table.ts';

await using fs = await mount(process.argv[2]);
const table = await openTable(fs);

for (let i = 0; i < table.numbers.length; i++) table.numbers[i] = i;
console.log(`first  (${process.pid}): stored ${table.numbers.length} numbers`);
passTurn(table, 1);
await waitForTurn(table, 2);

const beganMs = performance.now();
for (let turn = 3; turn <= 2 * roundTrips + 1; turn += 2) {
  passTurn(table, turn);
  await waitForTurn(table, turn + 1);
}
const seconds = (performance.now() - beganMs) / 1000;
console.log(
  `first  (${process.pid}): ${roundTrips} round trips, ${Math.round(roundTrips / seconds)} per second`,
);
