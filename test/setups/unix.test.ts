/** A node in a process of its own, mounted over its Unix socket. */
import { mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';
import { startNode } from './node-process.ts';

const isRoot = process.getuid?.() === 0;

conformance({
  name: 'cluster-fs over a unix socket',
  // Names are UTF-8.
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
  async start() {
    const node = await startNode();
    const fs = await mount(node.url);
    const stop = () => fs.unmount().finally(() => node.stop());
    return { fs: fs.promises, sync: fs, streams: fs, root: '', stop };
  },
});
