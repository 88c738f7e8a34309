/**
 * One client changes and another one looks: what the first was told is done, the second sees. Watching stays
 * with the first: when the second began to watch is not known to the first.
 */
import { mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';
import { startNode } from './node-process.ts';

const isRoot = process.getuid?.() === 0;

conformance({
  name: 'cluster-fs seen by a second client',
  // Names are UTF-8.
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
  async start() {
    const node = await startNode();
    const [writer, reader] = [await mount(node.url), await mount(node.url)];
    const { access, lstat, opendir, readdir, readFile, readlink, realpath, stat } = reader.promises;
    const looks = { access, lstat, opendir, readdir, readFile, readlink, realpath, stat };
    const stop = async () => {
      await Promise.all([writer.unmount(), reader.unmount()]);
      await node.stop();
    };
    return { fs: { ...writer.promises, ...looks }, sync: reader, streams: reader, root: '', stop };
  },
});
