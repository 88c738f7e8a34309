/** A client of a node that stands still, which itself goes on: `url` and `path` in argv. */
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';

const [url, path = ''] = process.argv.slice(2);
const fs = await mount(url, { label: 'bystander' });
const reading = await fs.map(path);
const writing = await fs.map(path, { mode: 'rw' });
const holed = await fs.map('/holed');
const file = await fs.promises.open(path);
const words = new Int32Array(writing.buffer);
/** Turns of the event loop in which a read of what is there is long done. */
const turns = 50;

/** @param {number} at */
async function read(at) {
  const { buffer } = await file.read({ buffer: new Uint8Array(1), position: at });
  process.send?.({ kind: 'read', value: buffer[0] });
}

async function turn() {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
  process.send?.({ kind: 'turned' });
}

process.on('message', (/** @type {{ what: string, at: number, value: number }} */ { what, at, value }) => {
  switch (what) {
    case 'load':
      process.send?.({ kind: 'load', value: reading.bytes[at] });
      return;
    case 'load-hole':
      process.send?.({ kind: 'load-hole', value: holed.bytes[at] });
      return;
    case 'store':
      writing.bytes[at] = value;
      process.send?.({ kind: 'store', value: writing.bytes[at] });
      return;
    case 'read':
      void read(at);
      void turn();
      return;
    case 'add':
      // Looked at first: a block that may only be read is under the view then.
      for (let i = 0; i < value; i++) if (Atomics.load(words, at / 4) !== 0) Atomics.add(words, at / 4, 1);
      process.send?.({ kind: 'add', value: words[at / 4] });
  }
});
process.send?.({ kind: 'ready', value: reading.bytes[0] });
