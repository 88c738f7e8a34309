/** Maps a file to write, and stores what it is told to: `url`, `path`, maybe bytes to reserve, in argv. */
import { mount } from 'cluster-fs';
import { leave } from './parent.mjs';

const [url, path = '', reserve] = process.argv.slice(2);
const fs = await mount(url, { label: 'storer' });
const view = await fs.map(
  path,
  reserve === undefined ? { mode: 'rw' } : { mode: 'rw', reserve: Number(reserve) },
);

fs.on('back', () => process.send?.({ kind: 'back' }));
process.on('message', (/** @type {{ at: number, value: number } | 'leave'} */ message) => {
  if (message === 'leave') {
    void fs.unmount().then(leave);
    return;
  }
  view.bytes[message.at] = message.value;
  process.send?.({ kind: 'stored', seen: view.bytes[message.at] });
});
process.send?.({ kind: 'ready' });
