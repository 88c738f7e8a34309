/** mount('tcp://...'): a node of this process alone, which has the files of another one. */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { conformance } from '../conformance/all.ts';
import { expectGone, inMemoryFiles } from './in-memory-files.ts';
import { type NodeProcess, startNode } from './node-process.ts';

const isRoot = process.getuid?.() === 0;
const startHome = (): Promise<NodeProcess> => startNode({ options: ['--listen', 'tcp://127.0.0.1:0'] });

conformance({
  name: 'cluster-fs mounted from another host',
  // Names are UTF-8.
  can: { giveFilesAway: isRoot, refuseByMode: !isRoot, rawNames: false, sparseFiles: true },
  async start() {
    const home = await startHome();
    const fs = await mount(home.peerUrl ?? '');
    const stop = async () => {
      const files = await inMemoryFiles('self');
      await fs.unmount();
      expectGone(files);
      await home.stop();
    };
    return { fs: fs.promises, sync: fs, streams: fs, root: '', stop };
  },
});

test('a mount from another host has the files of the home, in views too', async () => {
  const home = await startHome();
  onTestFinished(() => home.stop());
  const [there, here] = (await Promise.all([mount(home.url), mount(home.peerUrl ?? '')])) as [
    ClusterFs,
    ClusterFs,
  ];
  onTestFinished(async () => void (await Promise.all([there.unmount(), here.unmount()])));
  await there.promises.writeFile('/shared', Buffer.alloc(200_000, 1));
  const [their, ours] = [
    await there.map('/shared', { mode: 'rw' }),
    await here.map('/shared', { mode: 'rw' }),
  ];
  for (let i = 0; i < 100; i++) {
    their.bytes[i] = i;
    ours.bytes[i + 100_000] = i;
    expect([ours.bytes[i], their.bytes[i + 100_000]]).toEqual([i, i]);
  }
});

test.each([
  ['tcp://127.0.0.1:1', 'ECONNREFUSED'],
  ['tcp://nowhere', 'EINVAL'],
])('%s is %s', async (url, code) => {
  await expect(mount(url)).rejects.toMatchObject({ code });
});
