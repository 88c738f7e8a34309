/** The oracle: what the suites ask for is what Linux does. */
import fs from 'node:fs';
import { conformance } from '../conformance/all.ts';

const isRoot = process.getuid?.() === 0;

conformance({
  name: 'node:fs on tmpfs',
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: true, sparseFiles: true },
  async start() {
    const root = await fs.promises.mkdtemp('/dev/shm/cluster-fs-conformance-');
    const stop = () => fs.promises.rm(root, { recursive: true, force: true });
    return { fs: fs.promises, sync: fs, streams: fs, root, stop };
  },
});
