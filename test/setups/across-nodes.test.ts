/** A client of one node changes, one of another looks: what the first was told is done, the second sees. */
import { type ClusterFs, mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';
import { startTwoNodes, type TwoNodes } from './two-nodes.ts';

const isRoot = process.getuid?.() === 0;

const ways: Record<string, (nodes: TwoNodes) => [writer: string, reader: string]> = {
  'its home, seen by another node': ({ home, member }) => [home.url, member.url],
  'another node, seen by its home': ({ home, member }) => [member.url, home.url],
};

for (const [way, sides] of Object.entries(ways)) {
  conformance({
    name: `cluster-fs changed on ${way}`,
    // Names are UTF-8.
    can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
    async start() {
      const nodes = await startTwoNodes();
      const [writer, reader] = (await Promise.all(sides(nodes).map((url) => mount(url)))) as [
        ClusterFs,
        ClusterFs,
      ];
      const { access, lstat, opendir, readdir, readFile, readlink, realpath, stat } = reader.promises;
      const looks = { access, lstat, opendir, readdir, readFile, readlink, realpath, stat };
      const stop = async () => {
        await Promise.all([writer.unmount(), reader.unmount()]);
        await nodes.stop();
      };
      return { fs: { ...writer.promises, ...looks }, sync: reader, streams: reader, root: '', stop };
    },
  });
}
