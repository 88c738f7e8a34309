/** Maps a file, and touches pages of it when it is told to: node late-toucher.mjs URL PATH */
import { mount } from 'cluster-fs';
import { leave } from '../chaos/parent.mjs';

/** Further apart than what one touch brings in. */
const stepBytes = 2 ** 18;
const [url, path = ''] = process.argv.slice(2);
const fs = await mount(url);
const view = await fs.map(path);
process.send?.({ kind: 'mapped' });
process.on('message', async () => {
  let sum = 0;
  for (let at = 0; at < view.bytes.length; at += stepBytes) sum += view.bytes[at] ?? 0;
  process.send?.({ kind: 'touched', sum });
  await fs.unmount();
  leave();
});
