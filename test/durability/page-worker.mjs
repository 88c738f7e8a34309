/**
 * Random reads and stores of counters, one in a page: node page-worker.mjs URL PATH view|api [OPERATIONS]
 * It ends with its input, if that is before.
 */
import { mount } from 'cluster-fs';

const pageSize = 4096;
const [url, path = '', how, operations] = process.argv.slice(2);
const fs = await mount(url);
const pages = fs.statSync(path).size / pageSize;
const counts = new Uint32Array(pages);
/** The counter of a page moves with its number, so that a page in the place of another is seen. */
const wordOf = (/** @type {number} */ page) => page % 1024;
const { get, set, close } = await (how === 'view' ? throughView() : throughHandle());

let wrong = 0;
let told = false;
process.stdin.on('end', () => (told = true)).resume();
for (let i = 0; !told && i < Number(operations ?? Number.POSITIVE_INFINITY); i++) {
  if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  const page = Math.floor(Math.random() * pages);
  const expected = counts[page] ?? 0;
  if ((await get(page)) !== expected) wrong++;
  // One that goes on for long leaves most pages as they are stored, or none could be evicted.
  if (i % 3 !== 0 || (operations === undefined && page % 16 !== 0)) continue;
  counts[page] = expected + 1;
  await set(page, expected + 1);
}
for (const [page, expected] of counts.entries()) if ((await get(page)) !== expected) wrong++;
await close();
process.stdout.write(`${wrong}\n`);
await fs.unmount();
process.stdin.destroy();

async function throughView() {
  const view = await fs.map(path, { mode: 'rw' });
  const words = new Uint32Array(view.buffer);
  return {
    get: async (/** @type {number} */ page) => words[page * 1024 + wordOf(page)],
    set: async (/** @type {number} */ page, /** @type {number} */ value) => {
      words[page * 1024 + wordOf(page)] = value;
    },
    close: async () => view.close(),
  };
}

async function throughHandle() {
  const handle = await fs.promises.open(path, 'r+');
  const word = Buffer.alloc(4);
  const at = (/** @type {number} */ page) => page * pageSize + wordOf(page) * 4;
  return {
    get: async (/** @type {number} */ page) => {
      await handle.read(word, 0, 4, at(page));
      return word.readUInt32LE();
    },
    set: async (/** @type {number} */ page, /** @type {number} */ value) => {
      word.writeUInt32LE(value);
      await handle.write(word, 0, 4, at(page));
    },
    close: () => handle.close(),
  };
}
