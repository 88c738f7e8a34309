/**
 * Removes files while other nodes have some of them, and looks what becomes of that at each node:
 *   node removed-files.mjs SCENARIO BY URL...
 *
 * BY: at which of the nodes is stored. Says 'found', with what is wrong. A process of its own: it may sit in
 * a page fault.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';

const [scenario = '', by, ...urls] = process.argv.slice(2);
const size = 300_000;
const content = Buffer.alloc(size, 9);
const patienceMs = 30_000;

/** @typedef {import('cluster-fs').ClusterFs} Fs */
/** @type {Fs[]} */
const mounts = [];
for (const url of urls) mounts.push(await mount(url));
const coordinator = /** @type {Fs} */ (mounts[0]);
const storer = /** @type {Fs} */ (mounts[Number(by)]);
/** @type {string[]} */
const findings = [];

/** @param {string} what @param {Uint8Array} got @param {Buffer} wanted */
function compare(what, got, wanted) {
  const at = wanted.findIndex((byte, i) => byte !== got[i]);
  if (at >= 0) findings.push(`${what}: byte ${at} is ${got[at]}, and should be ${wanted[at]}`);
}

/** Files are made until one has that inode number. @param {Fs} fs @param {number} ino */
async function makeWithNumber(fs, ino) {
  const endMs = performance.now() + patienceMs;
  for (let made = 0; performance.now() < endMs; made++) {
    const path = `/next-${made}`;
    await fs.promises.writeFile(path, content);
    if (fs.statSync(path).ino === ino) return path;
    await sleep(20);
  }
  throw new Error(`no file gets the number ${ino}`);
}

/** Stores through a view that lasts no longer, and removes the file. */
async function removeStored() {
  const { ino } = coordinator.statSync('/removed');
  const view = await storer.map('/removed', { mode: 'rw' });
  view.bytes.fill(2);
  view.close();
  await coordinator.promises.rm('/removed');
  return ino;
}

/** @param {string} path */
async function lookAt(path) {
  for (const [at, fs] of mounts.entries()) {
    compare(`read at ${at}`, await fs.promises.readFile(path), content);
    const view = await fs.map(path);
    compare(`view at ${at}`, view.bytes, content);
    view.close();
  }
}

/** @type {Record<string, () => Promise<void>>} */
const scenarios = {
  async next() {
    const ino = await removeStored();
    await lookAt(await makeWithNumber(coordinator, ino));
  },
  async moved() {
    await coordinator.migrate('/removed', 'b');
    const ino = await removeStored();
    const path = await makeWithNumber(storer, ino);
    // What others have of it the next home gets with no other copy anywhere.
    await mounts.at(-1)?.promises.readFile(path);
    await coordinator.migrate(path, 'b');
    await lookAt(path);
  },
  async mapped() {
    const others = mounts.filter((fs) => fs !== storer);
    const views = await Promise.all(others.map((fs) => fs.map('/removed', { mode: 'rw' })));
    const view = await storer.map('/removed', { mode: 'rw' });
    view.bytes.fill(2);
    await coordinator.promises.rm('/removed');
    view.bytes.fill(3);
    view.close();
    for (const [at, { bytes }] of views.entries())
      compare(`view ${at} of others`, bytes, Buffer.alloc(size, 3));
    for (const each of views) each.close();
  },
};

await coordinator.promises.writeFile('/removed', Buffer.alloc(size, 1));
await scenarios[scenario]?.();
process.send?.({ kind: 'found', findings });
