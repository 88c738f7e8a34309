/**
 * A client that maps /file to write: `url`, 'pinned' or 'on-demand', and what it does in argv. 'stores': it
 * looks at its view and stores into it for as long as it runs, and hears of recalls without letting go.
 * 'watches': the same, and it is told of every change of the tree.
 * 'computes': it listens to nothing, and its thread does not come back to its event loop.
 *
 * Every word must be one of the file's own, which all begin with 0x11, or zero.
 */
import { mount } from 'cluster-fs';
import './parent.mjs';

const [, , url = '', mode, what] = process.argv;
const fs = await mount(url, { label: 'holder', mode: mode === 'pinned' ? 'pinned' : 'on-demand' });
const view = await fs.map('/file', { mode: 'rw' });
const words = new Uint32Array(view.buffer);
/** @type {string[]} */
const findings = [];
let stored = 0;

fs.on('lost', ({ code, message }) => process.send?.({ kind: 'lost', code, message }));
process.on('message', () => {
  process.send?.({ kind: 'seen', findings, stored });
});

function look() {
  for (let at = 0; at < words.length; at++) {
    const word = /** @type {number} */ (words[at]);
    if (word !== 0 && word >>> 24 !== 0x11 && findings.length < 10)
      findings.push(`word ${at}: 0x${word.toString(16)}`);
    words[at] = 0x11000002;
  }
  stored++;
  setImmediate(look);
}

if (what === 'watches') fs.watch('/', { recursive: true });
if (what !== 'computes') view.on('recall', () => process.send?.({ kind: 'recalled' }));
process.send?.({ kind: 'ready', session: fs.session.id }, () => {
  if (what === 'computes') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
if (what !== 'computes') look();
