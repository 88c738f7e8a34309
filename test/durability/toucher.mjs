/** Sums a file through a view: node toucher.mjs URL PATH */
import { mount } from 'cluster-fs';

const [url, path = ''] = process.argv.slice(2);
const fs = await mount(url);
const view = await fs.map(path);
let sum = 0;
for (const byte of view.bytes) sum += byte;
process.stdout.write(`${sum}\n`);
await fs.unmount();
