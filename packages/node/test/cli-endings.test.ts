/** How verbs end when they do not end well: one line, the right number, nothing left behind. */
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, watch, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeHome, run, type Served, serve, start } from './cli-process.ts';

let node: Served;
let fs: ClusterFs;

beforeAll(async () => {
  node = await serve(['--memory', '256MiB']);
  fs = await mount(node.url, { label: 'the test' });
});

afterAll(async () => {
  await fs.unmount();
  expect((await node.stop()).code).toBe(0);
});

const reservedBytes = async (): Promise<unknown> => (await fs.status()).reservedBytes;
const oneLine = /^clusterfs [a-z]+: [^\n]+\n$/;

describe('called wrongly', () => {
  test.each([
    [['frobnicate'], "clusterfs: unknown command 'frobnicate'; see clusterfs --help\n"],
    [
      ['stats'],
      "clusterfs: unknown command 'stats' (Did you mean one of stat, status?); see clusterfs --help\n",
    ],
    [['put', 'x'], "clusterfs put: missing required argument 'path'; see clusterfs put --help\n"],
    [['ls', '--wide'], "clusterfs ls: unknown option '--wide'; see clusterfs ls --help\n"],
    [['rm'], "clusterfs rm: missing required argument 'paths'; see clusterfs rm --help\n"],
    [['df', 'x'], /^clusterfs df: too many arguments.*; see clusterfs df --help\n$/],
    [['serve', '--memory', 'lots'], /^clusterfs serve: .*'lots' is invalid. Give a size such as 64MiB.*\n$/],
    [['serve', '--listen', 'tcp://:1'], /^clusterfs serve: .* is invalid. Give tcp:\/\/HOST:PORT.*\n$/],
    [['serve', '--listen', 'http://a'], /^clusterfs serve: .* is invalid. Give unix:PATH or tcp:.*\n$/],
    [['serve', '--publish', 'here'], /^clusterfs serve: .* is invalid. Give DIR:\/path.*\n$/],
    [
      ['serve', '--on-conflict', 'give-up'],
      /^clusterfs serve: .*'give-up' is invalid.* wait, deny, revoke; see .*\n$/,
    ],
    [['revoke', 'them'], /^clusterfs revoke: .*'them' is invalid .* Give a whole number; see .*\n$/],
  ])('%j', async (args, line) => {
    const { code, stdout, stderr } = await run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    if (typeof line === 'string') expect(stderr).toBe(line);
    else expect(stderr).toMatch(line);
  });
});

describe('no node', () => {
  test('where nothing is: says how to start one', async () => {
    const url = `unix:${makeHome()}/none.sock`;
    const { code, stdout, stderr } = await run(['ls', '--json', '--url', url]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    const how = `start one with: clusterfs serve --listen ${url}`;
    expect(stderr).toBe(`clusterfs ls: ENOENT: no node listens on ${url}; ${how}\n`);
  });

  test('at the default socket: says so without --listen', async () => {
    const home = makeHome();
    const { code, stderr } = await run(['status'], { env: { XDG_RUNTIME_DIR: home } });
    expect(code).toBe(3);
    expect(stderr).toMatch(/start one with: clusterfs serve\n$/);
    expect(stderr).toContain(`unix:${home}/clusterfs.sock`);
  });

  test('where one was killed', async () => {
    const killed = await serve();
    killed.process.kill('SIGKILL');
    await killed.ended;
    const { code, stderr } = await killed.run('df');
    expect(code).toBe(3);
    expect(stderr).toMatch(/^clusterfs df: ECONNREFUSED: no node listens on unix:.*\n$/);
  });

  test('on another host', async () => {
    const { code, stderr } = await run(['ls', '--url', 'tcp://127.0.0.1:1']);
    expect(code).toBe(3);
    expect(stderr).toMatch(/^clusterfs ls: ECONNREFUSED: no node listens on tcp:.*\n$/);
  });

  test('in a directory that no node serves: does not become its node', async () => {
    const home = makeHome();
    const { code, stderr } = await run(['ls', '--url', home]);
    expect(code).toBe(3);
    expect(stderr).toMatch(/^clusterfs ls: ENOENT: no node listens on /);
    expect((await run(['ls', '--url', join(home, 'missing')])).stderr).toMatch(/^clusterfs ls: ENOENT: /);
    expect(existsSync(join(home, 'missing'))).toBe(false);
  });

  test.each([
    ['http://localhost:1', /EINVAL: .*give unix:PATH, tcp:\/\/HOST:PORT or a directory/],
    [`unix:/tmp/${'x'.repeat(200)}`, /ENAMETOOLONG: /],
  ])('at %s', async (url, message) => {
    const { code, stderr } = await run(['ls', '--url', url]);
    expect(code).toBe(1);
    expect(stderr).toMatch(oneLine);
    expect(stderr).toMatch(message);
  });

  test('behind a socket of somebody else', async () => {
    const path = join(makeHome(), 'other.sock');
    const server = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(path);
    await once(server, 'listening');
    const { code, stderr } = await run(['ls', '--url', `unix:${path}`]);
    server.close();
    expect(code).toBe(1);
    expect(stderr).toMatch(oneLine);
  });

  test('any more: a verb whose node dies ends with one line', async () => {
    const dying = await serve();
    const events = dying.start('events');
    await expect
      .poll(async () => (await dying.json('status')).sessions.map((s: { label: string }) => s.label))
      .toContain('clusterfs events');
    dying.process.kill('SIGKILL');
    const { code, stdout, stderr } = await events.ended;
    expect({ code, stderr: oneLine.test(stderr) }, stderr).toEqual({ code: 3, stderr: true });
    expect(stdout).not.toContain('Error');
  });
});

describe('failures of the file system', () => {
  test.each([
    [['cat', '/nowhere'], /^clusterfs cat: ENOENT: no such file or directory, \w+ '\/nowhere'\n$/],
    [['cat', '/dir'], /^clusterfs cat: EISDIR: .*'\/dir'.*\n$/],
    [['ls', '/file/below'], /^clusterfs ls: ENOTDIR: .*'\/file\/below'\n$/],
    [['stat', '/loop'], undefined],
    [['ls', '/loop'], /^clusterfs ls: ELOOP: .*'\/loop'\n$/],
    [['mkdir', '/dir'], /^clusterfs mkdir: EEXIST: .*'\/dir'\n$/],
    [['mkdir', `/${'n'.repeat(256)}`], /^clusterfs mkdir: ENAMETOOLONG: .*\n$/],
    [['mv', '/nowhere', '/x'], /^clusterfs mv: ENOENT: .*'\/nowhere' -> '\/x'\n$/],
    [['rm', '-r', '/'], /^clusterfs rm: \w+: .*\n$/],
    [['extents', '/dir'], /^clusterfs extents: EISDIR: .*\n$/],
    [['move', '/nowhere'], /^clusterfs move: ENOENT: .*\n$/],
    [['holders', '/nowhere'], /^clusterfs holders: ENOENT: .*\n$/],
    [['events', '/nowhere'], /^clusterfs events: ENOENT: .*\n$/],
    [['put', '/etc/no-such-file', '/x'], /^clusterfs put: ENOENT: .*'\/etc\/no-such-file'\n$/],
    [['put', '/etc/hostname', '/no/dir/x'], /^clusterfs put: ENOENT: .*'\/no\/dir\/x'\n$/],
    [['get', '/file', '/no/dir/x'], /^clusterfs get: ENOENT: .*\n$/],
  ])('%j', async (args, line) => {
    await fs.promises.mkdir('/dir', { recursive: true });
    await fs.promises.writeFile('/file', 'x');
    await fs.promises.symlink('loop', '/loop').catch((error) => expect(error.code).toBe('EEXIST'));
    const { code, stdout, stderr } = await node.run(...args);
    if (line === undefined) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      return;
    }
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(line);
  });
});

describe('Ctrl-C', () => {
  test('in the middle of a put leaves no file and no page', async () => {
    const put = node.start('put', '-', '/half');
    put.process.stdin?.write(Buffer.alloc(40 * 2 ** 20));
    await expect.poll(reservedBytes, { timeout: 10_000 }).toBeGreaterThan(8 * 2 ** 20);
    expect(await put.interrupt()).toMatchObject({ code: 130, stdout: '', stderr: '' });
    expect(fs.existsSync('/half')).toBe(false);
    await expect.poll(reservedBytes).toBeLessThan(2 ** 20);
  });

  test('in the middle of a get leaves no file', async () => {
    await fs.replace('/large', Buffer.alloc(150 * 2 ** 20, 'x'));
    const target = join(makeHome(), 'target');
    mkdirSync(target);
    const watcher = watch(target);
    const get = node.start('get', '/large', target);
    await once(watcher, 'change');
    // Stopped where it is, so that it cannot be done before the signal comes.
    get.process.kill('SIGSTOP');
    watcher.close();
    expect(readdirSync(target)).toEqual([expect.stringMatching(/^\.large\.clusterfs-/)]);
    get.process.kill('SIGINT');
    get.process.kill('SIGCONT');
    expect(await get.ended).toMatchObject({ code: 130, stdout: '', stderr: '' });
    expect(readdirSync(target)).toEqual([]);
    await fs.promises.rm('/large');
  });

  test('while the node does not answer', async () => {
    const path = join(makeHome(), 'silent.sock');
    const silent = createServer().listen(path);
    await once(silent, 'listening');
    const status = start(['status'], { env: { CLUSTERFS_URL: `unix:${path}` } });
    const [socket] = await once(silent, 'connection');
    expect(await status.interrupt()).toMatchObject({ code: 130, stdout: '', stderr: '' });
    socket.destroy();
    silent.close();
  });
});

describe('when nobody reads the output any more', () => {
  test('--help ends quietly', async () => {
    const help = start(['--help']);
    help.process.stdout?.destroy();
    expect(await help.ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('cat ends quietly', async () => {
    await fs.replace('/long', Buffer.alloc(20 * 2 ** 20, 'line\n'));
    const cat = node.start('cat', '/long');
    await once(cat.process.stdout as NodeJS.ReadableStream, 'data');
    cat.process.stdout?.destroy();
    expect(await cat.ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('events ends quietly', async () => {
    const events = node.start('events');
    const makeSome = async (): Promise<string> => {
      await fs.promises.writeFile('/touched', '');
      return events.stdout();
    };
    await expect.poll(makeSome, { timeout: 10_000 }).toContain('touched');
    events.process.stdout?.destroy();
    let hasEnded = false;
    const ended = events.ended.finally(() => {
      hasEnded = true;
    });
    await expect.poll(() => makeSome().then(() => hasEnded), { timeout: 10_000 }).toBe(true);
    expect(await ended).toMatchObject({ code: 0, stderr: '' });
  });
});

test('check ends with 1 when it finds something, which is not the case here', async () => {
  writeFileSync(join(node.home, 'checked'), 'x');
  expect(await node.run('check')).toMatchObject({ code: 0, stderr: '' });
});
