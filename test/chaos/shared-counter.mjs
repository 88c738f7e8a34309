/** A thread that counts in a SharedArrayBuffer until the control word is not 0. */
import { parentPort, workerData } from 'node:worker_threads';

const { buffer, stop } = workerData;
const words = new Uint32Array(buffer);
const control = new Int32Array(stop);
let count = 0;

parentPort?.postMessage('ready');
while (Atomics.load(control, 0) === 0) {
  words[count % words.length] = /** @type {number} */ (words[count % words.length]) + 1;
  count++;
}
parentPort?.postMessage(count);
