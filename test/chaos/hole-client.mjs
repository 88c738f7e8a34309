/**
 * A writer or a reader of a file that is punched: `role`, `index`, `url` in argv. Its main thread never
 * returns to the event loop until the control word says so.
 */
import { mount } from 'cluster-fs';
import { control, counterAt, findingsIn, isPunched, markOf, pages, wordsPerPage } from './holed.mjs';
import { isOrphan, leave } from './parent.mjs';

const [role, number = '0', url] = process.argv.slice(2);
const index = Number(number);

const fs = await mount(url, { label: `${role} ${index}` });
const view = await fs.map('/holed', { mode: role === 'writer' ? 'rw' : 'r' });
const controls = await fs.map('/control');
const word = new Int32Array(controls.buffer);
const words = new Uint32Array(view.buffer);
/** @type {string[]} */
const findings = [];
let passes = 0;

/** Counts in every page that stays, and stores into every page that is punched. */
function write() {
  for (let page = 0; page < pages; page++) {
    if (!isPunched(page)) {
      const at = counterAt(page, index);
      words[at] = /** @type {number} */ (words[at]) + 1;
      continue;
    }
    const at = page * wordsPerPage + index + 2 * (passes % 511);
    words[at] = markOf(page, Atomics.load(word, control.generation));
  }
}

process.on('message', () => {
  void fs.unmount().then(leave);
});
process.send?.({ kind: 'ready' });
while (Atomics.load(word, control.stop) === 0 && !isOrphan()) {
  if (role === 'writer') write();
  else if (findings.length === 0) findings.push(...findingsIn(words));
  passes++;
}
process.send?.({ kind: 'report', role, index, passes, findings, remaps: view.remaps });
