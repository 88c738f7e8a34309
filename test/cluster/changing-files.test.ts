/**
 * Files that are changed on every node while they move between nodes, and one node is stopped and started
 * again all the time: nobody who uses another one notices. When it is killed, or is the coordinator, what
 * fails is asked again.
 *
 *   CLUSTERFS_CHANGES=1000 CLUSTERFS_SEED=42 npm test -- test/cluster/changing-files
 *
 * CLUSTERFS_KEPT=3: with so many views of each file that last, and not 2, where nodes are not killed.
 */
import { randomInt } from 'node:crypto';
import type { ClusterFs } from 'cluster-fs';
import { describe, expect, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, newStore, startNodeProcess } from '../chaos/node-process.ts';
import { type Random, randomOf } from '../random.mjs';
import { freePort } from './line.ts';

const changes = Number(process.env.CLUSTERFS_CHANGES ?? 60);
const seed = Number(process.env.CLUSTERFS_SEED ?? randomInt(2 ** 31));
const timeout = 60_000 + changes * 500;
const memory = 32 * 2 ** 20;
const paths = Array.from({ length: 4 }, (_, file) => `/file-${file}`);

/** What a move may fail with while a node comes and goes; the file is where it was then. */
const excuses = ['EALREADY', 'EBUSY', 'ENOENT', 'ENONET', 'ESTALE', 'ECONNRESET', 'EIO'];

interface Moving {
  readonly random: Random;
  /** What a move may fail with besides. */
  readonly again: readonly string[];
  readonly isOver: () => boolean;
}

async function keepMoving(fs: ClusterFs, { random, again, isOver }: Moving): Promise<number> {
  const excused = new Set([...excuses, ...again]);
  let moved = 0;
  while (!isOver()) {
    try {
      if (random.happens(0.1)) await fs.drain('b');
      else await fs.migrate(random.pick(paths), random.pick(['a', 'b', 'c']));
      moved++;
    } catch (error) {
      if (!excused.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return moved;
}

interface Restarting {
  readonly changer: Child;
  /** How many changes are made before it is stopped again. */
  readonly changes: number;
  readonly end: 'stop' | 'kill';
  readonly isOver: () => boolean;
}

async function keepRestarting(
  node: NodeProcess,
  { changer, changes, end, isOver }: Restarting,
): Promise<number> {
  const tell = async (order: { readonly isThere: boolean; readonly changes: number }): Promise<void> => {
    changer.send({ url: node.url, ...order });
    await changer.hear('done');
  };
  let restarts = 0;
  for (; !isOver(); restarts++) {
    await tell({ isThere: false, changes: 0 });
    await node[end]();
    await node.start();
    await tell({ isThere: true, changes });
  }
  return restarts;
}

interface Changing {
  readonly changes: number;
  readonly again?: readonly string[];
  readonly until: () => void;
}

async function startChanger(nodes: readonly NodeProcess[], { changes, again = [], until }: Changing) {
  const args = [seed, changes, again.join(), ...nodes.map(({ url }) => url)];
  const changer = startChild('../cluster/changing-files.mjs', args);
  await changer.hear('ready');
  const changed = changer.hear<{ findings: readonly string[] }>('changed').finally(until);
  return { changer, changed };
}

/** What a request may fail with that was under way to a node that was killed, or waited for it. */
const again = ['ECONNRESET', 'ETIMEDOUT', 'EIO'];
/** Each kill takes the others a lease. */
const few = Math.ceil(changes / 4);
/** Without a store a node that stops gives its files away; with one it keeps them, and others wait for it. */
const kinds = [
  { node: 'c', is: 'stopped', isStored: false, end: 'stop', changes, between: 0, again: [] },
  { node: 'c', is: 'stopped, with stores', isStored: true, end: 'stop', changes, between: 20, again: [] },
  { node: 'c', is: 'killed', isStored: false, end: 'kill', changes: few, between: 20, again },
  { node: 'c', is: 'killed, with stores', isStored: true, end: 'kill', changes: few, between: 20, again },
  { node: 'a', is: 'killed', isStored: false, end: 'kill', changes: few, between: 20, again },
  {
    node: 'a',
    is: 'killed, with stores',
    isStored: true,
    end: 'kill',
    changes: few,
    between: 20,
    again,
  },
  {
    node: 'a',
    is: 'stopped, with stores',
    isStored: true,
    end: 'stop',
    changes: few,
    between: 20,
    again,
  },
] as const;

describe.each(kinds)(`node $node, $is; seed ${seed}`, (kind) => {
  const { node, isStored, end, between, again } = kind;
  test(`${kind.changes} changes of each file`, { timeout }, async () => {
    const joinPort = await freePort();
    const common = () => ({ memory, capacity: 4 * memory, ...(isStored ? { store: newStore() } : {}) });
    const a = await startNodeProcess({ ...common(), peerPort: joinPort, name: 'a' });
    const b = await startNodeProcess({ ...common(), joinPort, peerPort: await freePort(), name: 'b' });
    const c = await startNodeProcess({ ...common(), joinPort, peerPort: await freePort(), name: 'c' });
    const fs = await mountForTest(node === 'a' ? b : a);
    let hasEnded = false;
    const isOver = () => hasEnded;
    const until = () => {
      hasEnded = true;
    };
    const { changer, changed } = await startChanger([a, b, c], { changes: kind.changes, again, until });
    const [{ findings }, moved, restarts] = await Promise.all([
      changed,
      keepMoving(fs, { random: randomOf(seed), again, isOver }),
      keepRestarting(node === 'a' ? a : c, { changer, changes: between, end, isOver }),
    ]);
    await changer.kill();
    const errors = [a, b, c].flatMap((each) => each.errors);
    expect({ findings, errors }).toEqual({ findings: [], errors: [] });
    expect([moved, restarts].every((count) => count > 0)).toBe(true);
    expect(await fs.check()).toEqual([]);
  });
});

test('a file that somebody else changes is noticed', { timeout }, async () => {
  const node = await startNodeProcess({ memory });
  const { promises } = await mountForTest(node);
  let isOver = false;
  const until = () => {
    isOver = true;
  };
  const { changed } = await startChanger([node], { changes, until });
  while (!isOver) await promises.writeFile('/file-0', 'something else');
  expect((await changed).findings).not.toEqual([]);
});
