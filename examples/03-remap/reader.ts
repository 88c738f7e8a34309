/** Checks every number of the table, over and over, through one array that is never looked up again. */
import { constants, setPriority } from 'node:os';
import { setImmediate } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import { numberAt, type Report, table } from './files.ts';

await using fs = await mount(process.argv[2]);
const view = await fs.map(table);
const numbers = new Uint32Array(view.buffer);

let [steps, wrong, longestMs, stopped] = [0, 0, 0, false];
const report = () =>
  process.send?.({ address: view.address, remaps: view.remaps, steps, wrong, longestMs } satisfies Report);
process.once('message', () => {
  stopped = true;
});
report();

// There may be fewer processors than programs. What the writer waits for should not be its turn on one of
// them.
setPriority(constants.priority.PRIORITY_LOW);
while (!stopped && process.connected) {
  const beganMs = performance.now();
  for (let i = 0; i < numbers.length; i++) if (numbers[i] !== numberAt(i)) wrong++;
  longestMs = Math.max(longestMs, performance.now() - beganMs);
  steps += numbers.length;
  await setImmediate();
}
report();
process.disconnect();
