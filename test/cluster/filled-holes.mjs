/**
 * Reads a hole of a file of another home through a view that lasts, maps the file to write at the same node,
 * which gives the hole pages, and stores there, sooner or later after that:
 *   node filled-holes.mjs HOME-URL URL
 *
 * Says 'found', with what the home does not see. A process of its own: it may sit in a page fault.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';

const [home, far] = await Promise.all(process.argv.slice(2).map((url) => mount(url)));
if (home === undefined || far === undefined) throw new Error('two nodes are needed');
const blockSize = 65_536;
const size = 5 * blockSize;
// Not on blocks, and not on pages.
const hole = { from: blockSize + 9000, to: 4 * blockSize - 9000 };
const rounds = 30;
/** @type {string[]} */
const findings = [];

for (let round = 0; round < rounds && findings.length === 0; round++) {
  await home.promises.writeFile('/f', Buffer.alloc(size, 9));
  await home.promises.punchHole('/f', hole.from, hole.to - hole.from);
  const reader = await far.map('/f');
  const writer = await far.map('/f', { mode: 'rw' });
  await sleep(round);
  writer.bytes.fill(round + 10, hole.from, hole.to);
  const content = Buffer.alloc(size, 9).fill(round + 10, hole.from, hole.to);
  for (const [what, bytes] of /** @type {const} */ ([
    ['read at the home', await home.promises.readFile('/f')],
    ['read here', await far.promises.readFile('/f')],
    ['the view to read', reader.bytes],
    ['the view to write', writer.bytes],
  ])) {
    const at = content.findIndex((byte, i) => byte !== bytes[i]);
    if (at >= 0) findings.push(`round ${round}, ${what}: byte ${at} is ${bytes[at]}, not ${content[at]}`);
  }
  reader.close();
  writer.close();
}
process.send?.({ kind: 'found', findings });
