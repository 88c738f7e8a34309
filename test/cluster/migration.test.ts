/** Files that move from node to node, under those who use them; and what becomes of them when nodes die. */
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const block = 65_536;
const timeout = 90_000;
/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };

interface Nodes {
  /** The coordinator. */
  readonly a: NodeProcess;
  readonly b: NodeProcess;
  readonly c: NodeProcess;
  readonly atA: ClusterFs;
  readonly atB: ClusterFs;
  readonly atC: ClusterFs;
}

/** The coordinator and two nodes that joined it and keep files. */
async function start(): Promise<Nodes> {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * 2 ** 20 });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const c = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'c' });
  return { a, b, c, atA: await mountForTest(a), atB: await mountForTest(b), atC: await mountForTest(c) };
}

/** A coordinator with little memory, mounted, and a node that has taken a file from it. */
async function startSmall(path: string, content: Buffer): Promise<{ a: ClusterFs; b: NodeProcess }> {
  const joinPort = await freePort();
  const small = { memory: 4 * 2 ** 20, capacity: 2 ** 24 };
  const a = await mountForTest(await startNodeProcess({ peerPort: joinPort, name: 'a', ...small }));
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  await a.promises.writeFile(path, content);
  await a.migrate(path, 'b');
  return { a, b };
}

async function expectSound({ a, b, c, atA, atB, atC }: Nodes): Promise<void> {
  for (const fs of [atA, atB, atC]) expect(await fs.check()).toEqual([]);
  expect([a.errors, b.errors, c.errors]).toEqual([[], [], []]);
}

/** How many bytes each node keeps, as the coordinator knows it. */
async function kept({ atA }: Pick<Nodes, 'atA'>): Promise<Record<string, number | null>> {
  const { cluster } = (await atA.status()) as unknown as {
    cluster: { keptBytes: number; nodes: readonly { name: string; keptBytes: number | null }[] };
  };
  const others = cluster.nodes.map(({ name, keptBytes }) => [name, keptBytes] as const);
  return Object.fromEntries([['a', cluster.keptBytes], ...others]);
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: NodeJS.ErrnoException) => error.code ?? String(error),
  );

test('a file that has moved is read and written everywhere as before', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB, atC } = nodes;
  const content = Buffer.alloc(5 * block + 100, 'abcdefg');
  await atA.promises.writeFile('/f', content);
  for (const to of ['b', 'c', 'b', 'a', 'c']) {
    expect((await atB.migrate('/f', to)).bytes).toBeGreaterThanOrEqual(content.length);
    expect(await kept(nodes)).toMatchObject({ [to]: 6 * block - block + 4096 });
    for (const fs of [atA, atB, atC]) {
      expect((await fs.promises.readFile('/f')).equals(content)).toBe(true);
      const at = content.length - 7 * (1 + Math.floor(content.length / 14));
      await using handle = await fs.promises.open('/f', 'r+');
      await handle.write(Buffer.from(to.toUpperCase()), 0, 1, at);
      content.write(to.toUpperCase(), at);
      for (const other of [atA, atB, atC]) expect(other.readFileSync('/f').equals(content)).toBe(true);
    }
  }
  await expectSound(nodes);
});

test('it grows, shrinks, gets holes, and is replaced from any node', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB, atC } = nodes;
  await atA.promises.writeFile('/f', 'first');
  await atA.migrate('/f', 'b');
  for (const fs of [atA, atB, atC]) {
    await fs.promises.appendFile('/f', 'x'.repeat(5000));
    for (const other of [atA, atB, atC]) expect(other.statSync('/f').size).toBe(5005);
    await fs.promises.truncate('/f', 5);
    await fs.promises.truncate('/f', 3 * block);
    await fs.promises.writeFile('/f', 'second', { flag: 'r+' });
    await fs.promises.punchHole('/f', block, block);
    for (const other of [atA, atB, atC]) {
      expect(other.statSync('/f').size).toBe(3 * block);
      expect(other.readFileSync('/f').subarray(0, 7).toString()).toBe('second\0');
    }
    await fs.promises.writeFile('/f', 'first');
    for (const other of [atA, atB, atC]) expect(other.readFileSync('/f', 'utf8')).toBe('first');
  }
  expect(await kept(nodes)).toMatchObject({ b: 4096 });
  await expectSound(nodes);
});

test('views everywhere keep their address, and see each other over every move', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB, atC } = nodes;
  await atA.promises.writeFile('/f', Buffer.alloc(8 * block));
  const views = await Promise.all([atA, atB, atC].map((fs) => fs.map('/f', { mode: 'rw' })));
  const counters = views.map(({ buffer }) => new Int32Array(buffer));
  let expected = 0;
  for (const to of ['b', 'c', 'a', 'b', 'a', 'c', 'b']) {
    const moving = atC.migrate('/f', to);
    for (let i = 0; i < 30; i++)
      for (const counter of counters) {
        Atomics.add(counter, (i % 8) * (block / 4), 1);
        if (i % 8 === 0) expected++;
      }
    await moving;
    for (const counter of counters) expect(Atomics.load(counter, 0)).toBe(expected);
  }
  for (const [i, { buffer }] of views.entries()) expect(buffer).toBe(counters[i]?.buffer);
  await expectSound(nodes);
});

test('names, rights and removal stay the coordinator’s, and open files outlive their names', {
  timeout,
}, async () => {
  const nodes = await start();
  const { atA, atB, atC } = nodes;
  await atA.promises.writeFile('/f', Buffer.alloc(2 * block, 7));
  await atA.migrate('/f', 'b');
  await atC.promises.rename('/f', '/g');
  await atB.promises.chmod('/g', 0o600);
  await atA.promises.utimes('/g', 1, 2);
  expect(atC.statSync('/g')).toMatchObject({ mode: 0o100_600, mtimeMs: 2000 });
  const handle = await atC.promises.open('/g', 'r+');
  const view = await atC.map('/g');
  await atA.promises.unlink('/g');
  await handle.write(Buffer.from([9]), 0, 1, block);
  expect([view.bytes[0], view.bytes[block]]).toEqual([7, 9]);
  expect(await kept(nodes)).toMatchObject({ b: 2 * block });
  await handle.close();
  expect(view.bytes[block]).toBe(9);
  view.close();
  await expect.poll(() => kept(nodes), patience).toMatchObject({ b: 0 });
  await expectSound(nodes);
});

test('who is in the way is named, and nothing moves', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB } = nodes;
  await atA.promises.writeFile('/f', 'content');
  await expect(atB.migrate('/f', 'nobody')).rejects.toThrow(/ENOENT.*'nobody'.*there are b, c/);
  await expect(atB.migrate('/none', 'b')).rejects.toMatchObject({ code: 'ENOENT', path: '/none' });
  await expect(atB.migrate('/', 'b')).rejects.toMatchObject({ code: 'EINVAL' });
  const view = await atA.map('/f', { follow: 'manual' });
  await expect(atB.migrate('/f', 'b')).rejects.toThrow(/EBUSY.*'\/f'.*by hand.*pid/);
  view.close();
  await atA.promises.writeFile('/large', Buffer.alloc(40 * 2 ** 20, 1));
  await atA.migrate('/large', 'b');
  await atA.promises.writeFile('/larger', Buffer.alloc(16 * 2 ** 20, 2));
  await atA.migrate('/larger', 'b');
  await atA.promises.writeFile('/last', Buffer.alloc(16 * 2 ** 20, 3));
  await expect(atA.migrate('/last', 'b')).rejects.toThrow(/ENOSPC.*'\/last'.*room/);
  expect(await kept(nodes)).toEqual({ a: 4096 + 16 * 2 ** 20, b: 56 * 2 ** 20, c: 0 });
  const abort = new AbortController();
  const moving = atA.migrate('/larger', 'c', { signal: abort.signal });
  abort.abort();
  expect(await codeOf(moving)).not.toBe('done');
  expect(await kept(nodes)).toMatchObject({ b: 56 * 2 ** 20, c: 0 });
  expect((await atB.promises.readFile('/larger')).every((byte) => byte === 2)).toBe(true);
  await expectSound(nodes);
});

test('a file whose home is killed is EIO with its name, the others go on, and it comes back', {
  timeout,
}, async () => {
  const nodes = await start();
  const { atA, atC, b } = nodes;
  await atA.promises.writeFile('/f', Buffer.alloc(4 * block, 5));
  await atA.promises.writeFile('/other', 'stays');
  await atA.migrate('/f', 'b');
  await atC.promises.writeFile('/f', 'new start', { flag: 'r+' });
  await b.kill();
  await expect(atC.promises.readFile('/f')).rejects.toThrow(/EIO.*'b'/);
  await expect(atA.promises.appendFile('/f', 'x')).rejects.toThrow(/EIO.*'b'/);
  await atC.promises.appendFile('/other', ', and goes on');
  expect(atA.readFileSync('/other', 'utf8')).toBe('stays, and goes on');
  await b.start();
  expect(b.recovered).toBe(true);
  const content = Buffer.alloc(4 * block, 5);
  content.write('new start');
  await expect
    .poll(
      async () => (await atC.promises.readFile('/f').catch(() => Buffer.alloc(0))).equals(content),
      patience,
    )
    .toBe(true);
  await atA.promises.appendFile('/f', 'x');
  expect((await atC.promises.readFile('/f')).length).toBe(4 * block + 1);
  expect(await kept(nodes)).toMatchObject({ b: 4 * block + 4096 });
  expect([await atA.check(), await atC.check()]).toEqual([[], []]);
});

test('a coordinator that is killed and started again knows whose the files are', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB, atC, a } = nodes;
  const content = Buffer.alloc(4 * block, 'abc');
  await atA.promises.writeFile('/f', content);
  await atA.promises.writeFile('/own', content);
  await atA.migrate('/f', 'b');
  const view = await atC.map('/f');
  const handle = await atC.promises.open('/f', 'r+');
  await a.kill();
  expect(view.bytes[block]).toBe(content[block]);
  await a.start();
  await expect.poll(() => codeOf(atC.promises.appendFile('/f', 'x')), patience).toBe('done');
  await handle.write(Buffer.from('Z'), 0, 1, 0);
  await expect.poll(() => atA.statSync('/f').size, patience).toBe(content.length + 1);
  for (const fs of [atA, atB, atC]) {
    expect((await fs.promises.readFile('/f')).toString()).toBe(`Z${content.toString().slice(1)}x`);
    expect((await fs.promises.readFile('/own')).equals(content)).toBe(true);
  }
  expect(view.bytes[0]).toBe('Z'.charCodeAt(0));
  await handle.close();
  await atB.migrate('/f', 'a');
  expect(await kept(nodes)).toMatchObject({ b: 0 });
  for (const fs of [atA, atB, atC]) expect(await fs.check()).toEqual([]);
});

test('a node that dies while a file moves to it, or from it, leaves the file where it was', {
  timeout,
}, async () => {
  const nodes = await start();
  const { atA, atC, b } = nodes;
  const content = Buffer.alloc(24 * 2 ** 20, 'moving');
  await atA.promises.writeFile('/f', content);
  // A node that stands still is in the middle of it until it is killed.
  process.kill(b.pid, 'SIGSTOP');
  const moving = codeOf(atA.migrate('/f', 'b'));
  await b.kill();
  expect(await moving).not.toBe('done');
  expect((await atC.promises.readFile('/f')).equals(content)).toBe(true);
  await atC.promises.appendFile('/f', 'x');
  await b.start();
  await expect.poll(() => codeOf(atA.migrate('/f', 'b')), patience).toBe('done');
  process.kill(b.pid, 'SIGSTOP');
  const back = codeOf(atA.migrate('/f', 'c'));
  await b.kill();
  expect(await back).not.toBe('done');
  await b.start();
  await expect
    .poll(async () => (await atA.promises.readFile('/f').catch(() => 'not yet')).length, patience)
    .toBe(content.length + 1);
  expect((await atC.promises.readFile('/f')).subarray(0, content.length).equals(content)).toBe(true);
  expect([await atA.check(), await atC.check()]).toEqual([[], []]);
});

test('a node that is drained, or stopped, leaves its files to the others', { timeout }, async () => {
  const nodes = await start();
  const { atA, atC, b } = nodes;
  const sizes = [1, 3 * block, 8 * 2 ** 20];
  for (const [i, size] of sizes.entries()) {
    await atA.promises.writeFile(`/f${i}`, Buffer.alloc(size, i + 1));
    await atA.migrate(`/f${i}`, 'b');
  }
  const view = await atC.map('/f2', { mode: 'rw' });
  view.bytes[100] = 42;
  expect(await atA.drain('b')).toMatchObject({ files: 3, failed: [] });
  expect(await kept(nodes)).toMatchObject({ b: 0 });
  for (let i = 0; i < sizes.length; i++) await atA.migrate(`/f${i}`, 'b');
  view.bytes[101] = 43;
  await b.stop();
  expect(b.notices.join()).toMatch(/moving the files/);
  for (const [i, size] of sizes.entries()) {
    const bytes = await atC.promises.readFile(`/f${i}`);
    expect([bytes.length, bytes[0], bytes[size - 1]]).toEqual([size, i + 1, i + 1]);
  }
  expect([view.bytes[100], view.bytes[101], view.bytes[102]]).toEqual([42, 43, 3]);
  await expect.poll(() => kept(nodes), patience).not.toHaveProperty('b');
  expect([await atA.check(), await atC.check()]).toEqual([[], []]);
});

test('a node that is drained gives up what comes to it meanwhile, and waits for what others move', {
  timeout,
}, async () => {
  const nodes = await start();
  const { atA } = nodes;
  const size = 8 * 2 ** 20;
  for (const path of ['/from', '/to', '/still']) await atA.promises.writeFile(path, Buffer.alloc(size, 7));
  await Promise.all([atA.migrate('/from', 'b'), atA.migrate('/still', 'b')]);
  const others = [atA.migrate('/from', 'c'), atA.migrate('/to', 'b')];
  const drained = await atA.drain('b');
  expect(drained.failed).toEqual([]);
  expect(drained.files).toBeGreaterThanOrEqual(1);
  await Promise.all(others);
  expect(await kept(nodes)).toMatchObject({ b: 0 });
  for (const path of ['/from', '/to', '/still'])
    expect((await atA.promises.readFile(path)).equals(Buffer.alloc(size, 7))).toBe(true);
  await expectSound(nodes);
});

test('a node that stops, and has a file for which nobody has room, has it as others left it', {
  timeout,
}, async () => {
  const { a: atA, b } = await startSmall('/f', Buffer.alloc(6 * block, 1));
  const view = await atA.map('/f', { mode: 'rw' });
  await atA.promises.writeFile('/other', Buffer.alloc(3.75 * 2 ** 20));
  view.bytes[block] = 7;
  await b.stop();
  expect(b.notices.join()).toMatch(/\/f stays: ENOSPC.*some files have no other place/s);
  await b.start();
  const atB = await mountForTest(b);
  expect([...(await atB.promises.readFile('/f')).subarray(block - 1, block + 2)]).toEqual([1, 7, 1]);
  expect([await atA.check(), await atB.check()]).toEqual([[], []]);
});

test('a node that stops and has files still is followed by one that waits for its clients', {
  timeout,
}, async () => {
  const { a: atA, b } = await startSmall('/large', Buffer.alloc(6 * block));
  await atA.promises.writeFile('/other', Buffer.alloc(3.75 * 2 ** 20));
  const client = startChild('leaver.mjs', [b.url]);
  await client.hear('mounted');
  client.process.kill('SIGSTOP');
  await b.stop();
  await b.start();
  const atB = await mountForTest(b);
  const waitedFor = async () => (await atB.status()).unresolvedSessions;
  expect(await waitedFor()).toEqual([expect.objectContaining({ pid: client.pid })]);
  client.process.kill('SIGCONT');
  await expect.poll(waitedFor).toEqual([]);
  expect((await atB.promises.readFile('/large'))[0]).toBe(1);
  expect([await atA.check(), await atB.check()]).toEqual([[], []]);
});

test('files go to the node that uses them, and from full nodes to empty ones', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB } = nodes;
  await atA.promises.writeFile('/used-by-b', Buffer.alloc(2 * 2 ** 20, 1));
  for (let i = 0; i < 6; i++) await atA.promises.writeFile(`/f${i}`, Buffer.alloc(6 * 2 ** 20, i));
  await atB.promises.readFile('/used-by-b');
  const { moves } = await atA.rebalance({ dryRun: true });
  expect(moves).toContainEqual({
    path: '/used-by-b',
    from: 'a',
    to: 'b',
    bytes: 2 * 2 ** 20,
    why: 'use',
  });
  expect(await kept(nodes)).toMatchObject({ b: 0, c: 0 });
  await atB.promises.readFile('/f0');
  const done = await atA.rebalance();
  expect(done.failed).toEqual([]);
  const shares = Object.values(await kept(nodes));
  expect(Math.max(...shares.map(Number)) - Math.min(...shares.map(Number))).toBeLessThan(13 * 2 ** 20);
  expect(await atA.rebalance({ dryRun: true })).toEqual({ moves: [], failed: [], away: [] });
  await expectSound(nodes);
  await nodes.c.kill();
  for (let i = 0; i < 6; i++) await atA.promises.writeFile(`/g${i}`, Buffer.alloc(6 * 2 ** 20, i));
  const without = await atA.rebalance();
  expect(without).toMatchObject({ failed: [], away: ['c'] });
  expect(new Set(without.moves.map(({ to }) => to))).toEqual(new Set(['b']));
});

test('a node is packed around what it has of files that others keep', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB } = nodes;
  for (const path of ['/gap', '/f', '/g']) await atA.promises.writeFile(path, Buffer.alloc(4 * block, path));
  await atA.migrate('/f', 'b');
  expect((await atA.promises.readFile('/f')).equals(Buffer.alloc(4 * block, '/f'))).toBe(true);
  await atA.promises.rm('/gap');
  for (const fs of [atA, atB]) {
    await fs.defrag();
    for (const path of ['/f', '/g'])
      expect((await fs.promises.readFile(path)).equals(Buffer.alloc(4 * block, path))).toBe(true);
  }
  await expectSound(nodes);
});

test('where pages lie is told to no other node', { timeout }, async () => {
  const nodes = await start();
  const { atA, atB } = nodes;
  const content = Buffer.alloc(3 * block, 'content');
  await atA.promises.writeFile('/f', content);
  const view = await atB.map('/f');
  const [from] = await atA.extents('/f');
  const before = await sequence(nodes);
  await atA.move('/f');
  expect((await atA.extents('/f'))[0]?.page).not.toBe(from?.page);
  expect(await sequence(nodes)).toBe(before);
  expect(Buffer.from(view.bytes).equals(content)).toBe(true);
  await atA.promises.utimes('/f', 1, 1);
  expect(await sequence(nodes)).toBeGreaterThan(before);
  expect(atB.statSync('/f').mtimeMs).toBe(1000);
  await expectSound(nodes);
});

async function sequence({ atA }: Pick<Nodes, 'atA'>): Promise<number> {
  return ((await atA.status()) as unknown as { cluster: { sequence: number } }).cluster.sequence;
}
