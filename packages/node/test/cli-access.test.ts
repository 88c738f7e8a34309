/** `serve --allow-uid`, `--allow-gid`, `--limit`, and verbs of who is let in by them. */
import { spawnSync } from 'node:child_process';
import { chmodSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { mount } from 'cluster-fs';
import { describe, expect, test } from 'vitest';
import { run, serve } from './cli-process.ts';

const root = spawnSync('getent', ['passwd', 'root'], { encoding: 'utf8' }).status === 0;
const other = 4_201;

test.runIf(root)('lets others in, by number and by name', async () => {
  const args = ['--allow-uid', `${other}`, '--allow-uid', 'root:r', '--allow-gid', 'root:rw'];
  const node = await serve(args);
  expect(statSync(node.socketPath).mode & 0o777).toBe(0o666);
  const { stderr } = await node.stop();
  expect(stderr).toBe(`clusterfs: ${node.home} may not be entered by all: who is allowed may not get here\n`);
});

test('says nothing when the way to the socket is open', async () => {
  const node = await serve();
  chmodSync(node.home, 0o711);
  const path = `${node.home}/second.sock`;
  const second = await serve(['--listen', `unix:${path}`, '--allow-uid', `${other}`]);
  expect(second.stderr()).toContain(second.home);
  expect(second.stderr()).not.toContain(node.home);
  await second.stop();
  await node.stop();
});

test.each([
  ['--allow-uid', 'nobody-of-this-name', 'There is no user nobody-of-this-name'],
  ['--allow-gid', 'nobody-of-this-name', 'There is no group nobody-of-this-name'],
  ['--allow-uid', '-x', "'-x' is no name of a user"],
  ['--allow-uid', '', "'' is no name of a user"],
  ['--allow-uid', '1000:w', "'1000:w' is no name of a user"],
  ['--allow-gid', '4294967295', '4294967295 is no number of a group'],
  ['--limit', 'views', 'Give NAME=AMOUNT'],
  ['--limit', 'view=1', 'no limit is called view; there are connections,'],
  ['--limit', 'views=0', 'views is 0, give a whole number above 0'],
  ['--limit', 'views=many', 'Give a whole number'],
])('%s=%s is refused', async (option, value, why) => {
  const { code, stderr } = await run(['serve', `${option}=${value}`]);
  expect(code).toBeGreaterThan(0);
  expect(stderr).toContain(why);
});

test('sets limits', async () => {
  const node = await serve(['--limit', 'views=1', '--limit', 'reservedBytes=64KiB']);
  const fs = await mount(node.url);
  await fs.promises.writeFile('/file', 'x');
  const view = await fs.map('/file');
  await expect(fs.map('/file')).rejects.toMatchObject({ code: 'EMFILE', path: '/file' });
  await expect(fs.promises.writeFile('/big', Buffer.alloc(2 ** 20))).rejects.toMatchObject({
    code: 'EDQUOT',
  });
  view.close();
  await (await fs.map('/file')).close();
  await fs.unmount();
  await node.stop();
});

describe.runIf(canRunAs(other))('another user', () => {
  test('who may only read can list and print, and is refused what changes something', async () => {
    const node = await serve(['--allow-uid', `${other}:r`]);
    chmodSync(node.home, 0o711);
    const options = { uid: other, env: { CLUSTERFS_URL: node.url } };
    await node.text('mkdir', '/directory');
    expect(await run(['ls', '/'], options)).toMatchObject({ code: 0, stdout: 'directory/\n', stderr: '' });
    const made = await run(['mkdir', '/more'], options);
    expect(made).toMatchObject({ code: 1, stderr: expect.stringContaining('EROFS') });
    await node.stop();
  });

  test('who may only read gets files of other nodes, whether or not a copy has room', async () => {
    const home = await serve(['--listen', 'tcp://127.0.0.1:0', '--name', 'a', '--memory', '64MiB']);
    const [peerUrl = ''] = /tcp:[^ ,]+/.exec(home.stdout()) ?? [];
    const access = ['--allow-uid', `${other}:r`, '--memory', '8MiB'];
    const node = await serve(['--join', peerUrl, '--name', 'b', ...access]);
    chmodSync(node.home, 0o711);
    const fs = await mount(home.url);
    await fs.promises.writeFile('/text', 'a few words');
    await fs.promises.writeFile('/large', Buffer.alloc(2 ** 24, 'many words '));
    const options = { uid: other, env: { CLUSTERFS_URL: node.url } };
    expect(await run(['cat', '/text'], options)).toMatchObject({
      code: 0,
      stdout: 'a few words',
      stderr: '',
    });
    const { code, stdout } = await run(['cat', '/large'], options);
    expect([code, stdout.length, stdout.slice(-5)]).toEqual([0, 2 ** 24, 'many ']);
    await fs.unmount();
    await node.stop();
    await home.stop();
  });

  test('who is not allowed reads why, and the operator sees that it tried', async () => {
    const node = await serve(['--allow-uid', `${other}`]);
    chmodSync(node.home, 0o711);
    const refused = await run(['ls'], { uid: other + 1, env: { CLUSTERFS_URL: node.url } });
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(`--allow-uid ${other + 1} lets it in`);
    expect(node.stderr()).toContain(`refused user ${other + 1}`);
    expect(await node.text('status')).toMatch(/turned away +1 connection of a user who may not connect/);
    await node.stop();
  });
});

/** Whether another user can be tried here: it takes root, and a checkout that others may read. */
function canRunAs(uid: number): boolean {
  const program = fileURLToPath(new URL('../bin/clusterfs.js', import.meta.url));
  const can =
    process.getuid?.() === 0 && spawnSync(process.execPath, [program, '--version'], { uid }).status === 0;
  if (!can) process.stderr.write('NOT TESTED: the command line of other users (needs root)\n');
  return can;
}
