/** mount(directory): the node runs inside the process that uses it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mount } from 'cluster-fs';
import { conformance } from '../conformance/all.ts';

conformance({
  name: 'cluster-fs with an embedded node',
  // Modes are kept and not enforced: whoever may mount may read and write every file. Names are UTF-8.
  can: { giveFilesAway: process.getuid?.() === 0, refuseByMode: false, rawNames: false, sparseFiles: true },
  async start() {
    const directory = await mkdtemp(join(tmpdir(), 'clusterfs-test-'));
    const fs = await mount(directory);
    const stop = () => fs.unmount().finally(() => rm(directory, { recursive: true, force: true }));
    return { fs: fs.promises, sync: fs, streams: fs, root: '', stop };
  },
});
