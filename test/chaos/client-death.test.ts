/** kill -9 of a client in the middle of everything: within a second nothing of it is left in the node. */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startChild } from './children.ts';
import { randomOf } from './content.mjs';
import { type NodeProcess, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const withinASecond = { timeout: 1000, interval: 20 };

test('what a killed client held is gone within a second, and df is what it was', async () => {
  const random = randomOf(Date.now());
  const { node, fs } = await startWithFiles();
  const before = await account(node, fs);
  for (let round = 0; round < 8; round++) {
    const victim = startChild('victim.mjs', [node.url]);
    await victim.hear('holding');
    for (let i = random(30); i > 0; i--) await victim.hear('worked');
    await victim.kill();
    await expect.poll(async () => (await account(node, fs)).held, withinASecond).toEqual(before.held);
    await fs.promises.rm('/victim', { recursive: true, force: true });
    expect(await account(node, fs)).toEqual(before);
    expect(await fs.check()).toEqual([]);
    expect(node.errors).toEqual([]);
  }
}, 60_000);

test('files that a killed client held can be changed at once', async () => {
  const { node, fs } = await startWithFiles();
  const victim = startChild('victim.mjs', [node.url]);
  await victim.hear('holding');
  await victim.kill();
  await expect.poll(async () => (await fs.holders()).length, withinASecond).toBe(0);
  for (const path of ['/shared', '/held', '/grown', '/leased']) {
    await fs.move(path);
    await fs.promises.truncate(path, 100);
    await fs.promises.appendFile(path, 'more');
    await fs.promises.writeFile(path, 'new');
  }
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('a client and its node killed together leave what was acknowledged, and nothing else', async () => {
  const { node, fs } = await startWithFiles();
  await fs.promises.mkdir('/victim');
  const before = await account(node, fs);
  for (let round = 0; round < 5; round++) {
    const victim = startChild('victim.mjs', [node.url]);
    await victim.hear('holding');
    await victim.hear('worked');
    await Promise.all([victim.kill(), node.kill()]);
    await node.start();
    await expect.poll(async () => (await account(node, fs)).held, { timeout: 3000 }).toEqual(before.held);
    expect(await fs.check()).toEqual([]);
    expect((await fs.promises.readFile('/leased')).equals(Buffer.alloc(100_000, 1))).toBe(true);
    await fs.promises.rm('/victim', { recursive: true });
    await fs.promises.mkdir('/victim');
    expect((await account(node, fs)).space).toEqual(before.space);
  }
}, 60_000);

async function startWithFiles(): Promise<{ node: NodeProcess; fs: ClusterFs }> {
  const node = await startNodeProcess({ memory: 64 * MiB });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  for (const path of ['/shared', '/held', '/grown', '/leased']) {
    await fs.promises.writeFile(path, Buffer.alloc(path === '/shared' ? 2 * MiB : 100_000, 1));
  }
  return { node, fs };
}

interface Status {
  readonly freeBytes: number;
  readonly usedBytes: number;
  readonly quarantinedBytes: number;
  readonly reservedBytes: number;
  readonly freeInodes: number;
  readonly sessions: readonly { readonly views: number; readonly handles: number }[];
  readonly waiting: readonly unknown[];
  readonly unresolvedSessions: readonly unknown[];
}

/** All that a client can have of the node's. */
async function account(node: NodeProcess, fs: ClusterFs) {
  const status = (await fs.status()) as unknown as Status;
  const { freeBytes, usedBytes, quarantinedBytes, reservedBytes, freeInodes, waiting, unresolvedSessions } =
    status;
  return {
    held: {
      sessions: status.sessions.map(({ views, handles }) => ({ views, handles })),
      descriptors: node.descriptors().length,
      quarantinedBytes,
      waiting,
      unresolvedSessions,
    },
    space: { takenBytes: usedBytes + quarantinedBytes, offeredBytes: freeBytes + reservedBytes, freeInodes },
    // Pages that this process's own stock has set aside are not the victim's.
    reservedIsOurs: reservedBytes === (await ownReserve(fs)),
  };
}

async function ownReserve(fs: ClusterFs): Promise<number> {
  const { sessions } = (await fs.status()) as unknown as { sessions: readonly { reservedBytes: number }[] };
  return sessions.reduce((sum, { reservedBytes }) => sum + reservedBytes, 0);
}
