/** A node that joined another one: everything is decided elsewhere, and read from memory of its own. */
import { mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';
import { startTwoNodes } from './two-nodes.ts';

const isRoot = process.getuid?.() === 0;

conformance({
  name: 'cluster-fs on a node that joined another one',
  // Names are UTF-8.
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
  async start() {
    const nodes = await startTwoNodes();
    const fs = await mount(nodes.member.url);
    const stop = () => fs.unmount().finally(() => nodes.stop());
    return { fs: fs.promises, sync: fs, streams: fs, root: '', stop };
  },
});
