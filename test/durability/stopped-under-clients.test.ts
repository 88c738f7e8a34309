/** A node with a store that is stopped while clients map files: what they store from then on. */
import { existsSync, utimesSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, newStore, startNodeProcess } from '../chaos/node-process.ts';
import { startNode } from '../setups/node-process.ts';
import { cutPower, never, storeReport } from './power.ts';

interface Scene {
  readonly node: NodeProcess;
  readonly child: Child;
}

/** A client of it alone, which has stored one byte. */
async function start(): Promise<Scene> {
  const node = await startNodeProcess({ store: newStore(), writeBackMs: never });
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/file', Buffer.alloc(65_536));
  await fs.unmount();
  const child = startChild('storer.mjs', [node.url, '/file']);
  await child.hear('ready');
  await store1(child, 0);
  return { node, child };
}

async function store1(child: Child, at: number): Promise<void> {
  child.send({ at, value: 1 });
  await child.hear('stored');
}

const firstBytes = async (node: NodeProcess): Promise<number[]> => {
  const fs = await mountForTest(node);
  return [...(await fs.promises.readFile('/file')).subarray(0, 3)];
};

test('goes to the next node, and to its store, also when they have died by then', async () => {
  const { node, child } = await start();
  await node.stop();
  expect(node.notices.join()).toContain(node.runDirectory);
  await store1(child, 1);
  await child.kill();
  await node.start();
  const fs = await mountForTest(node);
  expect(await storeReport(fs)).toMatchObject({ dirtyFiles: 1 });
  await fs.sync();
  await fs.evict('/file');
  expect(await firstBytes(node)).toEqual([1, 1, 0]);
  expect(await fs.check()).toEqual([]);
});

test('is as at the stop when power is lost behind that', async () => {
  const { node, child } = await start();
  await node.stop();
  await store1(child, 1);
  await child.kill();
  await cutPower(node);
  await node.start();
  expect(await firstBytes(node)).toEqual([1, 0, 0]);
});

test('what was answered while it stopped is in the store', async () => {
  const { node } = await start();
  const fs = await mountForTest(node);
  const answered: string[] = [];
  const write = async (): Promise<void> => {
    for (let i = 0; ; i++) {
      await fs.promises.writeFile(`/answered-${i}`, Buffer.alloc(200_000, i));
      answered.push(`/answered-${i}`);
    }
  };
  const ended = write().catch(({ code }: NodeJS.ErrnoException) => code);
  await expect.poll(() => answered.length).toBeGreaterThan(20);
  await node.stop();
  // What is asked from here on waits for the next node.
  await fs.unmount();
  // Refused by the node, or by the unmount.
  expect(['ECONNRESET', 'EBADF']).toContain(await ended);
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  for (const [i, path] of answered.entries())
    expect((await again.promises.readFile(path)).equals(Buffer.alloc(200_000, i)), path).toBe(true);
  expect(await again.check()).toEqual([]);
});

test('and when they have unmounted, nothing is left', async () => {
  const { node, child } = await start();
  child.send('leave');
  await child.ended();
  await node.stop();
  expect(existsSync(node.runDirectory)).toBe(false);
  await node.start();
  expect(await firstBytes(node)).toEqual([1, 0, 0]);
});

test('another node that is started removes it ten minutes later, when none of them is left', async () => {
  const { node, child } = await start();
  await node.stop();
  await store1(child, 1);
  const elevenMinutesAgo = new Date(Date.now() - 660_000);
  const isThereBehindAnother = async (): Promise<boolean> => {
    await (await startNode()).stop();
    return existsSync(node.runDirectory);
  };
  utimesSync(`${node.runDirectory}/disposable`, elevenMinutesAgo, elevenMinutesAgo);
  expect(await isThereBehindAnother()).toBe(true);
  await node.start();
  await node.stop();
  await child.kill();
  expect(await isThereBehindAnother()).toBe(true);
  utimesSync(`${node.runDirectory}/disposable`, elevenMinutesAgo, elevenMinutesAgo);
  expect(await isThereBehindAnother()).toBe(false);
});
