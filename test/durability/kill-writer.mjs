/**
 * Changes files for ever, whoever dies meanwhile, and tells what it begins, what was answered and what was
 * synced: node kill-writer.mjs URL DIRECTORY FILES FIRST_VERSION
 */
import { mount } from 'cluster-fs';
import { contentOf } from './storm-content.mjs';

const [url, directory = '', files, first] = process.argv.slice(2);
const fs = await mount(url);
/** What a change fails with when the node goes; it may have come true or not. */
const whenLost = ['ECONNRESET', 'ENOTCONN', 'EAGAIN', 'ESTALE', 'ETIMEDOUT'];
// What is told has left this process before anything is done.
const tell = (/** @type {object} */ message) =>
  new Promise((done) => void process.send?.(message, undefined, undefined, done));
const pick = (/** @type {number} */ count) => Math.floor(Math.random() * count);
/** From one byte to 300 KiB, most of them small. */
const randomSize = () => Math.max(1, Math.floor(300 * 1024 * Math.random() ** 4));

for (let version = Number(first); ; version++) {
  try {
    await fs.promises.mkdir(directory, { recursive: true });
    await change(`${directory}/${pick(Number(files))}`, version);
  } catch (error) {
    const { code = '', stack } = /** @type {NodeJS.ErrnoException} */ (error);
    if (!whenLost.includes(code)) await tell({ kind: 'failed', text: stack });
    await untilNodeIsBack();
  }
}

async function change(/** @type {string} */ path, /** @type {number} */ version) {
  const before = fs.existsSync(path) ? fs.statSync(path).size : 0;
  const how = before === 0 ? 'put' : (['put', 'in place', 'rename', 'remove'][pick(4)] ?? 'put');
  const size = how === 'in place' ? before : how === 'remove' ? 0 : randomSize();
  await tell({ kind: 'begun', path, version, size, how });
  await apply(how, path, contentOf(path, { version, size }));
  await tell({ kind: 'answered', path, version });
  if (pick(3) > 0) return;
  if (how === 'remove' || pick(4) === 0) await fs.sync();
  else await syncFile(path);
  await tell({ kind: 'synced', path, version });
}

async function apply(/** @type {string} */ how, /** @type {string} */ path, /** @type {Buffer} */ content) {
  const { promises } = fs;
  if (how === 'remove') await promises.unlink(path);
  else if (how === 'put') await promises.writeFile(path, content);
  else if (how === 'rename') {
    await promises.writeFile(`${path}.new`, content);
    await promises.rename(`${path}.new`, path);
  } else {
    const handle = await promises.open(path, 'r+');
    await handle.write(content, 0, content.length, 0);
    await handle.close();
  }
}

async function syncFile(/** @type {string} */ path) {
  const handle = await fs.promises.open(path);
  await handle.sync();
  await handle.close();
}

async function untilNodeIsBack() {
  for (;;) {
    try {
      await fs.status();
      return;
    } catch {
      await new Promise((done) => setImmediate(done));
    }
  }
}
