/**
 * Waits on a word of a file until it is as high as asked, and tells each value that it saw: `url` and
 * `last` in argv.
 */
import { mount } from 'cluster-fs';
import { leave } from './parent.mjs';

const [url, last = '1'] = process.argv.slice(2);
const fs = await mount(url, { label: 'word waiter' });
const view = await fs.map('/words', { mode: 'rw' });
const words = new Int32Array(view.buffer);
/** @type {number[]} */
const seen = [];

process.send?.({ kind: 'ready' });
for (let value = 0; value < Number(last); ) {
  await view.wait(4096, value);
  const now = Atomics.load(words, 1024);
  if (now !== value) seen.push(now);
  value = now;
  // The other side waits for this before it goes on.
  Atomics.store(words, 2048, now);
  view.notify(8192);
}
process.send?.({ kind: 'report', seen });
await fs.unmount();
leave();
