/** Runs on either host: answers which words are nearest to a word, from the table that all workers share. */
import { on } from 'node:events';
import { mount } from 'cluster-fs';
import { nearest, tableFile, wordsFile } from './search.ts';

await using fs = await mount(process.argv[2]);
const words = fs.readFileSync(wordsFile, 'utf8').split('\n');
let table = await openTable();

for await (const [word] of on(process, 'message', { close: ['disconnect'] })) {
  // Is that still the file of this name? A look into shared memory, no request to anybody.
  if (fs.statSync(tableFile).ino !== table.ino) {
    table.view.close();
    table = await openTable();
  }
  process.send?.(nearest({ words, vectors: table.vectors }, word));
}

async function openTable() {
  const { ino } = fs.statSync(tableFile);
  const view = await fs.map(tableFile);
  return { ino, view, vectors: new Float32Array(view.buffer) };
}
