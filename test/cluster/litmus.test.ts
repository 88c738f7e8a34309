/**
 * Loads and stores of several hosts are in one order: the litmus tests of memory models, through views on
 * two and on three nodes. Each has outcomes that no such order gives.
 *
 *   CLUSTERFS_LITMUS_ROUNDS=100000 npm test -- test/cluster/litmus
 */
import { fileURLToPath } from 'node:url';
import { mount } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { type NodeProcess, startNode } from '../setups/node-process.ts';
import { startThreeNodes, startTwoNodes, type ThreeNodes } from '../setups/two-nodes.ts';
import {
  independentReads,
  type Litmus,
  loadBuffering,
  messagePassing,
  oneLocation,
  onThreeNodes,
  onTwoNodes,
  type Read,
  storeBuffering,
  writeToRead,
} from './litmus-tests.ts';
import { bytesFor } from './litmus-words.mjs';

const rounds = Number(process.env.CLUSTERFS_LITMUS_ROUNDS ?? 200);
const timeout = 60_000 + rounds * 20;
/** Of an attempt to make what is broken show. */
const brokenRounds = 300;
const attempts = 10;

type Urls = Readonly<Record<'home' | 'member' | 'other', { readonly url: string }>>;
const layouts = ['apart', 'in one block'] as const;

/** Where threads meet; no part of what is tested. */
let referee: NodeProcess;
beforeAll(async () => {
  referee = await startNode();
});
afterAll(() => referee.stop());

describe('there is one order of all accesses', () => {
  let nodes: ThreeNodes;
  beforeAll(async () => {
    nodes = await startThreeNodes();
  });
  afterAll(() => nodes.stop());

  describe.each([
    ['two nodes', onTwoNodes],
    ['three nodes', onThreeNodes],
  ])('on %s', (_, tests) => {
    describe.each(layouts)('with locations %s', (place) => {
      test.each(Object.entries(tests))('%s', { timeout }, async (__, litmus) => {
        const outcomes = await run(litmus, { nodes, place, rounds });
        expect(outcomes).toHaveLength(rounds);
        expect(forbidden(litmus, outcomes)).toEqual([]);
        // They did it at the same time, and not one after the other.
        expect(new Set(outcomes.map((read) => read.join('/'))).size).toBeGreaterThan(1);
      });
    });
  });
});

describe('it is noticed', () => {
  /** A node on which threads that see nothing wrong may run, and one that is broken. */
  const start = async (program: string): Promise<Urls> => {
    const broken = fileURLToPath(new URL(program, import.meta.url));
    const { home, member, stop } = await startTwoNodes({ execArgv: { member: ['--import', broken] } });
    onTestFinished(stop);
    return { home, member, other: home };
  };

  const tooEarly = {
    'message passing': messagePassing('home', 'member'),
    'store buffering': storeBuffering('home', 'member'),
    // In an order in which what is too old is seen: it takes four to meet by chance otherwise.
    'independent reads of independent writes': {
      ...independentReads(['home', 'member'], ['home', 'member']),
      lagsMs: [0, 1.2, 0.6, 1.8],
    },
    'write to read causality': { ...writeToRead('home', 'other', 'member'), lagsMs: [0, 0.6, 1.2] },
  };
  test.each(Object.entries(tooEarly))(
    'by %s when a node says too early that a copy is gone',
    {
      timeout,
    },
    async (_, litmus) => {
      const nodes = await start('answers-early.mjs');
      await expectNoticed(litmus, { nodes, place: 'apart' });
    },
  );

  test('by coherence of one location when a node gives old bytes away', { timeout }, async () => {
    const nodes = await start('gives-old-bytes.mjs');
    // Who stores beside it makes the node give the block away while its own processes store and load.
    const litmus = { ...oneLocation('member', 'home', ['member']), lagsMs: [0.3, 0, 0.6] };
    await expectNoticed(litmus, { nodes, place: 'in one block' });
  });

  // What it forbids is to read what is stored later: copies that are too old do not make it.
  test('by load buffering when a thread stores before it loads', { timeout }, async () => {
    const { home, member, stop } = await startTwoNodes();
    onTestFinished(stop);
    const { isForbidden } = loadBuffering('home', 'member');
    const litmus: Litmus = {
      threads: [
        ['store y, load x', 'home'],
        ['load y, store x', 'member'],
      ],
      isForbidden,
    };
    await expectNoticed(litmus, { nodes: { home, member, other: member }, place: 'apart' });
  });
});

/** In as many rounds as it takes, up to a limit: what threads meet is up to chance. */
async function expectNoticed(litmus: Litmus, where: Omit<Run, 'rounds'>): Promise<void> {
  let outcomes: Read[][] = [];
  for (let attempt = 0; attempt < attempts && outcomes.length === 0; attempt++)
    outcomes = forbidden(litmus, await run(litmus, { ...where, rounds: brokenRounds }));
  expect(outcomes).not.toEqual([]);
}

const forbidden = (litmus: Litmus, outcomes: readonly Read[][]): Read[][] =>
  outcomes.filter((read) => litmus.isForbidden(...read));

interface Run {
  readonly nodes: Urls;
  readonly place: (typeof layouts)[number];
  readonly rounds: number;
}

/** What the threads read, round by round. */
async function run({ threads, lagsMs = [] }: Litmus, { nodes, place, rounds }: Run): Promise<Read[][]> {
  const fs = await mount(nodes.home.url);
  for (const path of ['/x', '/y']) await fs.promises.writeFile(path, Buffer.alloc(bytesFor(rounds)));
  await fs.unmount();
  const meeting = await mount(referee.url);
  await meeting.promises.writeFile('/begun', Buffer.alloc(4096));
  await meeting.unmount();
  const children: Child[] = threads.map(([role, node], i) =>
    startChild('../cluster/litmus-thread.mjs', [
      nodes[node].url,
      referee.url,
      role,
      i,
      threads.length,
      rounds,
      place,
      lagsMs.join(),
    ]),
  );
  await Promise.all(children.map((child) => child.hear('ready')));
  for (const child of children) child.send('go');
  const told = await Promise.all(children.map((child) => child.hear<{ read: Read[] }>('read')));
  await Promise.all(children.map((child) => child.ended()));
  return Array.from({ length: rounds }, (_, i) => told.map(({ read }) => read[i] ?? []));
}
