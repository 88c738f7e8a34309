/** Three hosts whose nodes are under load: a clerk on each keeps books, which are compared in the end. */
import { once } from 'node:events';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect } from 'vitest';
import type { Child } from '../chaos/children.ts';
import { mountForTest } from '../chaos/node-process.ts';
import { editionOf, filesOfClerk, findings, ledgerBytes, type Pages, pathOf } from './books.mjs';
import { type Hosts, type NodeOnHost, startHosts } from './hosts.ts';

interface Round {
  readonly kind: 'round';
  readonly rounds: number;
  /** The longest that a round has taken. */
  readonly longestMs: number;
  readonly findings: readonly string[];
  readonly pages: Pages;
}

export interface Clerk {
  readonly at: NodeOnHost;
  readonly child: Child;
  /** What it told last. */
  last: Round | undefined;
  /** It was killed, and may have done more than it told. */
  isKilled: boolean;
}

export interface Office {
  readonly hosts: Hosts;
  readonly clerks: readonly Clerk[];
  hire(at: NodeOnHost): Promise<Clerk>;
  /** All of them finish some more rounds. */
  goOn(clerks: readonly Clerk[], rounds?: number): Promise<void>;
  kill(clerk: Clerk): Promise<void>;
  /** Everybody leaves, and the books are right; `mayLose`: clerks of a node that was cut off. */
  close(options?: { readonly mayLose?: readonly Clerk[] }): Promise<void>;
}

const maxClerks = 6;
const nameOf = (index: number): string => `clerk-${index}`;
const names = Array.from({ length: maxClerks }, (_, i) => nameOf(i));

export async function openOffice(): Promise<Office> {
  const hosts = await startHosts();
  const all = [hosts.home, hosts.member, hosts.other];
  await withMount(hosts.home, async ({ promises }) => {
    await promises.mkdir('/files');
    await promises.writeFile('/ledger', Buffer.alloc(ledgerBytes));
    for (const name of names)
      for (let file = 0; file < filesOfClerk; file++)
        await promises.writeFile(pathOf(name, file), editionOf(name, file, 0));
  });
  const events: string[] = [];
  // It ends when its node is another one.
  for (const host of all) listen(host, events).catch(() => undefined);
  const clerks: Clerk[] = [];
  const hire = async (at: NodeOnHost): Promise<Clerk> => {
    const index = clerks.length;
    const child = at.startClient('../cluster/clerk.mjs', [at.node.url, nameOf(index), index, ...names]);
    const clerk: Clerk = { at, child, last: undefined, isKilled: false };
    clerks.push(clerk);
    child.process.on('message', (message: Round) => {
      if (message.kind === 'round') clerk.last = message;
    });
    await child.hear('ready');
    return clerk;
  };
  for (const host of all) await hire(host);
  return {
    hosts,
    clerks,
    hire,
    goOn: async (some, rounds = 3) => void (await Promise.all(some.map((clerk) => goesOn(clerk, rounds)))),
    kill: async (clerk) => {
      await clerk.child.kill();
      clerk.isKilled = true;
    },
    close: async ({ mayLose = [] } = {}) => {
      for (const clerk of clerks) if (!clerk.isKilled) await leaves(clerk);
      const counted = await Promise.all(all.map(async (host) => (await statusOf(host)).cluster.lostBlocks));
      const lostBlocks = counted.reduce((sum, count) => sum + count, 0);
      for (const host of all) await expectRight(host, { clerks, mayLose, events, lostBlocks });
      expect(all.flatMap(({ node }) => node.errors)).toEqual([]);
    },
  };
}

async function goesOn(clerk: Clerk, more: number): Promise<void> {
  const from = clerk.last?.rounds ?? 0;
  while ((clerk.last?.rounds ?? 0) < from + more) await hears(clerk);
}

async function leaves(clerk: Clerk): Promise<void> {
  clerk.child.send('leave');
  await clerk.child.hear('left');
}

/** Something; rejects when it has ended. */
async function hears({ child }: Clerk): Promise<void> {
  const ended = child.ended().then(() => Promise.reject(new Error('a clerk has ended')));
  await Promise.race([once(child.process, 'message'), ended]);
}

interface Judged {
  readonly clerks: readonly Clerk[];
  readonly mayLose: readonly Clerk[];
  /** What nodes have told meanwhile. */
  readonly events: readonly string[];
  /** As all of them count them. */
  readonly lostBlocks: number;
}

async function listen({ name, node }: NodeOnHost, events: string[]): Promise<void> {
  const fs = await mountForTest(node);
  const beganMs = performance.now();
  for await (const { kind, ...more } of fs.events())
    if (told.has(kind))
      events.push(`${(performance.now() - beganMs).toFixed()} ${name}: ${kind} ${JSON.stringify(more)}`);
}
const told: ReadonlySet<string> = new Set(['lost', 'node-join', 'node-leave', 'home-lost', 'home-back']);

async function expectRight(host: NodeOnHost, { clerks, mayLose, events, lostBlocks }: Judged): Promise<void> {
  await withMount(host, async (fs) => {
    const ledger = await fs.promises.readFile('/ledger');
    const contents = new Map<string, Buffer>();
    for (const name of names)
      for (let file = 0; file < filesOfClerk; file++)
        contents.set(pathOf(name, file), await fs.promises.readFile(pathOf(name, file)));
    const books = clerks.map((clerk) => ({
      pages: pagesOf(clerk),
      mayLose: mayLose.includes(clerk) || clerk.isKilled,
    }));
    const there = {
      words: new Int32Array(ledger.buffer, ledger.byteOffset, ledger.length / 4),
      lostBlocks,
      contentOf: (path: string) => contents.get(path) ?? Buffer.alloc(0),
    };
    expect(findings(books, there), [`as seen on ${host.name}`, ...events].join('\n')).toEqual([]);
    expect(clerks.flatMap(({ last }) => last?.findings ?? [])).toEqual([]);
    expect(await fs.check()).toEqual([]);
  });
}

/** What a clerk that was killed told last may be one round behind. */
function pagesOf({ last, isKilled }: Clerk): Pages {
  if (last === undefined) throw new Error('a clerk that has not finished a round');
  const { pages } = last;
  if (!isKilled) return pages;
  const counts = pages.counts.map((count) => count + 1);
  const files = pages.files.map(({ answered, asked }) => ({ answered, asked: asked + 1 }));
  return { ...pages, counts, told: pages.counts, files };
}

interface ClusterStatus {
  readonly cluster: { readonly lostBlocks: number; readonly nodes: readonly { readonly name: string }[] };
}
export const statusOf = (host: NodeOnHost): Promise<ClusterStatus> =>
  withMount(host, async (fs) => (await fs.status()) as unknown as ClusterStatus);

async function withMount<T>({ node }: NodeOnHost, work: (fs: ClusterFs) => Promise<T>): Promise<T> {
  const fs = await mount(node.url);
  try {
    return await work(fs);
  } finally {
    await fs.unmount();
  }
}
