/** Whatever is done with a file, it may be on its way to another node. */
import { mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';
import { startTwoNodes } from './two-nodes.ts';
import { wander } from './wandering.ts';

const isRoot = process.getuid?.() === 0;

conformance({
  name: 'cluster-fs whose files wander between nodes',
  // Names are UTF-8.
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
  async start() {
    const nodes = await startTwoNodes();
    const [fs, there, operator] = [
      await mount(nodes.member.url),
      await mount(nodes.home.url),
      await mount(nodes.home.url),
    ];
    const wandering = wander(operator, ['b', 'a']);
    const { access, lstat, opendir, readdir, readFile, readlink, realpath, stat } = there.promises;
    const looks = { access, lstat, opendir, readdir, readFile, readlink, realpath, stat };
    const stop = async () => {
      try {
        await wandering.stop();
      } finally {
        await Promise.all([fs.unmount(), there.unmount(), operator.unmount()]);
        await nodes.stop();
      }
    };
    return { fs: { ...fs.promises, ...looks }, sync: there, streams: there, root: '', stop };
  },
});
