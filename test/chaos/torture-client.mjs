/**
 * A writer or a reader of the torture, as a process: `role`, `index`, `style` and `url` in argv.
 *
 *   ready ──the control word is not 0──▶ report
 *
 * With style 'busy' the main thread does not return to its event loop in between: whatever happens to the
 * file, only the session worker can deal with it.
 */
import { native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { countersOf, countOnce, Observer, reservedPages, wordsPerPage } from './counters.mjs';
import { isOrphan, leave } from './parent.mjs';

const [role, number = '0', style, url] = process.argv.slice(2);
const index = Number(number);

const fs = await mount(url, { label: `${role} ${index}` });
const view = await fs.map('/counters', {
  mode: role === 'writer' ? 'rw' : 'r',
  reserve: reservedPages * wordsPerPage * 4,
});
const control = await fs.map('/control', { mode: 'r' });
const stop = new Int32Array(control.buffer);
const words = new Uint32Array(view.buffer);
const address = native.addressOf(words);

const indexes = countersOf(index);
const counts = new Uint32Array(indexes.length);
const observer = new Observer();
const work = role === 'writer' ? () => countOnce(words, indexes, counts) : () => observer.look(words);

let remapEvents = 0;
view.on('remap', () => {
  remapEvents++;
});

function report() {
  return {
    kind: 'report',
    role,
    index,
    counts: Array.from(counts),
    findings: observer.findings,
    passes: observer.passes,
    remaps: view.remaps,
    remapEvents,
    sameAddress:
      native.addressOf(words) === address && view.address === address && words.buffer === view.buffer,
  };
}

function workAndYield() {
  work();
  if (Atomics.load(stop, 0) === 0) setImmediate(workAndYield);
  else process.send?.(report());
}

process.on('message', () => {
  void fs.unmount().then(leave);
});
process.send?.({ kind: 'ready' });

if (style === 'busy') {
  while (Atomics.load(stop, 0) === 0 && !isOrphan()) work();
  process.send?.(report());
} else workAndYield();
