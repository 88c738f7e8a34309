/**
 * Files that are changed on every node while they move between nodes, and one node is stopped and started
 * again all the time: nobody who uses another one notices.
 *
 *   CLUSTERFS_CHANGES=1000 CLUSTERFS_SEED=42 npm test -- test/cluster/changing-files
 */
import { randomInt } from 'node:crypto';
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { type Random, randomOf } from '../random.mjs';
import { freePort } from './line.ts';

const changes = Number(process.env.CLUSTERFS_CHANGES ?? 60);
const seed = Number(process.env.CLUSTERFS_SEED ?? randomInt(2 ** 31));
const timeout = 60_000 + changes * 500;
const memory = 32 * 2 ** 20;
const paths = Array.from({ length: 4 }, (_, file) => `/file-${file}`);

/** What a move may fail with while a node comes and goes; the file is where it was then. */
const excuses = new Set(['EALREADY', 'EBUSY', 'ENOENT', 'ENONET', 'ESTALE', 'ECONNRESET', 'EIO']);

async function keepMoving(fs: ClusterFs, random: Random, isOver: () => boolean): Promise<number> {
  let moved = 0;
  while (!isOver()) {
    try {
      if (random.happens(0.1)) await fs.drain('b');
      else await fs.migrate(random.pick(paths), random.pick(['a', 'b', 'c']));
      moved++;
    } catch (error) {
      if (!excuses.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return moved;
}

async function keepRestarting(node: NodeProcess, changer: Child, isOver: () => boolean): Promise<number> {
  const tell = async (isThere: boolean): Promise<void> => {
    changer.send({ url: node.url, isThere });
    await changer.hear('done');
  };
  let restarts = 0;
  for (; !isOver(); restarts++) {
    await tell(false);
    await node.stop();
    await node.start();
    await tell(true);
  }
  return restarts;
}

async function startChanger(nodes: readonly NodeProcess[], until: () => void) {
  const changer = startChild('../cluster/changing-files.mjs', [
    seed,
    changes,
    ...nodes.map(({ url }) => url),
  ]);
  await changer.hear('ready');
  const changed = changer.hear<{ findings: readonly string[] }>('changed').finally(until);
  return { changer, changed };
}

test(`${changes} changes of each file, from seed ${seed}`, { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', memory, capacity: 4 * memory });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b', memory });
  const c = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'c', memory });
  const fs = await mountForTest(a);
  let isOver = false;
  const { changer, changed } = await startChanger([a, b, c], () => {
    isOver = true;
  });
  const [{ findings }, moved, restarts] = await Promise.all([
    changed,
    keepMoving(fs, randomOf(seed), () => isOver),
    keepRestarting(c, changer, () => isOver),
  ]);
  await changer.kill();
  expect(findings).toEqual([]);
  expect([moved, restarts].every((count) => count > 0)).toBe(true);
  expect([a, b, c].flatMap(({ errors }) => errors)).toEqual([]);
  expect(await fs.check()).toEqual([]);
});

test('a file that somebody else changes is noticed', { timeout }, async () => {
  const node = await startNodeProcess({ memory });
  const { promises } = await mountForTest(node);
  let isOver = false;
  const { changed } = await startChanger([node], () => {
    isOver = true;
  });
  while (!isOver) await promises.writeFile('/file-0', 'something else');
  expect((await changed).findings).not.toEqual([]);
});
