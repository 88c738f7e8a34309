/** Views of another home's file whose own node is killed and started again: coherent as before. */
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { mountForTest, newStore, startNodeProcess } from '../chaos/node-process.ts';
import { freePort, startLine } from './line.ts';

const timeout = 120_000;
const restarts = 3;
const stores = 5;

test('a view whose node was started again stores nothing that others do not see', { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * 2 ** 20 });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const [atA, atB] = [await mountForTest(a), await mountForTest(b)];
  await atA.promises.writeFile('/f', Buffer.alloc(4 * 65_536));
  const [there, here] = [await atA.map('/f', { mode: 'rw' }), await atB.map('/f', { mode: 'rw' })];
  const [counter, far] = [new Int32Array(there.buffer), new Int32Array(here.buffer)];
  let count = 0;
  const countOn = (): void => {
    for (let i = 0; i < stores; i++) {
      // Both have a copy to read, before either stores.
      for (const each of [counter, far]) expect(Atomics.load(each, 0)).toBe(count);
      for (const each of [far, counter]) Atomics.add(each, 0, 1);
      count += 2;
    }
  };
  countOn();
  for (let restart = 0; restart < restarts; restart++) {
    if (restart > 0) await expect(here.sync()).rejects.toMatchObject({ code: 'EIO' });
    await here.sync();
    // As far as the node knows, it is killed with something that was stored. It is what is there anyway.
    Atomics.store(far, 0, count);
    await b.kill();
    await b.start();
    await expect.poll(async () => (await atB.status()).unresolvedSessions).toEqual([]);
    countOn();
  }
  for (const fs of [atA, atB]) expect(await fs.check()).toEqual([]);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

test('all nodes are killed while processes of each wait for files of the other', { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a' });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const fs = await mountForTest(a);
  for (const path of ['/of-a', '/of-b']) await fs.promises.writeFile(path, Buffer.alloc(2 ** 20, 7));
  await fs.migrate('/of-b', 'b');
  const atA = startChild('../cluster/far-toucher.mjs', [a.url, '/of-b', 'rw', 'wait']);
  const atB = startChild('../cluster/far-toucher.mjs', [b.url, '/of-a', 'rw', 'wait']);
  for (const child of [atA, atB]) await child.hear('ready');
  await Promise.all([a.kill(), b.kill()]);
  // From here on these threads wait: they hear of nothing.
  for (const child of [atA, atB]) child.send({ at: 2 ** 19, store: 9 });
  for (const node of [a, b]) await node.start();
  await Promise.all([atA, atB].map((child) => child.hear('touched')));
  for (const path of ['/of-a', '/of-b']) expect((await fs.promises.readFile(path))[2 ** 19]).toBe(9);
  for (const node of [a, b])
    expect((await (await mountForTest(node)).status()).unresolvedSessions).toEqual([]);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

test('what is stored where a home has made a hole since it was started again is seen', {
  timeout,
}, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * 2 ** 20 });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const [atA, atB] = [await mountForTest(a), await mountForTest(b)];
  await atA.promises.writeFile('/f', Buffer.alloc(4 * 65_536, 1));
  const here = await atB.map('/f', { mode: 'rw' });
  expect(here.bytes[0]).toBe(1);
  await here.sync();
  process.kill(b.pid, 'SIGSTOP');
  await a.kill();
  await a.start();
  // The home has not heard that it is mapped at b.
  await atA.promises.punchHole('/f', 65_536, 2 * 65_536);
  expect(atA.statSync('/f').blocks).toBe((2 * 65_536) / 512);
  process.kill(b.pid, 'SIGCONT');
  await expect.poll(() => atB.statSync('/f').ctimeMs).toBe(atA.statSync('/f').ctimeMs);
  here.bytes[65_536 + 7] = 7;
  here.bytes[2 * 65_536] = 8;
  await here.sync();
  const content = await atA.promises.readFile('/f');
  expect([content[0], content[65_536], content[65_536 + 7], content[2 * 65_536]]).toEqual([1, 0, 7, 8]);
  expect(content.equals(here.bytes)).toBe(true);
  for (const fs of [atA, atB]) expect(await fs.check()).toEqual([]);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

test('what is stored where the home made a hole while the node was away is seen', { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * 2 ** 20 });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const atA = await mountForTest(a);
  await atA.promises.writeFile('/f', Buffer.alloc(4 * 65_536, 1));
  const child = startChild('../cluster/far-toucher.mjs', [b.url, '/f', 'rw', 'wait']);
  await child.hear('ready');
  child.process.kill('SIGSTOP');
  await b.kill();
  // As long as the node may be there, its processes store into pages, and not into a hole.
  await expect
    .poll(
      async () => {
        await atA.promises.punchHole('/f', 65_536, 2 * 65_536);
        return atA.statSync('/f').blocks;
      },
      { timeout: 30_000 },
    )
    .toBe((2 * 65_536) / 512);
  await b.start();
  const atB = await mountForTest(b);
  // The node knows of the hole before it knows of the view.
  await expect.poll(() => atB.statSync('/f').blocks, { timeout: 30_000 }).toBe((2 * 65_536) / 512);
  child.process.kill('SIGCONT');
  child.send({ at: 65_536 + 7, store: 7 });
  await child.hear('touched');
  const content = await atA.promises.readFile('/f');
  expect([content[0], content[65_536], content[65_536 + 7], content[3 * 65_536]]).toEqual([1, 0, 7, 1]);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

test('a home that was started again hears at once who has its files mapped', { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a' });
  const b = await startNodeProcess({ joinPort, name: 'b' });
  const [atA, atB] = [await mountForTest(a), await mountForTest(b)];
  await atA.promises.writeFile('/f', Buffer.alloc(4 * 65_536, 1));
  const here = await atB.map('/f', { mode: 'rw' });
  await a.kill();
  await a.start();
  await expect
    .poll(async () => (await atA.status()).cluster, { timeout: 30_000 })
    .toMatchObject({ stags: 1 });
  // Before anything is touched at b: who could not give the file up does not get it.
  const pinned = await mount(a.url, { mode: 'pinned' });
  onTestFinished(() => pinned.unmount());
  await expect(pinned.map('/f')).rejects.toMatchObject({ code: 'EBUSY' });
  here.bytes[65_536] = 7;
  expect((await atA.promises.readFile('/f'))[65_536]).toBe(7);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

/** Three nodes, and a file that the third keeps. */
async function startThree() {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', store: newStore() });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b', store: newStore() });
  const c = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'c', store: newStore() });
  const [atB, atC] = [await mountForTest(b), await mountForTest(c)];
  await atB.promises.writeFile('/f', 'before');
  await atB.migrate('/f', 'c');
  return { a, b, c, atB, atC };
}

test('a coordinator that was started again answers no change before all see it', { timeout }, async () => {
  const { a, c, atB, atC } = await startThree();
  process.kill(c.pid, 'SIGSTOP');
  await a.stop();
  await a.start();
  let isRemoved = false;
  const removing = atB.promises.rm('/f').then(() => {
    isRemoved = true;
    return atC.existsSync('/f');
  });
  await expect.poll(() => isRemoved || !atB.existsSync('/f')).toBe(true);
  process.kill(c.pid, 'SIGCONT');
  expect(await removing).toBe(false);
  await atC.promises.writeFile('/f', 'after');
  expect(await atB.promises.readFile('/f', 'utf8')).toBe('after');
});

test('a coordinator that was started again waits for a node that is gone until its lease is over', {
  timeout,
}, async () => {
  const { a, c, atB } = await startThree();
  await c.kill();
  await a.stop();
  await a.start();
  await atB.promises.rm('/f');
  expect(atB.existsSync('/f')).toBe(false);
});

test('what is written by a name is not lost where the name is gone', { timeout }, async () => {
  const joinPort = await freePort();
  await startNodeProcess({ peerPort: joinPort, name: 'a' });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b' });
  const line = await startLine(joinPort, { limitMs: timeout });
  const c = await startNodeProcess({ joinPort: line.port, peerPort: await freePort(), name: 'c' });
  const [atB, atC] = [await mountForTest(b), await mountForTest(c)];
  await atB.promises.writeFile('/f', 'before');
  await atB.migrate('/f', 'c');
  await line.cut();
  // Nobody waits for c when its lease is over.
  await atB.promises.rm('/f');
  expect(atC.existsSync('/f')).toBe(true);
  const writing = atC.promises.writeFile('/f', 'after');
  await line.mend();
  await writing;
  expect(await atB.promises.readFile('/f', 'utf8')).toBe('after');
});
