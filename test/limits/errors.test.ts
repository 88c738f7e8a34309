/** Mistakes of callers: each is one clear error with its POSIX code. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '@cluster-fs/transport';
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { startNodeProcess } from '../chaos/node-process.ts';
import { frame, pack } from '../hostile/message-pack.ts';

describe('a URL', () => {
  test.each([
    ['of another protocol', () => 'http://localhost/', 'EINVAL'],
    ['of no protocol that there is', () => 'smb:share', 'EINVAL'],
    ['without a node', () => `unix:${temporaryDirectory()}/nobody.sock`, 'ENOENT'],
    ['of a file that is no socket', () => `unix:${plainFile()}`, 'ECONNREFUSED'],
    ['longer than a socket may be', () => `unix:/${'x'.repeat(200)}`, 'ENAMETOOLONG'],
    ['that is a file', () => plainFile(), 'ENOTDIR'],
    ['below a file', () => `${plainFile()}/below`, 'ENOTDIR'],
  ])('%s', async (_, url, code) => {
    const error = await rejection(mount(url()));
    expect(error).toMatchObject({ code, errno: expect.any(Number), syscall: expect.any(String) });
    expect(error.message).toMatch(new RegExp(`^${code}: `));
  });

  test.each([
    ['hangs up', (peer: Socket) => peer.end(), 'ECONNRESET'],
    ['speaks HTTP', (peer: Socket) => peer.end('HTTP/1.1 400 Bad Request\r\n\r\n'), 'EPROTO'],
    ['sends zeros', (peer: Socket) => peer.write(Buffer.alloc(4096)), 'EPROTO'],
    ['is a node of another version', refuseVersion, 'EPROTONOSUPPORT'],
  ])('of a peer that %s', async (_, behave, code) => {
    expect(await rejection(mount(await serve(behave)))).toMatchObject({ code });
  });

  test('of a peer that says nothing', async () => {
    const url = await serve(() => undefined);
    const error = await rejection(mount(url, { timeoutMs: 200 }));
    expect(error).toMatchObject({ code: 'ETIMEDOUT', path: url.slice('unix:'.length) });
  });

  test('of a peer that says nothing any more', async () => {
    const node = await startNodeProcess();
    process.kill(node.pid, 'SIGSTOP');
    onTestFinished(() => void process.kill(node.pid, 'SIGCONT'));
    expect(await rejection(mount(node.url, { timeoutMs: 200 }))).toMatchObject({ code: 'ETIMEDOUT' });
  });

  test('with a queue of clients that is full for a while', async () => {
    const node = await startNodeProcess();
    process.kill(node.pid, 'SIGSTOP');
    const waiting = Array.from({ length: 600 }, () => connectOrFull(node.url.slice('unix:'.length)));
    expect(waiting).toContain(undefined);
    const mounting = mount(node.url);
    for (const fd of waiting) if (fd !== undefined) native.closeDescriptor(fd);
    process.kill(node.pid, 'SIGCONT');
    const fs = await mounting;
    expect(fs.readdirSync('/')).toEqual([]);
    await fs.unmount();
  });

  test.runIf(process.getuid?.() === 0)('of another user, at the default place (needs root)', async () => {
    const directory = temporaryDirectory();
    chmodSync(directory, 0o777);
    const path = `${directory}/clusterfs.sock`;
    const script = `require('net').createServer().listen('${path}', () => console.log('up'))`;
    const other = spawn(process.execPath, ['-e', script], {
      uid: 65_534,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void other.kill());
    await once(other.stdout, 'data');
    vi.stubEnv('XDG_RUNTIME_DIR', directory);
    vi.stubEnv('CLUSTERFS_URL', undefined);
    onTestFinished(() => void vi.unstubAllEnvs());
    // Root trusts what is named, and what is at the default place only of its own.
    expect(await rejection(mount())).toMatchObject({ code: 'EACCES', path });
  });
});

describe('a path', () => {
  test('with a name that is too long, or that is too long itself', async () => {
    const { fs } = await start();
    const longest = `/${'n'.repeat(255)}`;
    await fs.promises.writeFile(longest, 'longest');
    expect(await fs.promises.readFile(longest, 'utf8')).toBe('longest');
    const tooLong = [`${longest}n`, `/${'é'.repeat(128)}`, `/${'d/'.repeat(2100)}`];
    for (const path of tooLong) {
      for (const call of callsOn(fs, path))
        expect(await rejection(call())).toMatchObject({ code: 'ENAMETOOLONG' });
    }
    expect(fs.readdirSync('/')).toEqual(['n'.repeat(255)]);
  });

  test('that leads through a file', async () => {
    const { fs } = await start();
    await fs.promises.writeFile('/file', 'x');
    for (const call of callsOn(fs, '/file/below'))
      expect(await rejection(call())).toMatchObject({ code: 'ENOTDIR' });
  });

  test('of a directory, or of nothing, cannot be mapped', async () => {
    const { fs } = await start();
    await fs.promises.mkdir('/directory');
    expect(await rejection(fs.map('/directory'))).toMatchObject({ code: 'EISDIR', path: '/directory' });
    expect(await rejection(fs.map('/nothing'))).toMatchObject({ code: 'ENOENT', path: '/nothing' });
    expect(await rejection(fs.map('/nothing', { mode: 'rw' }))).toMatchObject({ code: 'ENOENT' });
  });
});

describe('a view', () => {
  test('that is closed throws, and its arrays are empty', async () => {
    const { fs } = await start();
    await fs.promises.writeFile('/file', 'content');
    const view = await fs.map('/file', { mode: 'rw' });
    const { bytes } = view;
    const words = new Uint8Array(view.buffer);
    view.close();
    view.close();
    expect([bytes.length, words.length]).toEqual([0, 0]);
    for (const use of [() => view.bytes, () => view.buffer, () => view.notify(0)]) {
      expect(use).toThrow(expect.objectContaining({ code: 'EBADF' }));
    }
    expect(await rejection(view.advance())).toMatchObject({ code: 'EBADF' });
    expect(await rejection(view.sync())).toMatchObject({ code: 'EBADF' });
  });

  test.each([
    { offset: -1 },
    { offset: 0.5 },
    { length: -1 },
    { length: Number.NaN },
    { reserve: 2 ** 60 },
    { reserve: -5 },
  ])('with %o is refused with EINVAL', async (options) => {
    const { fs } = await start();
    await fs.promises.writeFile('/file', 'content');
    expect(await rejection(fs.map('/file', options))).toMatchObject({ code: 'EINVAL', path: '/file' });
  });

  test('of more addresses than a process has is refused with ENOMEM', async () => {
    const { fs } = await start();
    await fs.promises.writeFile('/file', 'content');
    expect(await rejection(fs.map('/file', { reserve: 2 ** 48 }))).toMatchObject({ code: 'ENOMEM' });
    expect((await fs.holders()).length).toBe(0);
  });
});

describe('a node that is gone', () => {
  test('for good: changes fail and views go on', async () => {
    const node = await startNodeProcess();
    const fs = await mount(node.url, { reconnectMs: 300 });
    onTestFinished(() => fs.unmount());
    await fs.promises.writeFile('/file', 'content');
    const view = await fs.map('/file', { mode: 'rw' });
    const lost = once(fs, 'lost');
    await node.kill();
    const [error] = await lost;
    expect(error).toMatchObject({ code: expect.stringMatching(/ECONNREFUSED|ENOENT/) });
    for (const call of [
      () => fs.promises.writeFile('/file', 'x'),
      () => fs.map('/file'),
      () => fs.status(),
    ]) {
      expect(await rejection(call())).toMatchObject({ code: expect.stringMatching(/ECONNREFUSED|ENOENT/) });
    }
    view.bytes[0] = 'C'.charCodeAt(0);
    expect(Buffer.from(view.bytes).toString()).toBe('Content');
    expect(await rejection(mount(node.url))).toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('stopped in good order: mounting says that nobody is there', async () => {
    const node = await startNodeProcess();
    await node.stop();
    expect(await rejection(mount(node.url))).toMatchObject({ code: 'ENOENT' });
  });
});

test('a file system that is unmounted refuses everything with EBADF', async () => {
  const { fs } = await start();
  await fs.promises.writeFile('/file', 'content');
  await fs.unmount();
  await fs.unmount();
  for (const call of callsOn(fs, '/file')) expect(await rejection(call())).toMatchObject({ code: 'EBADF' });
  expect(() => fs.statSync('/file')).toThrow(expect.objectContaining({ code: 'EBADF' }));
});

test('an option that is mistyped is EINVAL, and not another one', async () => {
  const node = await startNodeProcess();
  for (const option of [{ access: 'w' }, { mode: 'pin' }, { onHomeLoss: 'poisson' }])
    expect(await rejection(mount(node.url, option as object))).toMatchObject({
      code: 'EINVAL',
      syscall: 'mount',
    });
});

test('a second node on the same socket is refused with EADDRINUSE', async () => {
  const node = await startNodeProcess();
  const again = startNodeProcess({ runDirectory: node.runDirectory });
  expect(await rejection(again)).toMatchObject({ code: 'EADDRINUSE' });
});

const callsOn = ({ promises: files }: ClusterFs, path: string) => [
  () => files.readFile(path),
  () => files.writeFile(path, 'x'),
  () => files.stat(path),
  () => files.mkdir(path),
  () => files.unlink(path),
  () => files.rename(path, '/elsewhere'),
  () => files.truncate(path, 0),
];

async function rejection(call: Promise<unknown>): Promise<NodeJS.ErrnoException> {
  const outcome = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(Error);
  return outcome as NodeJS.ErrnoException;
}

function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'clusterfs-errors-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function plainFile(): string {
  const path = join(temporaryDirectory(), 'plain');
  writeFileSync(path, '');
  return path;
}

/** A server that is no node; its URL. */
async function serve(behave: (peer: Socket) => unknown): Promise<string> {
  const path = join(temporaryDirectory(), 'other.sock');
  const server = createServer((peer) => {
    peer.on('error', () => peer.destroy());
    behave(peer);
  });
  server.listen(path);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return `unix:${path}`;
}

/** What a node answers to the first request of a client of another version. */
function refuseVersion(peer: Socket): void {
  const errorReply = 2;
  const why = 'the client speaks protocol 1, this node 2';
  peer.once('data', () =>
    peer.write(frame(pack([errorReply, 1, 'EPROTONOSUPPORT', 'mount', null, null, why]))),
  );
}

async function start(): Promise<{ fs: ClusterFs }> {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return { fs };
}

/** A connection that nobody accepts yet; undefined when no more may wait. */
function connectOrFull(path: string): number | undefined {
  try {
    return native.connectUnix(path);
  } catch (error) {
    expect(error).toMatchObject({ code: 'EAGAIN' });
    return undefined;
  }
}
