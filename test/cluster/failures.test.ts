/** Nodes, and the lines between them, die, stop, come back: nobody waits for ever, no bytes are wrong. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { freePort, type Line, startLine } from './line.ts';

const size = 4 * 65_536;
/** Of a lease, and what it takes to notice that it is over. */
const leaseMs = 5000;
const timeout = 60_000;
const patience = { timeout: 20_000 };

interface ClusterState {
  readonly lostBlocks: number;
  readonly lentBlocks: number;
  readonly nodes: readonly { readonly url: string | null }[];
  readonly home: { readonly isConnected: boolean } | null;
}
const clusterOf = async (fs: ClusterFs): Promise<ClusterState> =>
  ((await fs.status()) as unknown as { cluster: ClusterState }).cluster;

interface Nodes {
  readonly home: NodeProcess;
  readonly member: NodeProcess;
  readonly line: Line;
  /** Mounts of either. */
  readonly there: ClusterFs;
  readonly here: ClusterFs;
}

async function start(): Promise<Nodes> {
  const peerPort = await freePort();
  const home = await startNodeProcess({ peerPort });
  const line = await startLine(peerPort, { limitMs: timeout });
  const member = await startNodeProcess({ joinPort: line.port });
  const [there, here] = [await mountForTest(home), await mountForTest(member)];
  return { home, member, line, there, here };
}

/** Kinds of the events that come. When it resolves, the node tells of what happens. */
async function listen(fs: ClusterFs): Promise<readonly string[]> {
  const heard: string[] = [];
  const hear = async (): Promise<void> => {
    for await (const { kind } of fs.events()) heard.push(kind);
  };
  hear().catch(() => undefined);
  for (let i = 0; heard.length === 0; i++) await fs.promises.mkdir(`/heard-${i}`);
  return heard;
}

const mapBoth = async ({ there, here }: Nodes) => {
  await there.promises.writeFile('/shared', Buffer.alloc(size, 7));
  const [theirs, ours] = await Promise.all([
    there.map('/shared', { mode: 'rw' }),
    here.map('/shared', { mode: 'rw' }),
  ]);
  return { theirs: theirs.bytes, ours: ours.bytes };
};

test('behind the end of a file are zeros while another node has its last block', { timeout }, async () => {
  const { there, here } = await start();
  await there.promises.writeFile('/short', Buffer.alloc(100, 7));
  const { buffer } = await there.map('/short', { reserve: 2 ** 22 });
  const { bytes } = await here.map('/short', { mode: 'rw' });
  bytes[0] = 1;
  const seen = new Uint8Array(buffer);
  // The rest of the block, and the first page of the next one.
  expect([seen[8192], seen[65_536]]).toEqual([0, 0]);
  expect([seen[0], seen[1]]).toEqual([1, 7]);
});

/** Clients that store into `/file`. */
async function startStorers(nodes: readonly [NodeProcess, NodeProcess]): Promise<readonly [Child, Child]> {
  const storers = nodes.map(({ url }) => startChild('storer.mjs', [url, '/file']));
  await Promise.all(storers.map((child) => child.hear('ready')));
  return storers as [Child, Child];
}

function store(storer: Child, at: number, value: number): Promise<unknown> {
  storer.send({ at, value });
  return storer.hear('stored');
}

test('what a dead node had stored and not sent is lost, counted, and nothing else', { timeout }, async () => {
  const nodes = await start();
  const { theirs, ours } = await mapBoth(nodes);
  ours[0] = 1;
  expect(theirs[0]).toBe(1);
  ours[0] = 2;
  ours[65_536] = 3;
  const heard = await listen(nodes.there);
  await nodes.member.kill();
  const started = performance.now();
  await nodes.there.promises.mkdir('/while-it-is-gone');
  expect([theirs[0], theirs[65_536]]).toEqual([1, 7]);
  expect(performance.now() - started).toBeLessThan(leaseMs * 3);
  expect(await clusterOf(nodes.there)).toMatchObject({ lostBlocks: 2, nodes: [] });
  await expect.poll(() => heard, { timeout: 20_000 }).toContain('lost');
  theirs[0] = 9;
  expect(await nodes.there.check()).toEqual([]);
  expect(nodes.home.errors).toEqual([]);
});

test('a node that is stopped takes nothing with it, and nobody waits for it', { timeout }, async () => {
  const nodes = await start();
  const { theirs, ours } = await mapBoth(nodes);
  for (let block = 0; block < size; block += 65_536) ours[block] = 1;
  const heard = await listen(nodes.there);
  await nodes.member.stop();
  await expect.poll(() => heard, { timeout: 20_000 }).toContain('node-leave');
  expect(await clusterOf(nodes.there)).toMatchObject({ lostBlocks: 0, nodes: [] });
  for (let block = 0; block < size; block += 65_536) expect(theirs[block]).toBe(1);
  expect([nodes.home.errors, nodes.member.errors]).toEqual([[], []]);
});

test('a home that is killed and started again has its files, and the others go on', { timeout }, async () => {
  const nodes = await start();
  const { theirs, ours } = await mapBoth(nodes);
  theirs[100] = 1;
  // The home has lent the block when it dies; what it has of it is what it knew.
  ours[65_536] = 2;
  expect(theirs[65_536]).toBe(2);
  ours[65_537] = 3;
  await nodes.home.kill();
  await nodes.home.start();
  // Nobody is let in, nor goes on, before the leases are over that the node of before gave.
  const started = performance.now();
  theirs[200] = 1;
  await nodes.there.promises.mkdir('/again');
  expect(performance.now() - started).toBeGreaterThan(leaseMs - 1000);
  expect([theirs[100], theirs[65_536], theirs[65_537]]).toEqual([1, 2, 7]);
  await expect
    .poll(async () => (await clusterOf(nodes.here)).home?.isConnected, { timeout: 20_000 })
    .toBe(true);
  await nodes.there.promises.writeFile('/after', 'it');
  await expect.poll(() => nodes.here.existsSync('/after'), { timeout: 20_000 }).toBe(true);
  theirs[0] = 4;
  expect(ours[0]).toBe(4);
  ours[1] = 5;
  expect(theirs[1]).toBe(5);
  await nodes.here.promises.writeFile('/from-here', 'it');
  expect(nodes.there.readFileSync('/from-here', 'utf8')).toBe('it');
  expect([await nodes.there.check(), await nodes.here.check()]).toEqual([[], []]);
});

test('a client that is not back since its home was killed keeps what it may store into', {
  timeout,
}, async () => {
  const peerPort = await freePort();
  const home = await startNodeProcess({ peerPort });
  const member = await startNodeProcess({ joinPort: peerPort });
  const [fs, other] = [await mountForTest(home), await mountForTest(member)];
  await fs.promises.writeFile('/file', Buffer.alloc(65_536));
  const [there, here] = await startStorers([home, member]);
  await store(there, 0, 1);
  process.kill(there.pid, 'SIGSTOP');
  const late = store(there, 2, 3);
  await home.kill();
  await home.start();
  const stored = store(here, 1, 2);
  // Answered after the leases are over that were given before.
  await other.promises.mkdir('/after');
  process.kill(there.pid, 'SIGCONT');
  await Promise.all([late, stored]);
  for (const { promises } of [fs, other])
    expect([...(await promises.readFile('/file')).subarray(0, 3)]).toEqual([1, 2, 3]);
});

test('what a process stores in a block that has just come back is not lost with the home', {
  timeout,
}, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-dies-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const marker = join(directory, 'marker');
  const peerPort = await freePort();
  const program = new URL('dies-forgetting.mjs', import.meta.url).href;
  const env = { NODE_OPTIONS: `--import ${program}`, CLUSTERFS_DIES: marker };
  const home = await startNodeProcess({ peerPort, env });
  const member = await startNodeProcess({ joinPort: peerPort });
  const fs = await mountForTest(home);
  await fs.promises.writeFile('/file', Buffer.alloc(65_536));
  const [there, here] = await startStorers([home, member]);
  await store(there, 0, 1);
  await store(here, 1, 2);
  writeFileSync(marker, '');
  const stored = store(there, 2, 3);
  await expect.poll(() => home.isAlive, { timeout: 10_000 }).toBe(false);
  await home.start();
  await stored;
  await fs.promises.mkdir('/after');
  expect([...(await fs.promises.readFile('/file')).subarray(0, 3)]).toEqual([1, 2, 3]);
});

test('what was on its way to a home that is killed is lost, and counted by who had sent it', {
  timeout,
}, async () => {
  const nodes = await start();
  await nodes.there.promises.writeFile('/file', Buffer.alloc(size, 7));
  const [atHome, atMember] = await startStorers([nodes.home, nodes.member]);
  await store(atMember, 0, 1);
  const heard = await listen(nodes.here);
  const said = async (): Promise<number> => (await nodes.line.said()).length;
  const before = await said();
  await nodes.line.mute();
  // The home asks for the block, and the member gives it up.
  atHome.send({ at: 100, value: 2 });
  await expect.poll(said, patience).toBeGreaterThan(before + 65_536);
  await nodes.home.kill();
  await nodes.line.cut();
  await nodes.home.start();
  await nodes.line.mend();
  await expect.poll(() => clusterOf(nodes.here), patience).toMatchObject({ lostBlocks: 1 });
  // Events come over a connection of their own.
  await expect.poll(() => heard, patience).toContain('lost');
  expect([...(await nodes.there.promises.readFile('/file')).subarray(0, 2)]).toEqual([7, 7]);
});

test('a line that is cut within the lease loses nothing', { timeout }, async () => {
  const nodes = await start();
  const { theirs, ours } = await mapBoth(nodes);
  for (let i = 0; i < 20; i++) {
    ours[i] = 1;
    ours[65_536 + i] = 1;
    await nodes.line.cut();
    const made = nodes.here.promises.mkdir(`/made-${i}`).catch((error: NodeJS.ErrnoException) => error.code);
    await nodes.line.mend();
    theirs[i + 100] = 1;
    // One that was on its way when the line was cut may have come true without its answer.
    expect([undefined, 'ECONNRESET', 'EEXIST']).toContain(await made);
    expect([theirs[i], theirs[65_536 + i], ours[i + 100]]).toEqual([1, 1, 1]);
  }
  expect(await clusterOf(nodes.there)).toMatchObject({ lostBlocks: 0 });
  expect(await clusterOf(nodes.here)).toMatchObject({ lostBlocks: 0 });
  expect(nodes.here.readdirSync('/').sort()).toEqual(nodes.there.readdirSync('/').sort());
});

test('a node that stands still for longer than its lease is fenced, and comes back empty', {
  timeout,
}, async () => {
  const nodes = await start();
  const { theirs, ours } = await mapBoth(nodes);
  ours[0] = 1;
  process.kill(nodes.member.pid, 'SIGSTOP');
  const started = performance.now();
  // It may not answer, and so holds up changes and touches for as long as its lease lasts.
  await nodes.there.promises.writeFile('/changed', 'while it stood still');
  expect(theirs[0]).toBe(7);
  theirs[0] = 2;
  theirs[1] = 3;
  expect(performance.now() - started).toBeLessThan(leaseMs * 3);
  process.kill(nodes.member.pid, 'SIGCONT');
  await expect.poll(() => nodes.here.existsSync('/changed'), { timeout: 20_000 }).toBe(true);
  // What it had stored under its old lease is nowhere; what it sees is what there is.
  await expect.poll(() => [ours[0], ours[1]], { timeout: 20_000 }).toEqual([2, 3]);
  ours[2] = 4;
  expect(theirs[2]).toBe(4);
  expect(await clusterOf(nodes.there)).toMatchObject({ lostBlocks: 1 });
  expect(await clusterOf(nodes.here)).toMatchObject({ lostBlocks: 1 });
  expect([await nodes.there.check(), await nodes.here.check()]).toEqual([[], []]);
});
