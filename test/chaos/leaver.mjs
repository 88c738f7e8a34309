/** Mounts `url` in argv, ends the mount when it is told to, and lives on. */
import { mount } from 'cluster-fs';
import './parent.mjs';

const fs = await mount(process.argv[2], { label: 'leaver' });
const view = await fs.map('/large', { mode: 'rw' });
view.bytes[0] = 1;
process.on('message', async () => {
  await fs.unmount();
  process.send?.({ kind: 'unmounted' });
});
process.send?.({ kind: 'mounted' });
