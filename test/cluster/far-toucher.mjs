/** Maps a file and touches what it is told to: url, path, mode and `onHomeLoss` in argv. */
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';

const [url, path = '', mode, onHomeLoss] = process.argv.slice(2);
const fs = await mount(url, /** @type {import('cluster-fs').MountOptions} */ ({ onHomeLoss }));
const view = await fs.map(path, { mode: /** @type {'r' | 'rw'} */ (mode) });
view.on('remap', () => process.send?.({ kind: 'remapped' }));

process.on('message', (/** @type {{ at: number, store?: number }} */ { at, store }) => {
  if (store !== undefined) view.bytes[at] = store;
  process.send?.({ kind: 'touched', value: view.bytes[at] });
});
process.send?.({ kind: 'ready' });
