/**
 * Counts in memory at an address until the control word is not 0; a writer for moves that are made by hand.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '@cluster-fs/transport';
import { countersOf, countOnce } from './counters.mjs';

const { address, length, stop } = workerData;
const words = new Uint32Array(native.arrayBufferAt(address, length));
const control = new Int32Array(stop);
const indexes = countersOf(0);
const counts = new Uint32Array(indexes.length);

parentPort?.postMessage('ready');
while (Atomics.load(control, 0) === 0) countOnce(words, indexes, counts);
parentPort?.postMessage(counts);
