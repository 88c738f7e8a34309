/** mount('tcp://...'): a node of this process alone, which has the files of another one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync, utimesSync } from 'node:fs';
import { dirname } from 'node:path';
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

/** It mounts a URL, and says where its memory is. */
async function startMounted(
  url: string,
): Promise<{ readonly child: ChildProcess; readonly directory: string }> {
  const program = `import { mount } from 'cluster-fs'; await mount('${url}'); process.send('mounted');
    setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'message');
  const files = await inMemoryFiles(child.pid ?? 0);
  return { child, directory: dirname(files.find((file) => file.endsWith('/lock')) ?? '') };
}

test('what a killed process has left that was a node by itself is removed by the next one', async () => {
  const home = await startHome();
  onTestFinished(() => home.stop());
  const url = home.peerUrl ?? '';
  const [killed, living, young] = await Promise.all([
    startMounted(url),
    startMounted(url),
    startMounted(url),
  ]);
  const directories = [killed, living, young].map(({ directory }) => directory);
  expect(directories.every((directory) => existsSync(`${directory}/data`))).toBe(true);
  for (const { child } of [killed, young]) {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
  // As if that had been some time ago.
  for (const { directory } of [killed, living]) utimesSync(directory, 1, 1);
  const next = await mount(url);
  onTestFinished(() => next.unmount());
  expect(directories.map((directory) => existsSync(directory))).toEqual([false, true, true]);
  utimesSync(young.directory, 1, 1);
  const node = await startNode();
  expect(directories.map((directory) => existsSync(directory))).toEqual([false, true, false]);
  await node.stop();
  const ended = once(living.child, 'exit');
  living.child.kill('SIGKILL');
  await ended;
  rmSync(living.directory, { recursive: true });
});
