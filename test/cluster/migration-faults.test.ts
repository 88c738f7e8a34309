/** Files that have moved, when something happens that is easily forgotten: each of these was lost once. */
import { rmSync } from 'node:fs';
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const block = 65_536;
const timeout = 90_000;
/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };

/** The coordinator and two nodes that joined it and keep files. */
async function start() {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * 2 ** 20 });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const c = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'c' });
  const [atA, atB, atC] = [await mountForTest(a), await mountForTest(b), await mountForTest(c)];
  return { a, b, c, atA, atB, atC };
}

async function keptAtB(fs: ClusterFs): Promise<number | null | undefined> {
  const { cluster } = (await fs.status()) as unknown as {
    cluster: { nodes: readonly { name: string; keptBytes: number | null }[] };
  };
  return cluster.nodes.find(({ name }) => name === 'b')?.keptBytes;
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    (error: NodeJS.ErrnoException) => error.code ?? String(error),
  );

test('a view at a third node keeps a file that moved and lost its name', { timeout }, async () => {
  const { atA, atC } = await start();
  for (const path of ['/f', '/other']) {
    await atA.promises.writeFile(path, Buffer.alloc(2 * block, 7));
    await atA.migrate(path, 'b');
    if (path === '/other') break;
    await atA.migrate(path, 'a');
  }
  const { bytes } = await atC.map('/f');
  await atA.migrate('/f', 'b');
  await atA.promises.unlink('/f');
  await atA.promises.unlink('/other');
  // Whoever looks for files that nobody refers to has looked at both.
  await expect.poll(() => keptAtB(atA), patience).toBeLessThanOrEqual(2 * block);
  expect([bytes[0], bytes[block]]).toEqual([7, 7]);
});

test('what a third node stores into a hole of a file that moved is there', { timeout }, async () => {
  const { atA, atB, atC } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(4 * block, 7));
  const view = await atC.map('/f', { mode: 'rw' });
  view.bytes[0] = 1;
  await atA.migrate('/f', 'b');
  await atB.promises.punchHole('/f', block, block);
  view.bytes[block] = 9;
  await view.sync();
  for (const fs of [atA, atB, atC]) expect((await fs.promises.readFile('/f'))[block]).toBe(9);
});

test('a hole is punched before a third node has heard of the move', { timeout }, async () => {
  const { c, atA, atB, atC } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(4 * block, 7));
  const { bytes } = await atC.map('/f', { mode: 'rw' });
  process.kill(c.pid, 'SIGSTOP');
  const moved = atA.migrate('/f', 'b');
  await expect.poll(() => keptAtB(atA)).toBeGreaterThan(0);
  const punched = atB.promises.punchHole('/f', block, block);
  await expect.poll(async () => (await atB.promises.readFile('/f'))[block]).toBe(0);
  process.kill(c.pid, 'SIGCONT');
  await Promise.all([moved, punched]);
  bytes[block] = 9;
  for (const fs of [atA, atB, atC]) expect((await fs.promises.readFile('/f'))[block]).toBe(9);
});

test('a home is killed and started again while the next one waits for a block', { timeout }, async () => {
  const { b, atA, atB, atC } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(4 * block, 7));
  await atA.migrate('/f', 'b');
  // The next home may take the file, and has nothing of it.
  await atC.map('/f');
  const inTheWay = await atB.map('/f', { follow: 'manual' });
  expect(await codeOf(atA.migrate('/f', 'c'))).toBe('EBUSY');
  inTheWay.close();
  await atB.promises.writeFile('/f', Buffer.alloc(4 * block, 8));
  process.kill(b.pid, 'SIGSTOP');
  const moved = codeOf(atA.migrate('/f', 'c'));
  for (let turn = 0; turn < 50; turn++) await atC.status();
  await b.kill();
  await b.start();
  await moved;
  const whatIsRead = async (fs: ClusterFs) =>
    fs.promises.readFile('/f').then(
      (bytes) => bytes[3 * block],
      () => 'not yet',
    );
  for (const fs of [atC, atA]) await expect.poll(() => whatIsRead(fs), patience).toBe(8);
});

test('a change of a file that another node keeps waits for a node that was killed, and is made', {
  timeout,
}, async () => {
  const { c, atA, atB } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(2 * block, 7));
  await atA.migrate('/f', 'b');
  await c.kill();
  await Promise.all([atA.promises.truncate('/f', block), atB.promises.utimes('/f', 1, 1)]);
  await atB.promises.truncate('/f', 1);
  for (const fs of [atA, atB]) expect(fs.statSync('/f').size).toBe(1);
});

test('files of a node that comes back without them are EIO, and stay so when it is killed', {
  timeout,
}, async () => {
  const { atA, atC, b } = await start();
  await atA.promises.writeFile('/f', Buffer.alloc(2 * block, 7));
  await atA.migrate('/f', 'b');
  await b.kill();
  rmSync(b.runDirectory, { recursive: true });
  await b.start();
  await expect.poll(() => codeOf(atC.promises.readFile('/f')), patience).toBe('EIO');
  await b.kill();
  await b.start();
  expect(b.recovered).toBe(true);
  const atB = await mountForTest(b);
  const seen = new Set<string>();
  const whatIsRead = async (fs: ClusterFs): Promise<string> => {
    const bytes = await fs.promises
      .readFile('/f')
      .catch((error: NodeJS.ErrnoException) => String(error.code));
    const what = typeof bytes === 'string' ? bytes : bytes.every((byte) => byte === 7) ? 'cached' : 'wrong';
    seen.add(what);
    return what;
  };
  // Who has it cached may read that until its lease is over; nobody gets anything else.
  for (const fs of [atA, atB, atC]) await expect.poll(() => whatIsRead(fs), patience).toBe('EIO');
  expect([...seen]).not.toContain('wrong');
  expect(atA.statSync('/f').size).toBe(2 * block);
  await atA.promises.unlink('/f');
  expect(await atA.check()).toEqual([]);
});
