/**
 * Keeps books on a node (books.mjs), as a process, until it is told to stop:
 *   node clerk.mjs URL NAME INDEX NAMES...
 *
 * Each round is told with what is done by then. NAMES: whose files it reads.
 */
import { setImmediate } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import { leave } from '../chaos/parent.mjs';
import { randomOf } from '../random.mjs';
import { editionIn, editionOf, filesOfClerk, pathOf, wordsOf } from './books.mjs';

const [url, name = '', number, ...others] = process.argv.slice(2);
const index = Number(number);
const random = randomOf(index);
const fs = await mount(url);
const view = await fs.map('/ledger', { mode: 'rw' });
const words = new Int32Array(view.buffer);
const mine = wordsOf(index);

/** What a request may be answered while its home, or the way to it, is away. @type {ReadonlySet<string>} */
const excuses = new Set(['ECONNRESET', 'ETIMEDOUT', 'EBADF', 'ESTALE']);
const counts = mine.map(() => 0);
let synced = mine.map(() => 0);
const files = Array.from({ length: filesOfClerk }, () => ({ answered: 0, asked: 0 }));
/** @type {Map<string, number>} */
const seen = new Map();
/** @type {string[]} */
const findings = [];
let rounds = 0;
let longestMs = 0;
let isStopped = false;

/**
 * False when it was refused for a reason that there may be, or for `also`.
 *
 * @param {() => Promise<void>} request
 * @param {string} also
 */
async function tries(request, also = '') {
  try {
    await request();
    return true;
  } catch (error) {
    const { code = '', message } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== also && !excuses.has(code)) findings.push(message);
    return false;
  }
}

function count() {
  for (const [i, word] of mine.entries()) {
    words[word] = (words[word] ?? 0) + 1;
    counts[i] = (counts[i] ?? 0) + 1;
  }
}

async function sync() {
  const now = mine.map((word) => words[word] ?? 0);
  // What was stored before may be lost.
  if (await tries(() => view.sync(), 'EIO')) synced = now;
}

async function write() {
  const file = random.below(filesOfClerk);
  const editions = files[file] ?? { answered: 0, asked: 0 };
  editions.asked++;
  const content = editionOf(name, file, editions.asked);
  if (await tries(() => fs.promises.writeFile(pathOf(name, file), content)))
    editions.answered = editions.asked;
}

/** Where it is wrong. @param {Buffer} content @param {string} other @param {number} file */
function describe(content, other, file) {
  const head = content.subarray(0, Math.max(0, content.indexOf('\n'))).toString('latin1');
  const right = editionOf(other, file, Number(head.split(' ')[1]) || 0);
  const at = content.findIndex((byte, i) => byte !== right[i]);
  return `'${head}', ${content.length} of ${right.length} bytes, wrong from ${at} on`;
}

async function read() {
  const other = random.pick(others);
  const file = random.below(filesOfClerk);
  const path = pathOf(other, file);
  await tries(async () => {
    const content = await fs.promises.readFile(path);
    const edition = editionIn(content, other, file);
    const least = seen.get(path) ?? 0;
    if (edition === undefined) findings.push(`${path} is no edition: ${describe(content, other, file)}`);
    else if (edition < least) findings.push(`${path} was edition ${least}, is ${edition}`);
    else seen.set(path, edition);
  });
}

process.once('message', () => {
  isStopped = true;
});
process.send?.({ kind: 'ready' });
while (!isStopped) {
  const beganMs = performance.now();
  count();
  if (rounds % 4 === 3) await sync();
  await write();
  await read();
  rounds++;
  longestMs = Math.max(longestMs, performance.now() - beganMs);
  const pages = { name, index, counts, synced, files };
  process.send?.({ kind: 'round', rounds, longestMs, findings, pages });
  await setImmediate();
}
await fs.unmount();
process.send?.({ kind: 'left' }, leave);
