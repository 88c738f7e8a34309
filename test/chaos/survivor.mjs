/**
 * A client that works on while its node dies and comes back: `index`, `seed` and `url` in argv.
 *
 * It changes files of its own and tells each change when it is acknowledged. When the node dies over one,
 * either the old or the new state must be there afterwards. Between changes it counts in a view and checks
 * all that others count.
 *
 *   working ⇄ paused (`pause` / `work`) ──`leave`──▶ report
 */
import { native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { bytesOf, cutTo, randomOf, sizeOf } from './content.mjs';
import { countersOf, countOnce, Observer } from './counters.mjs';
import { leave } from './parent.mjs';

/** @typedef {import('./content.mjs').State} State */

const [number = '0', seed = '1', url] = process.argv.slice(2);
const index = Number(number);
const random = randomOf(Number(seed) * 7919 + index);
const fs = await mount(url, { label: `survivor ${index}` });

/** @type {Map<string, State>} */
const files = new Map(Array.from({ length: 12 }, (_, i) => [`/files-${index}/${i}`, null]));
/** @type {string[]} */
const findings = [];
let uncertain = 0;
let nextSeed = index * 1_000_000;

await fs.promises.mkdir(`/files-${index}`, { recursive: true });
const view = await fs.map('/counters', { mode: 'rw' });
const words = new Uint32Array(view.buffer);
const address = native.addressOf(words);
const indexes = countersOf(index);
const counts = new Uint32Array(indexes.length);
const observer = new Observer();

/** @param {number} max */
const newPart = (max) => ({ seed: ++nextSeed, size: random(10) === 0 ? 0 : 1 + random(max) });
const pickPath = () => `/files-${index}/${random(12)}`;

/** A change: which states it makes true, and how. */
function nextChange() {
  const path = pickPath();
  const state = files.get(path) ?? null;
  const kind = state === null ? 0 : random(6);
  if (kind === 1 && state !== null) {
    const part = newPart(60_000);
    return {
      next: new Map([[path, [...state, part]]]),
      run: () => fs.promises.appendFile(path, bytesOf([part])),
    };
  }
  if (kind === 2 && state !== null) {
    const size = random(sizeOf(state) + 1);
    return { next: new Map([[path, cutTo(state, size)]]), run: () => fs.promises.truncate(path, size) };
  }
  if (kind === 3) {
    const to = pickPath();
    if (to === path) return { next: new Map(), run: () => fs.promises.chmod(path, 0o640) };
    return {
      next: new Map([
        [path, null],
        [to, state],
      ]),
      run: () => fs.promises.rename(path, to),
    };
  }
  if (kind === 4) return { next: new Map([[path, null]]), run: () => fs.promises.unlink(path) };
  const part = newPart(random(8) === 0 ? 1_500_000 : 100_000);
  return { next: new Map([[path, [part]]]), run: () => fs.promises.writeFile(path, bytesOf([part])) };
}

/** @param {string} path @returns {Promise<Buffer | undefined>} */
const readIfThere = (path) =>
  fs.promises.readFile(path).catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });

/** @param {string} path @param {State} state */
async function isAsStated(path, state) {
  const bytes = await readIfThere(path);
  return state === null ? bytes === undefined : bytes?.equals(bytesOf(state)) === true;
}

/** Whether every path of `states` is as they say. @param {Map<string, State>} states */
async function allAsStated(states) {
  for (const [path, state] of states) if (!(await isAsStated(path, state))) return false;
  return true;
}

async function change() {
  const { next, run } = nextChange();
  const before = new Map([...next.keys()].map((path) => [path, files.get(path) ?? null]));
  let happened = true;
  try {
    await run();
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== 'ECONNRESET') findings.push(`a change failed: ${message}`);
    uncertain++;
    // Answered when the node is back: only then does shared memory show what became of the change.
    await settled();
    happened = await allAsStated(next);
    if (!happened && !(await allAsStated(before))) findings.push(`neither old nor new: ${[...next.keys()]}`);
  }
  if (!happened) return;
  for (const [path, state] of next) files.set(path, state);
  process.send?.({ kind: 'acknowledged', states: [...next] });
}

/** Resolves when the node answers again. */
async function settled() {
  for (let tries = 0; tries < 50; tries++) {
    const answered = await fs.status().then(
      () => true,
      () => false,
    );
    if (answered) return;
  }
  findings.push('the node does not come back');
}

let paused = false;
let leaving = false;
/** @type {() => void} */
let wake = () => undefined;
process.on('message', (message) => {
  paused = message === 'pause';
  leaving ||= message === 'leave';
  wake();
});

process.send?.({ kind: 'ready' });
while (!leaving) {
  if (paused) {
    process.send?.({ kind: 'paused' });
    await /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        wake = resolve;
      })
    );
    continue;
  }
  await change();
  for (let i = 0; i < 20; i++) countOnce(words, indexes, counts);
  if (random(4) === 0) observer.look(words);
}
process.send?.({
  kind: 'report',
  index,
  findings: [...findings, ...observer.findings],
  counts: Array.from(counts),
  passes: observer.passes,
  uncertain,
  sameAddress: native.addressOf(words) === address && view.address === address,
});
await fs.unmount();
leave();
