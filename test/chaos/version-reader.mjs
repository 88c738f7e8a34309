/**
 * Reads a document of which every word is its version, in every way there is, until it is told to stop:
 * `url` in argv. What is read at one time must be one version, and versions only grow.
 */
import { mount } from 'cluster-fs';
import { leave } from './parent.mjs';
import { wordsOf } from './versions.mjs';

const fs = await mount(process.argv[2], { label: 'version reader' });
const manual = await fs.map('/document', { follow: 'manual', reserve: 2 ** 22 });
const live = await fs.map('/document', { reserve: 2 ** 22 });
/** @type {string[]} */
const findings = [];
/** @type {Record<string, number>} */
const newest = {};
let looks = 0;
let running = true;

/** @param {string} how @param {Uint8Array} bytes @param {{ whole: boolean }} rule */
function look(how, bytes, { whole }) {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  for (let i = 0; i < words.length; i++) {
    const word = /** @type {number} */ (words[i]);
    if (word < low) low = word;
    if (word > high) high = word;
  }
  looks++;
  const before = newest[how] ?? 0;
  // An array over a file that has just become shorter ends in zeros.
  const inOrder = (low >= before || (!whole && low === 0)) && high < 1e6;
  if (findings.length < 10 && words.length > 0 && ((whole && low !== high) || !inOrder)) {
    findings.push(`${how}: versions ${low} to ${high} after ${before}, in ${words.length} words`);
  }
  if (findings.length < 10 && whole && words.length !== wordsOf(high))
    findings.push(`${how}: ${words.length} words of the ${wordsOf(high)} of version ${high}`);
  if (words.length > 0) newest[how] = Math.max(low, before);
}

process.on('message', () => {
  running = false;
});
process.send?.({ kind: 'ready' });
while (running) {
  look('readFile', await fs.promises.readFile('/document'), { whole: true });
  look('readFileSync', fs.readFileSync('/document'), { whole: true });
  look('a view before it advances', manual.bytes, { whole: true });
  await manual.advance();
  look('a view that advanced', manual.bytes, { whole: true });
  look('a live view', live.bytes, { whole: false });
}
process.send?.({ kind: 'report', findings, looks, newest });
await fs.unmount();
leave();
