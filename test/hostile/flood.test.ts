/**
 * Too much of everything: connections, requests, descriptors, silence. The honest client goes on meanwhile.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Connection, native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openRawSession } from '../chaos/raw-session.mjs';
import { frame, pack } from './message-pack.ts';
import { connectRaw } from './socket.ts';
import { startScene } from './witness.ts';

describe('too much', () => {
  test('a thousand peers that connect and die', async () => {
    const scene = await startScene();
    for (let batch = 0; batch < 20; batch++) {
      const peers = await Promise.all(Array.from({ length: 50 }, () => connectRaw(scene.node.socketPath)));
      await Promise.all(peers.map((peer) => peer.close()));
    }
    await scene.expectUndisturbed();
  });

  test('a hundred peers that say hello and die before the answer', async () => {
    const scene = await startScene();
    const { fd: userfault } = native.createUserfault();
    onTestFinished(() => native.closeDescriptor(userfault));
    for (let i = 0; i < 100; i++) {
      const opening = openRawSession(scene.node.socketPath, { userfault });
      if (i % 2 === 0) (await opening).close();
      else {
        const connection = new Connection(native.connectUnix(scene.node.socketPath));
        connection.request('status', {}).catch(() => undefined);
        connection.close();
        (await opening).close();
      }
    }
    await scene.expectUndisturbed();
  });

  test('four hundred peers that say nothing: a session opens again as soon as they are gone', async () => {
    const scene = await startScene();
    const silent = await Promise.all(Array.from({ length: 400 }, () => connectRaw(scene.node.socketPath)));
    await Promise.all(silent.map((peer) => peer.close()));
    const fs = await mount(scene.node.url);
    expect(fs.readdirSync('/')).toContain('witness');
    await fs.unmount();
    await scene.expectUndisturbed();
  });

  test('ten thousand requests at once', async () => {
    const scene = await startScene();
    const { connection, close } = await openRawSession(scene.node.socketPath);
    const asked = Array.from({ length: 10_000 }, (_, i) =>
      connection.request('mkdir', { path: `/flood-${i % 100}`, mode: 0o755, recursive: true }),
    );
    expect(await Promise.all(asked)).toHaveLength(10_000);
    close();
    await scene.expectUndisturbed();
  });

  test('twenty thousand requests at once: others are served between them', async () => {
    const scene = await startScene();
    const { connection, close } = await openRawSession(scene.node.socketPath);
    let answers = 0;
    const flood = Array.from({ length: 20_000 }, () =>
      connection.request('mkdir', { path: '/flood', mode: 0o755, recursive: true }).then(() => {
        answers++;
      }),
    );
    await scene.fs.promises.chmod('/witness', 0o700);
    expect(answers).toBeLessThan(flood.length / 2);
    await Promise.all(flood);
    close();
    await scene.expectUndisturbed();
  });

  test('a hundred thousand requests of one who never reads the answers', async () => {
    const scene = await startScene();
    const peer = await connectRaw(scene.node.socketPath);
    peer.socket.pause();
    const status = 64;
    const volley = Buffer.concat(Array.from({ length: 1000 }, (_, i) => frame(pack([status, i]))));
    for (let i = 0; i < 100; i++) peer.send(volley);
    await Promise.race([
      peer.closed(),
      expect.poll(() => peer.socket.writableLength, { timeout: 5000 }).toBe(0),
    ]);
    await peer.close();
    await scene.expectUndisturbed();
  });

  test('a subscriber that does not read while a thousand files change', async () => {
    const scene = await startScene();
    const { connection, close } = await openRawSession(scene.node.socketPath);
    await connection.request('subscribe', { subscription: 1 });
    connection.setHandlers({ onEvent: () => undefined });
    for (let i = 0; i < 1000; i++) await scene.fs.promises.chmod('/witness', 0o700 + (i % 8));
    close();
    await scene.expectUndisturbed();
  });
}, 60_000);

describe('descriptors that nobody asked for', () => {
  test.each([1, 16, 17, 253])('%d with one message', async (count) => {
    const scene = await startScene();
    const send = () => sendDescriptors(scene.node.socketPath, { count, messages: 1 });
    await Promise.all([send(), send(), send()]);
    await scene.expectUndisturbed();
  });

  test('sixteen with each of fifty messages', async () => {
    const scene = await startScene();
    await sendDescriptors(scene.node.socketPath, { count: 16, messages: 50 });
    await scene.expectUndisturbed();
  });

  test('with requests that take none', async () => {
    const scene = await startScene();
    const { connection, close } = await openRawSession(scene.node.socketPath);
    for (let i = 0; i < 200; i++) await connection.request('status', {}, { descriptors: [0, 1, 2] });
    close();
    await scene.expectUndisturbed();
  });

  test('announced, and not sent', async () => {
    const scene = await startScene();
    const peer = await connectRaw(scene.node.socketPath);
    peer.send(frame(pack([64, 1]), { descriptors: 2 }));
    await peer.closed();
    await scene.expectUndisturbed();
  });
}, 30_000);

interface Descriptors {
  readonly count: number;
  readonly messages: number;
}

/**
 * Sends copies of descriptor 0 by python, which knows no limit but the kernel's: the addon sends sixteen at
 * most.
 */
async function sendDescriptors(socketPath: string, { count, messages }: Descriptors): Promise<void> {
  const program = [
    'import array, socket, sys',
    'peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)',
    'peer.connect(sys.argv[1])',
    'fds = array.array("i", [0] * int(sys.argv[2]))',
    'try:',
    '    for _ in range(int(sys.argv[3])):',
    '        peer.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])',
    '    peer.shutdown(socket.SHUT_WR)',
    '    peer.recv(1)',
    'except (BrokenPipeError, ConnectionResetError):',
    '    pass',
  ].join('\n');
  const sender = spawn('python3', ['-c', program, socketPath, `${count}`, `${messages}`], {
    stdio: 'inherit',
  });
  expect(await once(sender, 'exit')).toEqual([0, null]);
}
