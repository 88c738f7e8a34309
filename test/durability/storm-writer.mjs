/**
 * Writes versions of files for ever, syncs some, and tells what it begins and what was synced:
 * node storm-writer.mjs URL DIRECTORY FILES FIRST_VERSION
 */
import { mount } from 'cluster-fs';
import { contentOf } from './storm-content.mjs';

const [url, directory = '', files, first] = process.argv.slice(2);
const fs = await mount(url);
// What is told has left this process before anything is done.
const tell = (/** @type {object} */ message) =>
  new Promise((done) => void process.send?.(message, undefined, undefined, done));
const pick = (/** @type {number} */ count) => Math.floor(Math.random() * count);
/** From one byte to 300 KiB, most of them small. */
const randomSize = () => Math.max(1, Math.floor(300 * 1024 * Math.random() ** 4));

await fs.promises.mkdir(directory, { recursive: true });
try {
  for (let version = Number(first); ; version++)
    await writeVersion(`${directory}/${pick(Number(files))}`, version);
} catch {
  // The node is gone; what was on its way may be there or not.
  process.disconnect();
}

async function writeVersion(/** @type {string} */ path, /** @type {number} */ version) {
  const before = fs.existsSync(path) ? fs.statSync(path).size : 0;
  const inPlace = before > 0 && pick(2) === 0;
  const size = inPlace ? before : randomSize();
  const content = contentOf(path, { version, size });
  await tell({ kind: 'begun', path, version, size });
  if (inPlace) await writeInPlace(path, content);
  else await fs.promises.writeFile(path, content);
  if (pick(3) > 0) return;
  if (pick(4) === 0) await fs.sync();
  else await syncFile(path);
  await tell({ kind: 'synced', path, version });
}

/** All of the file by one call. */
async function writeInPlace(/** @type {string} */ path, /** @type {Buffer} */ content) {
  const handle = await fs.promises.open(path, 'r+');
  const { bytesWritten } = await handle.write(content, 0, content.length, 0);
  if (bytesWritten !== content.length) throw new Error(`${bytesWritten} of ${content.length} bytes`);
  await handle.close();
}

async function syncFile(/** @type {string} */ path) {
  const handle = await fs.promises.open(path);
  await handle.sync();
  await handle.close();
}
