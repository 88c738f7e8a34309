/**
 * Looks at a file through views for as long as it runs: `url` in argv. Every word must be one of the file's
 * own, which all begin with 0x11, or zero, where the file was cut off.
 */
import { mount } from 'cluster-fs';
import './parent.mjs';

const fs = await mount(process.argv[2], { label: 'onlooker' });
const reserve = 2 ** 20;
const views = [await fs.map('/file', { mode: 'r', reserve }), await fs.map('/file', { mode: 'rw', reserve })];
const arrays = views.map((view) => new Uint32Array(view.buffer));
/** @type {string[]} */
const findings = [];

function look() {
  for (const [i, words] of arrays.entries()) {
    for (let at = 0; at < words.length; at++) {
      const word = /** @type {number} */ (words[at]);
      if (word !== 0 && word >>> 24 !== 0x11 && findings.length < 10) {
        findings.push(`view ${i} word ${at}: 0x${word.toString(16)}`);
      }
    }
  }
  setImmediate(look);
}

process.on('message', () => {
  process.send?.({
    kind: 'seen',
    findings,
    sizes: views.map((view) => view.size),
    first: arrays.map((words) => words[0]),
  });
});
process.send?.({ kind: 'ready' });
look();
