/** What nodes tell each other of the tree has no size of its own: it comes in parts. */
import { join } from 'node:path';
import { connectPeer, listenPeers, type PeerInode, parsePeerUrl } from '@cluster-fs/transport/peer';
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { Joiner, partsOf } from '../src/cluster/parts.ts';
import type { NetChanges } from '../src/cluster/rows.ts';
import { joinNode, startNode } from '../src/cluster/start.ts';
import { makeHome } from './cli-process.ts';

const security = { kind: 'none' } as const;
const local = { host: '127.0.0.1', port: 0 };
const timeout = 60_000;
const largest = 2 ** 32 - 1;

const inode = (ino: number, more: Partial<PeerInode>): PeerInode => ({
  ...{ ino, generation: largest, mode: largest, uid: largest, gid: largest, nlink: largest, parent: largest },
  ...{ size: 2 ** 52, layoutVersion: 2 ** 52, home: largest, target: undefined, pages: [], goesOn: false },
  ...{ atimeMs: 0.1, mtimeMs: 0.1, ctimeMs: 0.1, birthtimeMs: 0.1 },
  ...more,
});
const many = <T>(length: number, make: (i: number) => T): T[] => Array.from({ length }, (_, i) => make(i));
const runs = (count: number) => many(count, (i) => ({ filePage: largest - 2 * i, count: largest }));

/** Commits, each over a link, as the other end puts them together. */
async function sent(commits: readonly NetChanges[]): Promise<NetChanges[]> {
  const identity = { clusterId: new Uint8Array(16), nodeId: 1, name: 'a', incarnation: 1 };
  const joiner = new Joiner();
  const received: NetChanges[] = [];
  const listener = await listenPeers({ ...local, security, identity }, (there) => {
    onTestFinished(() => there.close());
    there.setHandlers({
      onEvent: ({ name, fields }) => {
        const commit = name === 'changes' ? joiner.commit(fields, fields) : undefined;
        if (commit !== undefined) received.push(commit);
      },
    });
  });
  onTestFinished(() => listener.close());
  const link = await connectPeer({ ...listener.address, security, identity: { ...identity, nodeId: 2 } });
  onTestFinished(() => link.close());
  for (const commit of commits) {
    const parts = partsOf(commit);
    const commitOf = { feed: identity.clusterId, sequence: 1, isWhole: false };
    for (const [i, part] of parts.entries())
      link.event('changes', { ...part, ...commitOf, isLast: i === parts.length - 1 });
  }
  await expect.poll(() => link.closed ?? received.length, { timeout }).toBe(commits.length);
  return received;
}

test('a commit comes as it was, whatever its size', { timeout }, async () => {
  const none = { inodes: [], gone: [], names: [] };
  const commits = [
    none,
    { ...none, inodes: [inode(1, {})], gone: [2], names: [{ parent: 1, name: 'name', ino: 3 }] },
    { ...none, inodes: many(600, (i) => inode(i, { target: '€'.repeat(1365).padEnd(4096, '€') })) },
    { ...none, inodes: [65_536, 0, 65_537, 200_000, 1].map((count, i) => inode(i, { pages: runs(count) })) },
    { ...none, gone: many(70_000, (i) => largest - i) },
    {
      ...none,
      names: many(70_000, (i) => ({ parent: largest, name: `${i}`.padEnd(85, '€'), ino: largest })),
    },
  ];
  expect(await sent(commits)).toEqual(commits);
});

test('a node joins where all links are long', { timeout }, async () => {
  const common = (name: string) => ({
    socketPath: join(makeHome(), 'node.sock'),
    memory: 2 ** 25,
    cluster: { name, security },
  });
  const a = startNode({ ...common('a'), inodeCount: 8192 });
  onTestFinished(() => a.stop());
  const there = await mount(`unix:${a.socketPath}`);
  onTestFinished(() => there.unmount());
  const names = many(600, (i) => `link-${i}`);
  for (const name of names) await there.promises.symlink('x'.repeat(4095), `/${name}`);
  const address = parsePeerUrl(await a.listen(local));
  const b = await joinNode({ ...common('b'), keeps: true, join: address });
  onTestFinished(() => b.stop());
  const here = await mount(`unix:${b.socketPath}`);
  onTestFinished(() => here.unmount());
  expect(here.readdirSync('/').sort()).toEqual(names.sort());
});
