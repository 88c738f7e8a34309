/** Adds to counters all over a file, with plain stores, and takes the time. */
import { setImmediate } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import { counters, type Report } from './files.ts';

/** Each counter is on another page than the one before, and in the end all get their turn. */
const stride = 12_347;

await using fs = await mount(process.argv[2]);
const view = await fs.map(counters, { mode: 'rw' });
const array = new Uint32Array(view.buffer);

/** Increments before anything moves: what waiting there is among them has other reasons. */
const warmUp = 2_000_000;

let [steps, longestMs, stopped] = [0, 0, false];
const report = () =>
  process.send?.({ address: view.address, remaps: view.remaps, steps, wrong: 0, longestMs } satisfies Report);
process.once('message', () => {
  stopped = true;
});

while (!stopped && process.connected) {
  let beganMs = performance.now();
  for (let end = steps + 100_000; steps < end; steps++) {
    const slot = (steps * stride) % array.length;
    array[slot] = (array[slot] ?? 0) + 1;
    const endedMs = performance.now();
    longestMs = Math.max(longestMs, endedMs - beganMs);
    beganMs = endedMs;
  }
  if (steps === warmUp) {
    report();
    longestMs = 0;
  }
  await setImmediate();
}
report();
process.disconnect();
