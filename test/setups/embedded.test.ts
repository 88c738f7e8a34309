/** mount(directory): the node runs inside the process that uses it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';
import { expectGone, inMemoryFiles } from './in-memory-files.ts';

const isRoot = process.getuid?.() === 0;

conformance({
  name: 'cluster-fs with an embedded node',
  // Names are UTF-8.
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
  async start() {
    const directory = await mkdtemp(join(tmpdir(), 'clusterfs-test-'));
    const fs = await mount(directory);
    const stop = async () => {
      const files = await inMemoryFiles('self');
      await fs.unmount();
      expectGone(files);
      await rm(directory, { recursive: true });
    };
    return { fs: fs.promises, sync: fs, streams: fs, root: '', stop };
  },
});
