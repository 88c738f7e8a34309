/** Nodes that are stopped while their clients go on: what these have stored, and what they may touch. */
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, newStore, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from './line.ts';

const MiB = 2 ** 20;
const memory = 16 * MiB;
const block = 65_536;
const blocks = 64;
const stops = 3;
const timeout = 60_000;
const leaseMs = 5000;
const patience = { timeout: 20_000 };

/** A node, and others that joined it. */
async function startNodes(
  joining: readonly string[],
  { isStored }: { readonly isStored: boolean },
): Promise<NodeProcess[]> {
  const joinPort = await freePort();
  const common = () => (isStored ? { store: newStore(), writeBackMs: 100 } : {});
  const nodes = [await startNodeProcess({ ...common(), peerPort: joinPort, name: 'a' })];
  for (const name of joining)
    nodes.push(await startNodeProcess({ ...common(), joinPort, peerPort: await freePort(), name }));
  return nodes;
}

const startTwo = (options: { readonly isStored: boolean }) => startNodes(['b'], options);

test.each([
  { which: 'a node alone with a store', start: async () => [await startNodeProcess({ store: newStore() })] },
  { which: 'a node in another one’s cluster', start: () => startTwo({ isStored: false }) },
  { which: 'one with a store', start: () => startTwo({ isStored: true }) },
  { which: 'its coordinator', start: async () => (await startTwo({ isStored: true })).toReversed() },
])(
  'a process goes on, and loses no store, when its node is stopped: $which',
  { timeout },
  async ({ start }) => {
    const nodes = await start();
    const [first, stopped] = [nodes[0], nodes.at(-1)] as [NodeProcess, NodeProcess];
    const fs = await mountForTest(first);
    await fs.promises.writeFile('/file', Buffer.alloc(blocks * block));
    const child = startChild('../cluster/counting.mjs', [stopped.url, '/file']);
    await child.hear('ready');
    for (let i = 0; i < stops; i++) {
      await child.hear('counted');
      await stopped.stop();
      await stopped.start();
      expect(stopped.recovered).toBe(true);
    }
    await child.hear('counted');
    child.send('leave');
    const { counts, code } = await child.hear<{ counts: number[]; code: string | undefined }>('counts');
    // It may not have heard yet that its coordinator is there.
    const content = await vi.waitFor(() => fs.promises.readFile('/file'), patience);
    expect(counts.map((_, i) => content.readUInt32LE(i * block))).toEqual(counts);
    expect(code).toBeUndefined();
    expect(await fs.check()).toEqual([]);
    expect(nodes.flatMap(({ errors }) => errors)).toEqual([]);
  },
);

test.each([
  { to: 'b', besides: 'a' },
  { to: 'a', besides: 'b' },
])('a move to $to is not waited for that nobody can end', { timeout }, async ({ to, besides }) => {
  type Three = [NodeProcess, NodeProcess, NodeProcess];
  const [a, b, c] = (await startNodes(['b', 'c'], { isStored: true })) as Three;
  const fs = await mountForTest(b);
  await fs.promises.writeFile('/file', Buffer.alloc(blocks * block, 7));
  await fs.migrate('/file', 'c');
  process.kill(c.pid, 'SIGSTOP');
  const moved = fs.migrate('/file', to).catch((error: unknown) => error);
  await expect(fs.migrate('/file', besides)).rejects.toMatchObject({ code: 'EALREADY' });
  await a.stop();
  expect(await moved).toMatchObject({ code: 'ENONET', message: expect.stringContaining('stopping') });
  process.kill(c.pid, 'SIGCONT');
  await a.start();
  const content = await vi.waitFor(() => fs.promises.readFile('/file'), patience);
  expect(content.equals(Buffer.alloc(blocks * block, 7))).toBe(true);
  await vi.waitFor(() => fs.migrate('/file', 'b'), patience);
  expect([a, b, c].flatMap(({ errors }) => errors)).toEqual([]);
});

test('more than a link takes at once goes home', { timeout }, async () => {
  const joinPort = await freePort();
  const large = { memory: 256 * MiB };
  const a = await startNodeProcess({ ...large, peerPort: joinPort });
  const b = await startNodeProcess({ ...large, joinPort });
  const [atA, atB] = [await mountForTest(a), await mountForTest(b)];
  const size = 160 * MiB;
  await atA.promises.writeFile('/large', Buffer.alloc(size));
  const { bytes } = await atB.map('/large', { mode: 'rw' });
  for (let at = 0; at < size; at += block) bytes[at] = 7;
  await b.stop();
  const content = await atA.promises.readFile('/large');
  const lost = Array.from({ length: size / block }, (_, i) => content[i * block]).filter(
    (byte) => byte !== 7,
  );
  expect(lost).toEqual([]);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

test('what a client may store into is given to nobody by the next node', { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a' });
  const b = await startNodeProcess({ joinPort, peerPort: await freePort(), name: 'b', memory });
  const [atA, atB] = [await mountForTest(a), await mountForTest(b)];
  for (const path of ['/file', '/own']) {
    await atA.promises.writeFile(path, '');
    await atA.migrate(path, 'b');
  }
  const writer = startChild('late-writer.mjs', [b.socketPath]);
  await writer.hear('begun');
  // Nobody is there to whom the files could go.
  await a.kill();
  await b.stop();
  expect(b.notices.join()).toMatch(/they are kept in/);
  await a.start();
  await b.start();
  expect(b.recovered).toBe(true);
  // What is refused until the nodes know each other again would take room.
  await vi.waitFor(() => atB.promises.mkdir('/there'), patience);
  const content = Buffer.alloc(12 * MiB, 7);
  await atB.promises.writeFile('/own', content);
  writer.send('store');
  await writer.hear('ended');
  expect((await atB.promises.readFile('/own')).equals(content)).toBe(true);
  expect(await atB.check()).toEqual([]);
});

test('files go to another node under clients that keep what they map, too', { timeout }, async () => {
  const [a, b] = (await startTwo({ isStored: false })) as [NodeProcess, NodeProcess];
  const fs = await mountForTest(a);
  for (const path of ['/pinned', '/by-hand']) {
    await fs.promises.writeFile(path, Buffer.alloc(2 * block, 7));
    await fs.migrate(path, 'b');
  }
  const reader = await mount(b.url, { access: 'r' });
  const writer = await mount(b.url);
  onTestFinished(async () => void (await Promise.all([reader.unmount(), writer.unmount()])));
  const view = await reader.map('/pinned');
  await writer.map('/by-hand', { follow: 'manual' });
  await b.stop();
  expect(b.notices.join()).not.toMatch(/no other place/);
  for (const path of ['/pinned', '/by-hand']) {
    expect(await fs.homeOf(path)).toBe('a');
    expect((await fs.promises.readFile(path)).equals(Buffer.alloc(2 * block, 7))).toBe(true);
  }
  await b.start();
  await expect.poll(async () => (await reader.status()).unresolvedSessions, patience).toEqual([]);
  expect(Buffer.from(view.bytes).equals(Buffer.alloc(2 * block, 7))).toBe(true);
  expect([a.errors, b.errors]).toEqual([[], []]);
});

test('a coordinator that is stopped waits for nobody’s lease', { timeout }, async () => {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a' });
  const [b, c] = [await startNodeProcess({ joinPort }), await startNodeProcess({ joinPort })];
  const [atB, atC] = [await mountForTest(b), await mountForTest(c)];
  let made = 0;
  const make = async (): Promise<void> => {
    for (;;) await atB.promises.mkdir(`/${made++}`);
  };
  const failed = expect(make()).rejects.toMatchObject({ code: 'ECONNRESET' });
  await expect.poll(() => made).toBeGreaterThan(10);
  const beganMs = performance.now();
  await a.stop();
  expect(performance.now() - beganMs).toBeLessThan(leaseMs / 2);
  await failed;
  // What it had begun it has answered, and everybody knew it by then.
  const last = made - 1;
  expect(atC.readdirSync('/').length).toBeGreaterThanOrEqual(last);
});
