/**
 * A writer or a reader of a file that is punched: `role`, `index`, `url` in argv. Its main thread never
 * returns to the event loop until the control word says so.
 */
import { mount } from 'cluster-fs';
import {
  control,
  counterAt,
  findingsIn,
  isPunched,
  isQuiet,
  markOf,
  pages,
  wordsPerPage,
  writerCount,
} from './holed.mjs';
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

/** The time between two punches, and how often its pages were stored into. */
let quiet = { generation: -1, times: 0 };

/** Counts in every page that stays, and stores into every page that is punched. */
function write() {
  const generation = Atomics.load(word, control.generation);
  if (generation !== quiet.generation) quiet = { generation, times: 0 };
  else if (isQuiet(generation)) lookForStores();
  for (let page = 0; page < pages; page++) {
    if (isPunched(page)) words[placeOf(page, quiet.times)] = markOf(page, generation);
    else {
      const at = counterAt(page, index);
      words[at] = /** @type {number} */ (words[at]) + 1;
    }
  }
  quiet.times++;
}

/** @param {number} page @param {number} times */
const placeOf = (page, times) =>
  page * wordsPerPage + index + writerCount * (times % (wordsPerPage / writerCount));

/** While nothing is punched, what was stored first stays. */
function lookForStores() {
  const lost = [];
  for (let page = 0; page < pages; page++) {
    if (!isPunched(page)) continue;
    const found = words[placeOf(page, 0)];
    if (found !== markOf(page, quiet.generation))
      lost.push(`page ${page}: a store is lost, there is ${found}`);
  }
  if (Atomics.load(word, control.generation) === quiet.generation && findings.length < 10)
    findings.push(...lost);
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
