/**
 * Maps a file to read and looks at it all the time: url, path, 'pinned' or 'on-demand', 'live' or 'manual' in
 * argv. Asked, it says which bytes its pages begin with now, and whether any of them went back.
 */
import { mount } from 'cluster-fs';
import '../chaos/parent.mjs';

const [url, path = '', mode, follow] = process.argv.slice(2);
const options = /** @type {import('cluster-fs').MountOptions} */ ({ mode });
const fs = await mount(url, options);
const view = await fs.map(path, { follow: /** @type {'live' | 'manual'} */ (follow) });
const pages = view.bytes.length / 4096;
const last = new Uint8Array(pages);
let wentBack = 0;
let looks = 0;

function look() {
  for (let page = 0; page < pages; page++) {
    const value = view.bytes[page * 4096] ?? 0;
    if (value < (last[page] ?? 0)) wentBack++;
    last[page] = value;
  }
  looks++;
  setImmediate(look);
}

process.on('message', (what) => {
  const said = () => {
    const values = Array.from({ length: pages }, (_, page) => view.bytes[page * 4096] ?? 0);
    process.send?.({ kind: 'seen', values: [...new Set(values)], wentBack, looks });
  };
  if (what === 'advance') view.advance().then(said);
  else said();
});
view.on('change', () => process.send?.({ kind: 'change' }));
process.send?.({ kind: 'ready', session: fs.session.id });
look();
