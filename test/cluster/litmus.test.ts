/**
 * Loads and stores of several hosts are in one order: the litmus tests of memory models, through views on
 * three nodes. Each has outcomes that no such order gives.
 */
import { fileURLToPath } from 'node:url';
import { mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { startThreeNodes } from '../setups/two-nodes.ts';

const rounds = Number(process.env.CLUSTERFS_LITMUS_ROUNDS ?? 300);
const timeout = 60_000 + rounds * 50;

type Node = 'home' | 'member' | 'other';
type Read = readonly number[];
interface Litmus {
  /** What each thread does, on which node. */
  readonly threads: readonly (readonly [role: string, node: Node])[];
  /** What the threads read in one round, in their order, that no order of all accesses gives. */
  isForbidden(...read: readonly Read[]): boolean;
}

const messagePassing = (writer: Node, reader: Node): Litmus => ({
  threads: [
    ['store x, store y', writer],
    ['load y, load x', reader],
  ],
  isForbidden: (_, [y, x]) => y === 1 && x === 0,
});

const tests: Readonly<Record<string, Litmus>> = {
  'message passing, home to member': messagePassing('home', 'member'),
  'message passing, member to home': messagePassing('member', 'home'),
  'message passing, member to member': messagePassing('member', 'other'),
  'store buffering': {
    threads: [
      ['store x, load y', 'home'],
      ['store y, load x', 'member'],
    ],
    isForbidden: ([y], [x]) => y === 0 && x === 0,
  },
  'load buffering': {
    threads: [
      ['load x, store y', 'home'],
      ['load y, store x', 'member'],
    ],
    isForbidden: ([x], [y]) => x === 1 && y === 1,
  },
  'independent reads of independent writes': {
    threads: [
      ['store x', 'home'],
      ['store y', 'member'],
      ['load x, load y', 'member'],
      ['load y, load x', 'other'],
    ],
    isForbidden: (_, __, [x1, y1], [y2, x2]) => x1 === 1 && y1 === 0 && y2 === 1 && x2 === 0,
  },
  'coherence of one location': {
    threads: [
      ['store x twice', 'home'],
      ['load x twice', 'member'],
    ],
    isForbidden: (_, [first = 0, second = 0]) => second < first,
  },
};

describe.each(['apart', 'in one block'] as const)('with locations %s', (place) => {
  test.each(Object.entries(tests))('%s', { timeout }, async (name, litmus) => {
    const outcomes = await run(litmus, place);
    expect(outcomes).toHaveLength(rounds);
    expect(outcomes.filter((read) => litmus.isForbidden(...read))).toEqual([]);
    // They did it at the same time, and not one after the other.
    if (name.startsWith('message passing'))
      expect(new Set(outcomes.map((read) => read.join('/'))).size).toBeGreaterThan(1);
  });
});

test('with a node that keeps the pages it gives up they fail', { timeout }, async () => {
  const broken = fileURLToPath(new URL('keeps-pages.mjs', import.meta.url));
  const litmus = tests['store buffering'] as Litmus;
  const outcomes = await run(litmus, 'apart', { member: ['--import', broken] });
  expect(outcomes.filter((read) => litmus.isForbidden(...read))).not.toEqual([]);
});

/** What the threads read, round by round. */
async function run(
  { threads }: Litmus,
  place: 'apart' | 'in one block',
  execArgv: { readonly member?: readonly string[] } = {},
): Promise<Read[][]> {
  const nodes = await startThreeNodes({ execArgv });
  onTestFinished(() => nodes.stop());
  const fs = await mount(nodes.home.url);
  const size = rounds * 4;
  await fs.promises.writeFile('/litmus-x', Buffer.alloc(place === 'apart' ? size : 2 * size));
  if (place === 'apart') await fs.promises.writeFile('/litmus-y', Buffer.alloc(size));
  else await fs.promises.link('/litmus-x', '/litmus-y');
  await fs.promises.writeFile('/litmus-begun', Buffer.alloc(threads.length * 65_536));
  await fs.unmount();
  const children: Child[] = threads.map(([role, node], i) =>
    startChild('../cluster/litmus-thread.mjs', [
      nodes[node].url,
      'litmus',
      role,
      i,
      threads.length,
      rounds,
      place,
    ]),
  );
  await Promise.all(children.map((child) => child.hear('ready')));
  for (const child of children) child.send('go');
  const told = await Promise.all(children.map((child) => child.hear<{ read: Read[] }>('read')));
  return Array.from({ length: rounds }, (_, i) => told.map(({ read }) => read[i] ?? []));
}
