/** Sums what `first` stored, shows what the memory costs, then answers its turns. */
import assert from 'node:assert/strict';
import { mount } from 'cluster-fs';
import { memoryUnder, mib } from '../memory.ts';
import { openTable, passTurn, roundTrips, waitForTurn } from './table.ts';

await using fs = await mount(process.argv[2]);
const table = await openTable(fs);

await waitForTurn(table, 1);
const { length } = table.numbers;
const sum = table.numbers.reduce((total, number) => total + number, 0);
console.log(`second (${process.pid}): sees ${length} numbers, their sum is ${sum}`);
assert.equal(sum, (length * (length - 1)) / 2);

// Both have touched all of it by now. Two copies would be charged in full to each.
const { rss, pss } = memoryUnder(table.view);
console.log(`second (${process.pid}): maps ${mib(rss)}, and is charged ${mib(pss)}`);
assert(pss < 0.6 * rss, 'more than one copy is in memory');

passTurn(table, 2);
for (let trip = 1; trip <= roundTrips; trip++) {
  await waitForTurn(table, 2 * trip + 1);
  passTurn(table, 2 * trip + 2);
}
