/** Runs on host a, where the files have their home. Counts with `on-b`, gives it a file, reads its answer. */
import assert from 'node:assert/strict';
import { mount } from 'cluster-fs';
import { countTo, increment, noteFile, numbersFile, openCounter, reaches } from './counter.ts';

await using fs = await mount(process.argv[2]);
const counter = await openCounter(fs);

let beganMs = 0;
for (let count = 0; count < countTo; count += 2) {
  await reaches(counter, count);
  if (count === 2) beganMs = performance.now();
  increment(counter);
}
await reaches(counter, countTo);
const stepMs = (performance.now() - beganMs) / (countTo - 2);
console.log(`on a: ${countTo / 2} increments are mine, the counter is ${counter.numbers[0]}`);
console.log(`on a: ${stepMs.toFixed(1)} ms from one to the next; each of us looks once a millisecond`);

const numbers = Float64Array.from({ length: 8 * 2 ** 20 }, (_, i) => i);
await fs.promises.writeFile(numbersFile, numbers);
console.log(`on a: wrote ${numbersFile}`);
increment(counter);

await reaches(counter, countTo + 2);
beganMs = performance.now();
const note = fs.readFileSync(noteFile, 'utf8');
const ms = (performance.now() - beganMs).toFixed(1);
console.log(`on a: ${noteFile} is there, read in ${ms} ms: ${note}`);
assert.equal(note, 'written on b');
