/** Who may come in, as whom, and what a client that may only read can do. */
import { chmodSync, constants, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { openRawSession } from '../chaos/raw-session.mjs';
import { asUser, canBecomeOthers } from './as-user.ts';
import { startScene } from './witness.ts';

const nobody = 65_534;
const friend = 4_201;
const group = 4_300;

describe.runIf(canBecomeOthers)('another user', () => {
  test('cannot connect: the socket is its owner’s alone', async () => {
    const node = await startNodeProcess();
    expect(statSync(node.socketPath).mode & 0o777).toBe(0o600);
    expect(await asUser(node, { uid: nobody }, [['connect']])).toMatchObject([{ code: 'EACCES' }]);
  });

  test('who is not allowed is told so, gets no descriptor, and is counted', async () => {
    const scene = await startScene({ allowUids: [friend], allowGids: [group] });
    expect(statSync(scene.node.socketPath).mode & 0o777).toBe(0o666);
    const steps = [['connect'], ['turnedAway']] as const;
    const [, first] = await asUser(scene.node, { uid: nobody }, steps);
    expect(first?.value).toEqual({
      farewell: { code: 'EACCES', why: expect.stringContaining(`--allow-uid ${nobody}`) },
      descriptors: 0,
      isClosed: true,
    });
    const [mounting] = await asUser(scene.node, { uid: nobody, groups: [nobody] }, [['mount']]);
    expect(mounting).toMatchObject({ code: 'EACCES' });
    expect(mounting?.message).toContain(`user ${nobody} may not use this node`);
    expect(await scene.fs.status()).toMatchObject({ refused: 2 });
    expect(scene.node.notices).toContainEqual(expect.stringContaining(`refused user ${nobody}`));
    await scene.expectUndisturbed();
  });

  test.each([
    ['by its number', { uid: friend }],
    ['by its group', { uid: nobody, gid: group }],
    ['by a supplementary group', { uid: nobody, groups: [7, group, 9] }],
    ['by one of three hundred groups', { uid: nobody, groups: [...Array(300).keys(), group] }],
  ])('comes in %s, and makes files of its own', async (_, user) => {
    const scene = await startScene({ allowUids: [friend], allowGids: [group] });
    await scene.fs.promises.mkdir('/shared');
    await scene.fs.promises.chmod('/shared', 0o777);
    const outcomes = await asUser(scene.node, user, [
      ['mount'],
      ['call', 'writeFile', '/shared/mine', 'by another'],
      ['call', 'readFile', '/shared/mine', 'utf8'],
      ['map', '/shared/mine'],
      ['move', '/shared/mine'],
      ['viewText'],
      ['unmount'],
    ]);
    const text = { value: 'by another' };
    expect(outcomes.map(({ code }) => code)).toEqual(outcomes.map(() => undefined));
    expect(outcomes).toMatchObject([{}, {}, text, {}, {}, text, {}]);
    expect(await scene.fs.promises.stat('/shared/mine')).toMatchObject({ uid: user.uid });
    await scene.expectUndisturbed();
  });

  test('is held to the permission bits by the node, whatever its client checks', async () => {
    const node = await startNodeProcess({ allowUids: [friend] });
    const fs = await mount(node.url);
    onTestFinished(() => fs.unmount());
    await fs.promises.writeFile('/private', 'x', { mode: 0o600 });
    await fs.promises.writeFile('/readable', 'x', { mode: 0o644 });
    await fs.promises.mkdir('/closed', { mode: 0o700 });
    await fs.promises.writeFile('/closed/file', 'x', { mode: 0o666 });
    const path = '/private';
    const file = { ino: (await fs.promises.stat(path)).ino };
    const requests = [
      ['open', { path, flags: constants.O_RDONLY, mode: 0 }],
      ['open', { path: '/closed/file', flags: constants.O_RDONLY, mode: 0 }],
      ['open', { path: '/readable', flags: constants.O_RDONLY | constants.O_TRUNC, mode: 0 }],
      ['open', { path: '/new', flags: constants.O_CREAT | constants.O_WRONLY, mode: 0 }],
      ['put', { path, flags: constants.O_TRUNC | constants.O_WRONLY, mode: 0, size: 0, runs: [] }],
      ['lease', { path, mode: 'r', follow: 'live', offset: 0 }],
      ['lease', { path, mode: 'rw', follow: 'live', offset: 0 }],
      ['setAttributes', { path, follow: true, syscall: 'truncate', size: 0 }],
      ['unlink', { path }],
      ['rename', { from: path, to: '/other' }],
      ['mkdir', { path: '/d', mode: 0o755, recursive: false }],
      ['symlink', { target: path, path: '/link' }],
      ['remove', { path: '/closed' }],
      ['fetch', { ...file, from: 0, count: 1 }],
      ['pin', { ...file, on: true }],
      ['evict', file],
    ];
    const privileged = [
      ['setAttributes', { path, follow: true, syscall: 'chmod', mode: 0o777 }],
      ['setAttributes', { path, follow: true, syscall: 'chown', uid: friend }],
      ['move', { path, progress: false }],
      ['defrag', { progress: false }],
      ['revoke', { session: 1 }],
    ];
    const [, , ...outcomes] = await asUser(node, { uid: friend }, [
      ['connect'],
      ['hello', {}],
      ...[...requests, ...privileged].map(([name, fields]) => ['request', name, fields] as const),
    ]);
    expect(outcomes.map(({ code }) => code)).toEqual([
      ...requests.map(() => 'EACCES'),
      ...privileged.map(() => 'EPERM'),
    ]);
    expect(await fs.promises.readFile(path, 'utf8')).toBe('x');
    expect(await fs.promises.readFile('/readable', 'utf8')).toBe('x');
  });

  test('has the groups that the kernel knew when it connected, and none that it took later', async () => {
    const node = await startNodeProcess({ allowUids: [friend] });
    const fs = await mount(node.url);
    onTestFinished(() => fs.unmount());
    await fs.promises.writeFile('/group', 'x');
    await fs.promises.chmod('/group', 0o660);
    await fs.promises.chown('/group', 0, group);
    const open = ['request', 'open', { path: '/group', flags: constants.O_RDWR, mode: 0 }] as const;
    const member = { uid: friend, groups: [group] };
    const [, , asMember] = await asUser(node, member, [['connect'], ['hello', {}], open]);
    expect(asMember?.code).toBeUndefined();
    const late = [['connect'], ['regroup', [group]], ['hello', {}], open] as const;
    const [, , , asLate] = await asUser(node, { uid: friend }, late);
    expect(asLate?.code).toBe('EACCES');
  });

  test('who may only read gets descriptors that cannot store, and no way to others', async () => {
    const scene = await startScene({ allowUids: [{ id: friend, access: 'r' }] });
    await scene.fs.promises.writeFile('/file', 'content');
    await scene.fs.promises.chmod('/file', 0o666);
    const [refused] = await asUser(scene.node, { uid: friend }, [['mount', { access: 'rw' }]]);
    expect(refused).toMatchObject({ code: 'EROFS', message: expect.stringContaining("access 'r'") });
    const outcomes = await asUser(scene.node, { uid: friend }, [
      ['mount', { access: 'r' }],
      ['call', 'readFile', '/file', 'utf8'],
      ['call', 'writeFile', '/file', 'x'],
      ['unmount'],
      ['connect'],
      ['hello', { access: 'r' }],
      ['dataAccess'],
      ['request', 'reserve', { pages: 1 }],
    ]);
    expect(outcomes).toMatchObject([
      {},
      { value: 'content' },
      { code: 'EROFS' },
      {},
      {},
      {},
      { value: { access: constants.O_RDONLY, again: { code: 'EACCES' } } },
      { code: 'EROFS' },
    ]);
    await scene.expectUndisturbed();
  });

  test('cannot present a view of what it may not read, nor keep it alive with that', async () => {
    const node = await startNodeProcess({ allowUids: [friend] });
    const fs = await mount(node.url);
    onTestFinished(() => fs.unmount());
    await fs.promises.writeFile('/private', 'x', { mode: 0o600 });
    const file = await identityOf(node, '/private');
    const [, , presented] = await asUser(node, { uid: friend }, [
      ['connect'],
      ['hello', {}],
      ['request', 'present', viewOf(file, 'r')],
    ]);
    expect(presented?.value).toMatchObject({ stale: true, extents: [] });
    await fs.promises.chmod('/private', 0o644);
    const [, , shown, toWrite] = await asUser(node, { uid: friend }, [
      ['connect'],
      ['hello', {}],
      ['request', 'present', viewOf(file, 'r')],
      ['request', 'present', viewOf(file, 'rw')],
    ]);
    expect(shown?.value).toMatchObject({ stale: false, size: 1 });
    expect(toWrite?.value).toMatchObject({ stale: true, extents: [] });
  });

  test('does not join a session with its token: that takes its process', async () => {
    const node = await startNodeProcess({ allowUids: [friend] });
    const { welcome, close } = await openRawSession(node.socketPath);
    onTestFinished(close);
    const { session, token } = welcome;
    for (const uid of [friend, 0]) {
      const attach = ['attach', session, [...token]] as const;
      const [, joined] = await asUser(node, { uid }, [['connect'], attach]);
      expect(joined).toMatchObject({ code: 'EACCES' });
    }
  });
});

test('a session that was opened to read presents no view to write', async () => {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', 'x');
  const file = await identityOf(node, '/file');
  const { connection, close } = await openRawSession(node.socketPath, { hello: { access: 'r' } });
  onTestFinished(close);
  expect(await connection.request('present', viewOf(file, 'r'))).toMatchObject({ stale: false });
  await expect(connection.request('present', viewOf(file, 'rw'))).rejects.toMatchObject({ code: 'EROFS' });
});

/** What a client that has it open knows of a file. */
async function identityOf({ socketPath }: NodeProcess, path: string) {
  const { connection, close } = await openRawSession(socketPath);
  const { ino, generation } = await connection.request('open', { path, flags: constants.O_RDONLY, mode: 0 });
  close();
  return { ino, generation };
}

/** A view of its first page. */
const viewOf = (file: { readonly ino: number; readonly generation: number }, mode: 'r' | 'rw') => ({
  ...file,
  view: 1,
  mode,
  follow: 'live' as const,
  path: '/file',
  offset: 0,
  size: 1,
  layoutVersion: 1,
  address: 2 ** 40,
  length: 4096,
  extents: [],
});

test('no file of a store can be read by others, whatever directory it lies in', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  chmodSync(store, 0o755);
  const node = await startNodeProcess({ store });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/secret', 'a small sync brings it into the log');
  await fs.sync();
  const names = readdirSync(store);
  expect(names).toEqual(expect.arrayContaining(['data', 'lock', 'log-a', 'log-b', 'metadata.db']));
  const modes = names.map((name) => [name, statSync(join(store, name)).mode & 0o777]);
  expect(modes).toEqual(names.map((name) => [name, 0o600]));
});
