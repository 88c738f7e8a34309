/** Loops over events end with the mount, and say so when the node is lost. */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startNodeProcess } from '../chaos/node-process.ts';

async function namesOf(fs: ClusterFs, created: () => void): Promise<string[]> {
  const names: string[] = [];
  for await (const { kind } of fs.events()) {
    names.push(kind);
    // The first that is heard may be of what was removed.
    if (kind === 'create') created();
  }
  return names;
}

async function listening(): Promise<{
  fs: ClusterFs;
  kill: () => Promise<void>;
  names: Promise<string[]>;
}> {
  const node = await startNodeProcess();
  const fs = await mount(node.url, { reconnectMs: 50 });
  onTestFinished(() => fs.unmount());
  let hears = false;
  const names = namesOf(fs, () => {
    hears = true;
  });
  names.catch(() => undefined);
  await expect
    .poll(async () => {
      await fs.promises.mkdir('/made', { recursive: true });
      await fs.promises.rmdir('/made');
      return hears;
    })
    .toBe(true);
  return { fs, kill: () => node.kill(), names };
}

test('the mount ends: so does the loop', async () => {
  const { fs, names } = await listening();
  await fs.unmount();
  expect(await names).toContain('create');
}, 20_000);

test('the node is lost: the loop throws why', async () => {
  const { kill, names } = await listening();
  await kill();
  await expect(names).rejects.toMatchObject({ code: 'ECONNREFUSED' });
}, 20_000);
