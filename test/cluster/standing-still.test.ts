/**
 * A node that stands still for longer than its lease, while its clients go on: they use nothing of what
 * others may have changed meanwhile, and lose nothing.
 */
import { readFileSync } from 'node:fs';
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const size = 4 * 65_536;
const timeout = 120_000;
const additions = 3000;

interface Scene {
  readonly member: NodeProcess;
  readonly there: ClusterFs;
  /** The file, as a process at its home stores into it. */
  readonly theirs: Uint8Array;
  start(clock?: string): Promise<Child>;
}

/** A file full of sevens, of one node, and another node that joined. */
async function setUp(): Promise<Scene> {
  const peerPort = await freePort();
  const home = await startNodeProcess({ peerPort });
  const member = await startNodeProcess({ joinPort: peerPort });
  const there = await mountForTest(home);
  await there.promises.writeFile('/shared', Buffer.alloc(size, 7));
  await there.promises.writeFile('/holed', '');
  await there.promises.truncate('/holed', size);
  const { bytes: theirs } = await there.map('/shared', { mode: 'rw' });
  const start = async (clock?: string): Promise<Child> => {
    const options = clock === undefined ? '' : `--import ${new URL(clock, import.meta.url).href}`;
    const enter = ['/usr/bin/env', `NODE_OPTIONS=${options}`];
    const child = startChild('../cluster/bystander.mjs', [member.url, '/shared'], enter);
    expect(await child.hear('ready')).toMatchObject({ value: theirs[0] });
    return child;
  };
  return { member, there, theirs, start };
}

interface Answer {
  readonly value: number;
}

/** Stops a node, and has its home give to others what it had: the first bytes are stored into there. */
async function outlast({ member, there, theirs }: Scene, value: number): Promise<void> {
  process.kill(member.pid, 'SIGSTOP');
  // It may not answer, so this waits until its lease is over.
  await there.promises.writeFile('/changed', String(value));
  theirs[0] = value;
}

/** What a client says; 'waits' when it sits in a touch. */
async function ask(child: Child, what: 'load' | 'load-hole' | 'store', at: number, value = 0) {
  const answer = child.hear<Answer>(what);
  let heard: number | undefined;
  const hears = answer.then((a) => {
    heard = a.value;
  });
  child.send({ what, at, value });
  await expect.poll(() => heard !== undefined || isInFault(child.pid), { timeout: 20_000 }).toBe(true);
  return { now: heard ?? 'waits', later: hears.then(() => heard) };
}

/** proc_pid_syscall(5): in nanosleep(2), as nothing in a process of Node is; or in no system call. */
const isInFault = (pid: number): boolean =>
  /^(?:-1|35|230) /.test(readFileSync(`/proc/${pid}/syscall`, 'latin1'));

/** What a client reads of the file by API; 'waits' when it is not there at once. */
async function askToRead(child: Child, at: number) {
  let heard: number | undefined;
  const later = child.hear<Answer>('read').then(({ value }) => {
    heard = value;
    return value;
  });
  child.send({ what: 'read', at, value: 0 });
  await child.hear('turned');
  return { now: heard ?? 'waits', later };
}

test('what a node that stands still had is used by nobody after its lease, and all goes on when it does', {
  timeout,
}, async () => {
  const scene = await setUp();
  const { member, there, theirs } = scene;
  const [loader, storer, reader] = [await scene.start(), await scene.start(), await scene.start()];
  // Twice: a view that was cut off once is cut off again.
  for (const value of [1, 2]) {
    await outlast(scene, value);
    const load = await ask(loader, 'load', 0);
    const store = await ask(storer, 'store', 65_536, value);
    const read = await askToRead(reader, 0);
    const hole = await ask(reader, 'load-hole', 0);
    process.kill(member.pid, 'SIGCONT');
    expect([load.now, store.now, read.now, hole.now]).toEqual(['waits', 'waits', 'waits', 'waits']);
    expect([await load.later, await store.later, await read.later]).toEqual([value, value, value]);
    expect(await hole.later).toBe(0);
    expect(theirs[65_536]).toBe(value);
    theirs[1] = value;
    for (const child of [loader, storer]) expect(await (await ask(child, 'load', 1)).later).toBe(value);
    expect(await (await askToRead(reader, 1)).later).toBe(value);
  }
  const { cluster } = (await there.status()) as unknown as { cluster: { lostBlocks: number } };
  expect(cluster.lostBlocks).toBe(0);
  expect(await there.check()).toEqual([]);
  expect(member.errors).toEqual([]);
});

test('a client that does not watch the lease is noticed by that', { timeout }, async () => {
  const scene = await setUp();
  const [loader, reader] = [await scene.start('clock-stands.mjs'), await scene.start('clock-stands.mjs')];
  await outlast(scene, 1);
  expect((await ask(loader, 'load', 0)).now).toBe(7);
  expect((await askToRead(reader, 0)).now).toBe(7);
  expect((await ask(reader, 'load-hole', 0)).now).toBe(0);
});

test('a client that pauses its views too early, again and again, loses nothing', { timeout }, async () => {
  const scene = await setUp();
  const { theirs } = scene;
  const early = await scene.start('clock-ahead.mjs');
  const other = await scene.start();
  const words = new Int32Array(theirs.buffer);
  const before = words[0] ?? 0;
  const added = [early, other].map((child) => child.hear<Answer>('add'));
  for (const child of [early, other]) child.send({ what: 'add', at: 0, value: additions });
  for (let i = 0; i < additions; i++) Atomics.add(words, 0, 1);
  await Promise.all(added);
  expect(words[0]).toBe((before + 3 * additions) | 0);
  words[1] = 9;
  expect(await (await ask(early, 'load', 4)).later).toBe(9);
  expect(await (await ask(early, 'store', 8, 3)).later).toBe(3);
  expect(theirs[8]).toBe(3);
});

test('what a node that was killed had is used by nobody after its lease', { timeout }, async () => {
  const scene = await setUp();
  const { member, there, theirs } = scene;
  const [loader, reader] = [await scene.start(), await scene.start()];
  await member.kill();
  await there.promises.writeFile('/changed', '');
  theirs[0] = 1;
  const [load, read] = [await ask(loader, 'load', 0), await askToRead(reader, 0)];
  for (const { later } of [load, read]) later.catch(() => undefined);
  expect([load.now, read.now]).toEqual(['waits', 'waits']);
});
