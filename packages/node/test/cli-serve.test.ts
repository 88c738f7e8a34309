/** `serve`: what it says, how it stops, what it leaves. */
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { mount } from 'cluster-fs';
import { describe, expect, test } from 'vitest';
import { makeHome, run, serve, start } from './cli-process.ts';

test('says where it serves, from which memory, and that files go with it', async () => {
  const node = await serve();
  const ready = `clusterfs: ready on ${node.url} (segment 64 MiB in ${node.directory}, pid ${node.pid})`;
  await node.says(/gone\n/);
  expect(node.stdout().split('\n')).toEqual([
    ready,
    'clusterfs: files live in memory only; when this node is stopped (Ctrl-C) they are gone',
    '',
  ]);
  expect(statSync(node.socketPath).mode & 0o777).toBe(0o600);
  const { code, stdout, stderr } = await node.stop();
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/clusterfs: stopped\n$/);
});

test('with --json says it once, in one object', async () => {
  const node = await serve(['--json', '--memory', '96M']);
  const { stdout, stderr } = await node.stop();
  expect(stderr).toBe('');
  expect(JSON.parse(stdout)).toEqual({
    ready: true,
    url: node.url,
    listening: [node.url],
    pid: node.pid,
    segmentBytes: 96 * 2 ** 20,
    runDirectory: node.directory,
    recovered: false,
    persistent: false,
    published: [],
  });
});

test('with --verbose logs to stderr in JSON', async () => {
  const node = await serve(['--verbose']);
  await node.text('mkdir', '/seen');
  await expect.poll(() => node.stderr()).toContain('"path":"/seen"');
  await node.stop();
  const lines = node.stderr().trim().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toContainEqual(
    expect.objectContaining({ kind: 'create', path: '/seen' }),
  );
});

test('listens on several sockets', async () => {
  const second = join(makeHome(), 'second.sock');
  const node = await serve(['--listen', `unix:${second}`]);
  expect((await run(['ls', '--url', `unix:${second}`])).code).toBe(0);
  await node.stop();
  expect(existsSync(second)).toBe(false);
});

describe('stopping', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s stops it and leaves nothing', async (signal) => {
    const node = await serve();
    const fs = await mount(node.url, { reconnectMs: 100 });
    await fs.promises.writeFile('/x', Buffer.alloc(1e6));
    const view = await fs.map('/x', { mode: 'rw' });
    const lost = once(fs, 'lost');
    node.process.kill(signal);
    expect(await node.ended).toMatchObject({ code: 0, stderr: '' });
    expect(existsSync(node.directory)).toBe(false);
    expect(existsSync(node.socketPath)).toBe(false);
    await lost;
    expect(view.bytes[0]).toBe(0);
    await fs.unmount();
  });

  test('works when somebody removed its socket', async () => {
    const node = await serve();
    rmSync(node.socketPath);
    expect((await node.stop()).code).toBe(0);
  });

  test('goes on when nobody reads what it says', async () => {
    const node = await serve();
    node.process.stdout?.destroy();
    expect((await node.run('ls')).code).toBe(0);
    expect((await node.stop()).code).toBe(0);
  });
});

describe('after a crash', () => {
  test('the next one on the same socket has everything, and says so', async () => {
    const node = await serve();
    await node.text('mkdir', '-p', '/kept/here');
    node.process.kill('SIGKILL');
    await node.ended;
    const next = start(['serve', '--listen', node.url, '--memory', '32MiB']);
    await next.says(/ready on/);
    expect(next.stdout()).toMatch(/^clusterfs: went on with what a node of before had left\n/);
    expect(next.stderr()).toMatch(/^clusterfs: .*67108864 bytes and keeps them\n$/);
    expect(await node.text('ls', '/kept')).toBe('here/\n');
    expect((await next.interrupt()).code).toBe(0);
    expect(existsSync(node.directory)).toBe(false);
  });
});

describe('refuses to start', () => {
  test('where a node serves', async () => {
    const node = await serve();
    const { code, stderr } = await run(['serve', '--listen', node.url]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^clusterfs serve: EADDRINUSE: .* \(a node serves here already: .* --listen unix:PATH\)\n$/,
    );
    expect((await node.run('ls')).code).toBe(0);
    await node.stop();
  });

  test('on the store of another node', async () => {
    const store = join(makeHome(), 'store');
    const node = await serve(['--store', store]);
    const { code, stderr } = await run(['serve', '--listen', `unix:${node.home}/b.sock`, '--store', store]);
    expect(code).toBe(1);
    expect(stderr).toBe(
      `clusterfs serve: EBUSY: resource busy or locked, open '${store}' (another node has the store)\n`,
    );
    await node.interrupt();
  });

  test('on the socket of another program, which stays', async () => {
    const path = join(makeHome(), 'other.sock');
    const server = createServer().listen(path);
    await once(server, 'listening');
    const { code, stderr } = await run(['serve', '--listen', `unix:${path}`]);
    expect({ code, left: existsSync(path) }).toEqual({ code: 1, left: true });
    expect(stderr).toMatch(/^clusterfs serve: EADDRINUSE: /);
    server.close();
  });

  test.each([
    [
      'a socket in no directory',
      ['--listen', 'unix:no/such/directory/node.sock'],
      /ENOENT: .*listen.* no such directory/,
    ],
    ['a socket that is a file', ['--listen', 'unix:plain'], /EADDRINUSE: .*is no socket/],
    ['a store that is a file', ['--store', 'plain'], /ENOTDIR: .*mkdir/],
    ['a store that cannot be', ['--store', '/proc/none/store'], /ENOENT: .*'\/proc\/none'/],
    ['no memory', ['--memory', '0'], /EINVAL: .*memory is 0 bytes/],
    ['no inodes', ['--inodes', '1'], /EINVAL: .*inodes/],
    ['no time to let go', ['--recall-deadline', '0'], /EINVAL: .*recall deadline is 0 ms/],
    ['a directory to publish that is not there', ['--publish', 'missing:/x'], /ENOENT: .*missing'/],
    ['a file to publish', ['--publish', 'plain:/x'], /ENOTDIR: .*plain'/],
    ['two directories at one path', ['--publish', '.:/x', '--publish', '..:/x/y'], /EINVAL: .*'\/x\/y'/],
  ])('%s', async (_, args, message) => {
    const home = makeHome();
    writeFileSync(join(home, 'plain'), '');
    const listen = args.includes('--listen') ? [] : ['--listen', 'unix:node.sock'];
    const before = readdirSync('/dev/shm');
    const { code, stdout, stderr } = await run(['serve', ...listen, ...args], { cwd: home });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^clusterfs serve: [^\n]+\n$/);
    expect(stderr).toMatch(message);
    expect(readdirSync(home)).toEqual(['plain']);
    expect(readdirSync('/dev/shm').filter((name) => !before.includes(name) && name.includes(home))).toEqual(
      [],
    );
  });
});
