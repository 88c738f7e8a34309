/** Runs on host b, whose node has joined that of host a. */
import assert from 'node:assert/strict';
import { mount } from 'cluster-fs';
import { countTo, increment, noteFile, numbersFile, openCounter, reaches } from './counter.ts';

await using fs = await mount(process.argv[2]);
const counter = await openCounter(fs);

for (let count = 1; count < countTo; count += 2) {
  await reaches(counter, count);
  increment(counter);
}
console.log(`on b: ${countTo / 2} increments are mine, the counter is ${counter.numbers[0]}`);

await reaches(counter, countTo + 1);
const { buffer } = await fs.map(numbersFile);
const numbers = new Float64Array(buffer);
const mib = numbers.byteLength / 2 ** 20;
for (const when of ['first: over the network', 'again: in this host’s memory']) {
  const beganMs = performance.now();
  const sum = numbers.reduce((total, number) => total + number, 0);
  console.log(`on b: the sum of ${mib} MiB, ${(performance.now() - beganMs).toFixed(0)} ms (${when})`);
  assert.equal(sum, (numbers.length * (numbers.length - 1)) / 2);
}

await fs.promises.writeFile(noteFile, 'written on b');
increment(counter);
