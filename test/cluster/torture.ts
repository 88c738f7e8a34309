/**
 * A file that is counted in by processes on several nodes, while it moves, also from node to node, grows,
 * shrinks and is packed from each of them by turns: no store is lost, no wrong byte is seen.
 */
import type { ClusterFs } from 'cluster-fs';
import { expect } from 'vitest';
import type { Child } from '../chaos/children.ts';
import {
  basePages,
  foreignWord,
  initialContent,
  lostIncrements,
  Observer,
  reservedPages,
  wordsPerPage,
  writerCount,
} from '../chaos/counters.mjs';
import { mountForTest, type NodeProcess } from '../chaos/node-process.ts';

/** A node, and how a program is started beside it. */
export interface Chamber {
  /** Of the node, in the cluster. */
  readonly name: string;
  readonly node: NodeProcess;
  startClient(program: string, args: readonly (string | number)[]): Child;
}

interface Report {
  readonly role: 'writer' | 'reader';
  readonly index: number;
  readonly counts: readonly number[];
  readonly findings: readonly string[];
  readonly sameAddress: boolean;
}

interface Turn {
  readonly fs: ClusterFs;
  /** The how manieth change it is. */
  readonly i: number;
  /** A node that may keep the file, for kinds that give it another home: each in its turn. */
  readonly to: string;
}

const pageBytes = wordsPerPage * 4;

/** Changes of where the counters lie, or of what lies beside them; one after the other, again and again. */
const changeKinds: readonly ((turn: Turn) => Promise<unknown>)[] = [
  moves,
  migrates,
  isReplaced,
  grows,
  isCut,
  migrates,
  ({ fs }) => fs.defrag(),
];

interface TortureOptions {
  readonly style: 'yielding' | 'busy';
  readonly readers: number;
  readonly changes: number;
}

/** All files begin on the first node. */
export async function torture(
  chambers: readonly [Chamber, ...Chamber[]],
  options: TortureOptions,
): Promise<void> {
  const mounts = await Promise.all(chambers.map(({ node }) => mountForTest(node)));
  const [home] = mounts as [ClusterFs];
  await home.promises.writeFile('/counters', initialContent());
  await home.promises.writeFile('/control', Buffer.alloc(pageBytes));
  const clients = await startClients(chambers, options);
  const control = await home.map('/control', { mode: 'rw' });

  for (let i = 0; i < options.changes; i++) {
    const kind = changeKinds[i % changeKinds.length] as (typeof changeKinds)[number];
    const to = chambers[(1 + Math.floor(i / changeKinds.length)) % chambers.length] as Chamber;
    await kind({ fs: mounts[i % mounts.length] as ClusterFs, i, to: to.name });
  }
  Atomics.store(new Int32Array(control.buffer), 0, 1);
  const reports = await Promise.all(clients.map((client) => client.hear<Report>('report')));

  for (const fs of mounts) {
    await expectNothingLost(fs, reports);
    expect(await fs.check()).toEqual([]);
  }
  for (const client of clients) client.send('leave');
  await Promise.all(clients.map((client) => client.ended()));
  expect(chambers.flatMap(({ node }) => node.errors)).toEqual([]);
}

/** Writers and readers, by turns on each node. */
async function startClients(
  chambers: readonly Chamber[],
  { style, readers }: { readonly style: string; readonly readers: number },
): Promise<Child[]> {
  const start = (role: string, count: number): Child[] =>
    Array.from({ length: count }, (_, i) => {
      const { node, startClient } = chambers[i % chambers.length] as Chamber;
      return startClient('torture-client.mjs', [role, i, style, node.url]);
    });
  const clients = [...start('writer', writerCount), ...start('reader', readers)];
  await Promise.all(clients.map((client) => client.hear('ready')));
  return clients;
}

async function moves({ fs }: Turn): Promise<void> {
  await fs.move('/counters');
}

async function migrates({ fs, to }: Turn): Promise<void> {
  await fs.migrate('/counters', to);
}

async function isReplaced({ fs, i }: Turn): Promise<void> {
  await fs.promises.writeFile('/new', new Uint32Array((1 + (i % 90)) * wordsPerPage).fill(foreignWord));
  await fs.promises.rename('/new', '/foreign');
}

/** By pages of zeros, and loses some of them again; all of them when it is as long as the views of it. */
async function grows({ fs }: Turn): Promise<void> {
  const before = await fs.promises.stat('/counters');
  if (before.size > (reservedPages - 4) * pageBytes)
    await fs.promises.truncate('/counters', basePages * pageBytes);
  const { size } = await fs.promises.stat('/counters');
  await fs.promises.truncate('/counters', size + 4 * pageBytes);
  await fs.promises.truncate('/counters', size + pageBytes);
}

async function isCut({ fs, i }: Turn): Promise<void> {
  await fs.promises.truncate('/foreign', (i % 7) * pageBytes);
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
