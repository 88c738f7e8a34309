/**
 * Counts in all blocks of a file, in turn, through a view: `url` and `path` in argv. Each word is one more
 * than it was, and so is the count beside it. Told `leave`, it syncs and tells its counts.
 */
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';

const [url, path = ''] = process.argv.slice(2);
const wordsPerBlock = 65_536 / 4;
const fs = await mount(url, { label: 'counting' });
const view = await fs.map(path, { mode: 'rw' });
const words = new Uint32Array(view.buffer);
const counts = new Uint32Array(words.length / wordsPerBlock);
let isOver = false;

/** @param {number} block */
function count(block) {
  const at = block * wordsPerBlock;
  words[at] = /** @type {number} */ (words[at]) + 1;
  counts[block] = /** @type {number} */ (counts[block]) + 1;
}

function goOn() {
  for (let round = 0; round < 100; round++) for (let block = 0; block < counts.length; block++) count(block);
  process.send?.({ kind: 'counted' });
  if (isOver) void tell();
  else setImmediate(goOn);
}

async function tell() {
  const code = await view.sync().then(
    () => undefined,
    (error) => error.code,
  );
  process.send?.({ kind: 'counts', counts: [...counts], code });
}

process.on('message', () => {
  isOver = true;
});
process.send?.({ kind: 'ready' });
goOn();
