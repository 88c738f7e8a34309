/**
 * A file that is counted in by processes on two nodes, while it moves, grows, shrinks and is packed from
 * either: no store is lost, no wrong byte is seen.
 */
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import {
  foreignWord,
  initialContent,
  lostIncrements,
  Observer,
  wordsPerPage,
  writerCount,
} from '../chaos/counters.mjs';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const changes = Number(process.env.CLUSTERFS_TORTURE_CHANGES ?? 40);
const pageBytes = wordsPerPage * 4;

interface Report {
  readonly role: 'writer' | 'reader';
  readonly index: number;
  readonly counts: readonly number[];
  readonly findings: readonly string[];
  readonly sameAddress: boolean;
}

test.each(['yielding', 'busy'] as const)(
  `${changes} changes from both nodes lose nothing (main threads: %s)`,
  { timeout: 30_000 + changes * 500 },
  async (style) => {
    const peerPort = await freePort();
    const home = await startNodeProcess({ peerPort });
    const member = await startNodeProcess({ joinPort: peerPort });
    const [here, there] = [await mountForTest(home), await mountForTest(member)];
    await here.promises.writeFile('/counters', initialContent());
    await here.promises.writeFile('/control', Buffer.alloc(pageBytes));
    const clients = await startClients(style, [home, member]);
    const control = await here.map('/control', { mode: 'rw' });

    for (let i = 0; i < changes; i++) await change(i % 2 === 0 ? there : here, i);
    Atomics.store(new Int32Array(control.buffer), 0, 1);
    const reports = await Promise.all(clients.map((client) => client.hear<Report>('report')));

    for (const fs of [here, there]) {
      await expectNothingLost(fs, reports);
      expect(await fs.check()).toEqual([]);
    }
    for (const client of clients) client.send('leave');
    await Promise.all(clients.map((client) => client.ended()));
    expect([...home.errors, ...member.errors]).toEqual([]);
  },
);

/** Writers and readers, by turns on either node. */
async function startClients(style: string, nodes: readonly [NodeProcess, NodeProcess]): Promise<Child[]> {
  const urlOf = (i: number): string => (i % 2 === 0 ? nodes[0] : nodes[1]).url;
  const clients = [
    ...Array.from({ length: writerCount }, (_, i) =>
      startChild('torture-client.mjs', ['writer', i, style, urlOf(i)]),
    ),
    ...[0, 1].map((i) => startChild('torture-client.mjs', ['reader', i, style, urlOf(i)])),
  ];
  await Promise.all(clients.map((client) => client.hear('ready')));
  return clients;
}

/** One change of where the counters lie, or of what lies beside them. */
async function change(fs: ClusterFs, i: number): Promise<void> {
  const files = fs.promises;
  switch (i % 10) {
    case 3: // Replaced by another, as a whole.
      await files.writeFile('/new', new Uint32Array((1 + (i % 90)) * wordsPerPage).fill(foreignWord));
      return files.rename('/new', '/foreign');
    case 4: {
      // Grows by pages of zeros, and loses some of them again.
      const { size } = await files.stat('/counters');
      await files.truncate('/counters', size + 4 * pageBytes);
      return files.truncate('/counters', size + pageBytes);
    }
    case 5:
      return files.truncate('/foreign', (i % 7) * pageBytes).catch(() => undefined);
    case 9:
      await fs.defrag();
      return;
    default:
      await fs.move('/counters');
  }
}

async function expectNothingLost(fs: ClusterFs, reports: readonly Report[]): Promise<void> {
  const bytes = await fs.promises.readFile('/counters');
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const final = new Observer();
  final.look(words);
  expect(final.findings).toEqual([]);
  for (const { role, index, counts, findings, sameAddress } of reports) {
    expect(findings).toEqual([]);
    expect(sameAddress).toBe(true);
    if (role !== 'writer') continue;
    expect(lostIncrements(words, index, Uint32Array.from(counts)).slice(0, 10)).toEqual([]);
    expect(Math.max(...counts)).toBeGreaterThan(0);
  }
}
