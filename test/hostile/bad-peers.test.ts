/**
 * Peers that begin and do not go on: with the handshake, with a frame, with reading, with receiving
 * descriptors. What they made the node keep is given back, to the last descriptor.
 */
import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { Connection, FsError, native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { goodHello, openRawSession } from '../chaos/raw-session.mjs';
import { helloFrame as hello } from './hello-frame.ts';
import { frame, pack } from './message-pack.ts';
import { connectRaw, type RawSocket } from './socket.ts';
import { type Scene, startScene } from './witness.ts';

const MiB = 2 ** 20;
const messages = { hello: 16, put: 34, status: 64 } as const;

describe('a message bomb', () => {
  test('before hello: no more than a hello is taken', async () => {
    // Not the time, the length ends them.
    const scene = await startScene({ limits: { helloMs: 600_000 } });
    const peers = await connectMany(scene, 100);
    const bomb = frame(Buffer.alloc(0), { length: 1_900_000 });
    for (const peer of peers) {
      peer.send(bomb);
      peer.send(Buffer.alloc(1_800_000, 0xc0));
    }
    await Promise.all(peers.map((peer) => peer.closed()));
    await scene.expectUndisturbed();
  });

  test('after hello: frames that never end are kept up to a limit that all peers share', async () => {
    const scene = await startScene({ limits: { keptBytes: 16 * MiB } });
    const peers = await connectMany(scene, 60);
    for (const peer of peers) peer.send(hello);
    await expectSessions(scene, 61);
    const before = scene.node.rssBytes();
    const unfinished = frame(Buffer.alloc(1_800_000, 0xc0), { length: 1_900_000 });
    for (const peer of peers) peer.send(unfinished);
    // Sixty would keep 108 MiB; nine may.
    await expectSessions(scene, (sessions) => sessions <= 10);
    expect(scene.node.rssBytes() - before).toBeLessThan(90 * MiB);
    await Promise.all(peers.map((peer) => peer.close()));
    await expectSessions(scene, 1);
    // What they kept is given back: a long request is taken again.
    const { connection, close } = await openRawSession(scene.node.socketPath);
    await expect(connection.request('put', longPut('/none', 16_000))).rejects.toMatchObject({
      code: 'EINVAL',
    });
    close();
    await scene.expectUndisturbed();
  });

  test('of requests that wait for each other: they fail when they are too many bytes', async () => {
    const scene = await startScene({ limits: { keptBytes: MiB / 2 } });
    const { connection, close } = await openRawSession(scene.node.socketPath);
    const flags = constants.O_CREAT | constants.O_RDWR;
    const { handle } = await connection.request('open', { path: '/gate', flags, mode: 0o600 });
    const { grant } = await connection.request('writeBegin', { handle, offset: 0, length: 1 });
    // Each waits for the write in place, with the runs that it names.
    const put = longPut('/gate', 5000);
    const asked = Array.from({ length: 60 }, () =>
      connection.request('put', put).catch(({ code }: FsError) => code),
    );
    await connection.request('writeEnd', { grant, written: 1 }).catch(refused);
    const codes = await Promise.all(asked);
    expect(new Set(codes)).toEqual(new Set(['EINVAL', 'ENOBUFS']));
    close();
    await scene.expectUndisturbed();
  });
}, 60_000);

describe('a slow reader', () => {
  test('who never reads answers is cut off, and its session ends', async () => {
    const scene = await startScene();
    const [peer] = (await connectMany(scene, 1)) as [RawSocket];
    peer.send(hello);
    await expectSessions(scene, 2);
    peer.socket.pause();
    // An answer with all sessions in it is longer than its question.
    const volley = Buffer.concat(Array.from({ length: 1000 }, (_, i) => frame(pack([messages.status, i]))));
    const sent = (async () => {
      while (!peer.socket.destroyed) {
        if (peer.socket.writableLength < MiB) peer.send(volley);
        await new Promise((resolve) => setImmediate(resolve));
      }
    })();
    await expectSessions(scene, 1);
    expect(await scene.fs.status()).toMatchObject({ overLimit: 1 });
    await peer.close();
    await sent;
    await scene.expectUndisturbed();
  });

  test('who never reads its events is cut off, and files go on changing', async () => {
    const scene = await startScene({ limits: { keptBytes: 8 * MiB } });
    const { connection, close } = await openRawSession(scene.node.socketPath);
    await connection.request('subscribe', { subscription: 1 });
    const fd = silenced(connection);
    const path = `/${'x'.repeat(200)}`;
    await scene.fs.promises.writeFile(path, 'x');
    const isOpen = async () => ((await scene.fs.status()).sessions as unknown[]).length === 2;
    while (await isOpen()) {
      // Less than a connection may always keep: the honest one is of the same user.
      const many = Array.from({ length: 100 }, () => scene.fs.promises.chmod(path, 0o600));
      await Promise.all(many);
    }
    native.closeDescriptor(fd);
    close();
    await scene.expectUndisturbed();
  });
}, 60_000);

describe('a half-open connection', () => {
  test('that says nothing, or half a hello, is closed after its time', async () => {
    const scene = await startScene({ limits: { helloMs: 300 } });
    const peers = await connectMany(scene, 40);
    for (const [i, peer] of peers.entries()) peer.send(hello.subarray(0, i % hello.length));
    await Promise.all(peers.map((peer) => peer.closed()));
    expect(await scene.fs.status()).toMatchObject({ overLimit: 40 });
    await scene.expectUndisturbed();
  });

  test('holds nobody up meanwhile', async () => {
    const scene = await startScene();
    const peers = await connectMany(scene, 300);
    const fs = await mount(scene.node.url);
    expect(fs.readdirSync('/')).toContain('witness');
    await fs.unmount();
    await Promise.all(peers.map((peer) => peer.close()));
    await scene.expectUndisturbed();
  });
}, 60_000);

describe('descriptors that nobody collects', () => {
  test('end the session after its time: the kernel keeps them on the node’s account', async () => {
    const scene = await startScene({ limits: { helloMs: 300 } });
    const fds = Array.from({ length: 50 }, () => native.connectUnix(scene.node.socketPath));
    for (const fd of fds) native.sendMessage(fd, hello, 0, hello.length, []);
    await expectSessions(scene, 51);
    await expectSessions(scene, 1);
    expect(await scene.fs.status()).toMatchObject({ overLimit: 50 });
    for (const fd of fds) native.closeDescriptor(fd);
    await scene.expectUndisturbed();
  });

  test('who has received them and is silent stays', async () => {
    const scene = await startScene({ limits: { helloMs: 300 } });
    const received = await openRawSession(scene.node.socketPath);
    const [late] = await connectMany(scene, 1);
    // When this one is closed, the time of the other is over too.
    await late?.closed();
    expect(await received.connection.request('status', {})).toBeDefined();
    received.close();
    await scene.expectUndisturbed();
  });
}, 60_000);

describe('a thousand peers that connect and die', () => {
  test('at each stage of the handshake', async () => {
    // Fewer than there will be, one after the other: who is gone does not count.
    const scene = await startScene({ limits: { connections: 600 } });
    const { socketPath } = scene.node;
    const { fd: userfault } = native.createUserfault();
    onTestFinished(() => native.closeDescriptor(userfault));
    const stages: (() => Promise<void>)[] = [
      async () => native.closeDescriptor(await connectFd(socketPath)),
      () => sendAndDie(socketPath, hello.subarray(0, 5)),
      () => sendAndDie(socketPath, hello.subarray(0, hello.length - 1)),
      () => sendAndDie(socketPath, hello),
      () => sendAndDie(socketPath, Buffer.concat([hello, frame(pack([messages.status, 2]))])),
      () => sendAndDie(socketPath, hello, [0]),
      async () => (await openRawSession(socketPath, { userfault })).close(),
      () => attachAndDie(socketPath),
      () => workAndDie(socketPath),
    ];
    for (let i = 0; i < 1000; i += 25) {
      const batch = Array.from({ length: 25 }, (_, k) => stages[(i + k) % stages.length]?.());
      await Promise.all(batch);
    }
    await scene.expectUndisturbed();
  });
}, 120_000);

test('without descriptors left, newcomers are told so and others go on', async () => {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  const before = node.descriptors().length;
  execFileSync('prlimit', ['--pid', `${node.pid}`, `--nofile=${before + 20}`]);
  const peers = await connectMany({ node }, 60);
  await expect.poll(() => farewellOf(node)).toBe('EMFILE');
  await fs.promises.writeFile('/file', 'goes on');
  expect(await fs.promises.readFile('/file', 'utf8')).toBe('goes on');
  await Promise.all(peers.map((peer) => peer.close()));
  await expect.poll(() => farewellOf(node)).toBeUndefined();
  await expect.poll(() => node.descriptors().length).toBe(before);
  expect(node.errors).toEqual([]);
});

const connectMany = ({ node }: { node: NodeProcess }, count: number): Promise<RawSocket[]> =>
  Promise.all(Array.from({ length: count }, () => connectRaw(node.socketPath)));

/** Waits until the node has as many sessions, the honest client's included. */
async function expectSessions({ fs }: Scene, wanted: number | ((count: number) => boolean)): Promise<void> {
  const count = async () => ((await fs.status()).sessions as unknown[]).length;
  const isMet = async () => (typeof wanted === 'number' ? (await count()) === wanted : wanted(await count()));
  await expect.poll(isMet, { timeout: 20_000 }).toBe(true);
}

/** A request to make pages a file's that are not reserved: EINVAL, when it is taken at all. */
function longPut(path: string, pages: number) {
  const runs = Array.from({ length: pages }, (_, i) => ({ page: 70_000 + i, count: 1 }));
  return { path, flags: constants.O_CREAT | constants.O_WRONLY, mode: 0, size: pages * 4096, runs };
}

/** Lets go of a connection without closing its socket, which then nobody reads. */
function silenced(connection: Connection): number {
  const fd = native.duplicate(connection.fd);
  connection.close();
  return fd;
}

/** Waits while the queue of the node is full. */
async function connectFd(path: string): Promise<number> {
  for (;;) {
    try {
      return native.connectUnix(path);
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== 'EAGAIN') throw error;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

async function sendAndDie(path: string, bytes: Uint8Array, descriptors: number[] = []): Promise<void> {
  const fd = await connectFd(path);
  native.sendMessage(fd, bytes, 0, bytes.length, descriptors);
  native.closeDescriptor(fd);
}

async function attachAndDie(path: string): Promise<void> {
  const { welcome, close } = await openRawSession(path);
  const { session, token } = welcome;
  const request = new Connection(await connectFd(path));
  request.request('attach', { session, token }).catch(refused);
  close();
  request.close();
}

async function workAndDie(path: string): Promise<void> {
  const { connection, close } = await openRawSession(path);
  await connection.request('reserve', { pages: 3 });
  connection.request('lease', { path: '/witness', mode: 'r', follow: 'live', offset: 0 }).catch(refused);
  connection.request('reserve', { pages: 2 }).catch(refused);
  close();
}

const refused = (error: unknown): void => expect(error).toBeInstanceOf(FsError);

/** Why the node turns a newcomer away; undefined when it is let in. */
async function farewellOf({ socketPath }: NodeProcess): Promise<string | undefined> {
  let code: string | undefined;
  const connection = new Connection(await connectFd(socketPath), {
    onEvent: ({ name, fields }) => {
      if (name === 'bye') code = fields.code;
    },
  });
  await connection.request('hello', goodHello).catch(refused);
  connection.close();
  return code;
}
