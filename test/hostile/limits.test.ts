/** Every limit of docs/security.md that refuses: within it all works, one more gets the answer it says. */
import { constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limitTable } from '@cluster-fs/node';
import { Connection, type FsError, native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { goodHello, openRawSession } from '../chaos/raw-session.mjs';

const pageSize = 4096;
type Limit = keyof typeof limitTable;

describe('a session', () => {
  test.each<[Limit, number, (raw: Raw, i: number) => Promise<unknown>]>([
    ['views', 3, ({ connection }) => connection.request('lease', readable)],
    ['handles', 3, ({ connection }) => connection.request('open', { path: '/f', flags: 0, mode: 0 })],
    ['reservations', 3, ({ connection }) => connection.request('reserve', { pages: 1 })],
    ['reservedBytes', 3 * pageSize, ({ connection }) => connection.request('reserve', { pages: 1 })],
    ['subscriptions', 3, ({ connection }, i) => connection.request('subscribe', { subscription: i })],
    ['writes', 3, ({ connection, handle }) => connection.request('writeBegin', { handle, ...firstByte })],
  ])('has %s=%i', async (name, limit, take) => {
    const raw = await open({ [name]: limit });
    // A handle is open already.
    const may = name === 'handles' ? 2 : 3;
    for (let i = 0; i < may; i++) await take(raw, i);
    await expectRefused(take(raw, 3), name);
    // Refused, and not ended: what it has it can give back, and what it asked for was not done.
    expect(await raw.connection.request('check', {})).toEqual({ findings: [] });
  });

  test('presents no more views than it may have', async () => {
    const { connection } = await open({ views: 2 });
    for (let i = 0; i < 2; i++) await connection.request('lease', readable);
    const { ino, generation } = await connection.request('open', { path: '/f', flags: 0, mode: 0 });
    const { path, mode, follow, offset } = readable;
    const at = { path, offset, size: 1, layoutVersion: 1, extents: [] };
    const view = { view: 1, ino, generation, mode, follow, ...at };
    await expectRefused(connection.request('present', { ...view, address: 0, length: pageSize }), 'views');
  });

  test('one reservation is no larger than all that may be reserved', async () => {
    const { connection } = await open({ reservedBytes: 3 * pageSize });
    await expectRefused(connection.request('reserve', { pages: 4 }), 'reservedBytes');
    await connection.request('reserve', { pages: 3 });
  });
});

test('a session pins as many files as it may, and another when it has let go of one', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, limits: { pins: 2 } });
  const fs = await mountForTest(node);
  for (const name of ['/a', '/b', '/c']) await fs.promises.writeFile(name, name);
  await fs.pin('/a');
  await fs.pin('/b');
  await fs.pin('/b');
  await expect(fs.pin('/c')).rejects.toMatchObject({ code: limitTable.pins.code, path: '/c' });
  await fs.unpin('/a');
  await fs.pin('/c');
  await fs.unmount();
  const other = await mountForTest(node);
  for (const name of ['/a', '/b']) await other.pin(name);
});

test('a node has as many sessions as it may, and one more when one ends', async () => {
  const node = await startNodeProcess({ limits: { sessions: 2 } });
  const sessions = [await openRawSession(node.socketPath), await openRawSession(node.socketPath)];
  await expectRefused(openRawSession(node.socketPath), 'sessions');
  sessions.pop()?.close();
  await expect.poll(() => opens(node)).toBe(true);
  sessions.pop()?.close();
});

test('a user has as many connections as it may: the next is told why, and not served', async () => {
  const node = await startNodeProcess({ limits: { connections: 3 } });
  const first = await openRawSession(node.socketPath);
  const silent = [native.connectUnix(node.socketPath), native.connectUnix(node.socketPath)];
  await first.connection.request('status', {});
  const bye = await farewellOf(node.socketPath);
  expect(bye).toMatchObject({ code: limitTable.connections.code, why: expect.stringContaining('=3') });
  expect((await first.connection.request('status', {})).status).toMatchObject({ overLimit: 1 });
  for (const fd of silent) native.closeDescriptor(fd);
  await expect.poll(() => opens(node)).toBe(true);
  first.close();
});

test('a mount that gets one connection, and not its second, leaves no session', async () => {
  const node = await startNodeProcess({ limits: { connections: 3 } });
  const fs = await mountForTest(node);
  await expect(mount(node.url)).rejects.toMatchObject({ code: limitTable.connections.code });
  await expect.poll(async () => (await fs.status()).sessions).toHaveLength(1);
});

test('requests beyond those that may wait fail at once, and the others are answered', async () => {
  const { connection } = await open({ pendingRequests: 50 });
  const asked = Array.from({ length: 200 }, (_, i) =>
    connection.request('mkdir', { path: `/d${i}`, mode: 0o755, recursive: false }).then(
      () => 'made',
      ({ code }: FsError) => code,
    ),
  );
  const answers = await Promise.all(asked);
  expect(new Set(answers)).toEqual(new Set(['made', limitTable.pendingRequests.code]));
  const made = answers.flatMap((answer, i) => (answer === 'made' ? [i] : []));
  expect(made.length).toBeGreaterThanOrEqual(50);
  // What failed was not done: a request that is made again succeeds.
  const failed = answers.findIndex((answer) => answer !== 'made');
  await connection.request('mkdir', { path: `/d${failed}`, mode: 0o755, recursive: false });
});

test('messages beyond the rate wait, and are answered', async () => {
  const { connection } = await open({ messagesPerSecond: 1000 });
  const startMs = performance.now();
  const asked = Array.from({ length: 4000 }, () => connection.request('holders', { path: '/f' }));
  expect(await Promise.all(asked)).toHaveLength(4000);
  // A burst of a tenth of a second may come at once, and what one read brings: the rest has to wait.
  expect(performance.now() - startMs).toBeGreaterThan(2000);
});

const readable = { path: '/f', mode: 'r', follow: 'live', offset: 0 } as const;
const firstByte = { offset: 0, length: 1 };

type Raw = Awaited<ReturnType<typeof open>>;

/** A session by hand, with a file of one page that it has a handle of. */
async function open(limits: Partial<Record<Limit, number>>) {
  const node = await startNodeProcess({ limits });
  const session = await openRawSession(node.socketPath);
  onTestFinished(session.close);
  const { connection } = session;
  const flags = constants.O_CREAT | constants.O_RDWR;
  const { handle } = await connection.request('open', { path: '/f', flags, mode: 0o600 });
  await connection.request('setAttributes', { handle, follow: true, syscall: 'truncate', size: pageSize });
  const { grant } = await connection.request('writeBegin', { handle, ...firstByte });
  await connection.request('writeEnd', { grant, written: 1 });
  return { ...session, node, handle };
}

async function expectRefused(request: Promise<unknown>, name: Limit): Promise<void> {
  await expect(request).rejects.toMatchObject({
    code: limitTable[name].code,
    why: expect.stringContaining(`limit ${name}=`),
  });
}

async function opens({ socketPath }: NodeProcess): Promise<boolean> {
  try {
    (await openRawSession(socketPath)).close();
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'EMFILE' });
    return false;
  }
}

/** What the node says to a newcomer before it hangs up. */
function farewellOf(socketPath: string): Promise<unknown> {
  return new Promise((resolve) => {
    let farewell: unknown;
    const connection = new Connection(native.connectUnix(socketPath), {
      onEvent: ({ fields }) => {
        farewell = fields;
      },
      onClose: () => resolve(farewell),
    });
    connection.request('hello', goodHello).catch(() => undefined);
  });
}
