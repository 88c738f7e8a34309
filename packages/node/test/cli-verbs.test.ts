/** Every verb once, for people and for programs, against one node. */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run, type Served, serve } from './cli-process.ts';

let node: Served;
let fs: ClusterFs;

beforeAll(async () => {
  node = await serve();
  fs = await mount(node.url, { label: 'the test' });
});

afterAll(async () => {
  await fs.unmount();
  expect((await node.stop()).code).toBe(0);
});

const local = (name: string): string => join(node.home, name);

describe('put', () => {
  test('copies a file with its mode, and says so', async () => {
    const content = randomBytes(5_000_001);
    writeFileSync(local('big'), content);
    chmodSync(local('big'), 0o640);
    expect(await node.text('put', local('big'), '/big')).toBe('put 1 file, 4.77 MiB to /big\n');
    expect(fs.readFileSync('/big').equals(content)).toBe(true);
    expect(fs.statSync('/big').mode & 0o777).toBe(0o640);
  });

  test('tells programs what it did', async () => {
    writeFileSync(local('small'), 'small');
    expect(await node.json('put', local('small'), '/small')).toEqual({ path: '/small', files: 1, bytes: 5 });
  });

  test('goes into a directory under its own name', async () => {
    await fs.promises.mkdir('/into');
    writeFileSync(local('named'), 'x');
    await node.text('put', local('named'), '/into');
    await node.text('put', local('named'), '/into/second');
    expect(fs.readdirSync('/into').sort()).toEqual(['named', 'second']);
  });

  test('refuses to replace, and replaces when asked, keeping the inode', async () => {
    await fs.promises.writeFile('/taken', 'old');
    const { ino } = fs.statSync('/taken');
    writeFileSync(local('new'), 'new');
    const { code, stderr } = await node.run('put', local('new'), '/taken');
    expect(code).toBe(1);
    expect(stderr).toBe(
      "clusterfs put: EEXIST: file already exists, put '/taken' (give --replace to replace it)\n",
    );
    expect(fs.readFileSync('/taken', 'utf8')).toBe('old');
    await node.text('put', '--replace', local('new'), '/taken');
    expect(fs.readFileSync('/taken', 'utf8')).toBe('new');
    expect(fs.statSync('/taken').ino).toBe(ino);
  });

  test('reads stdin', async () => {
    const { code } = await run(['put', '--url', node.url, '-', '/stdin'], { input: 'from a pipe' });
    expect(code).toBe(0);
    expect(fs.readFileSync('/stdin', 'utf8')).toBe('from a pipe');
  });

  test('copies a tree with its links, and only with -r', async () => {
    mkdirSync(local('tree/sub'), { recursive: true });
    writeFileSync(local('tree/a'), 'a');
    writeFileSync(local('tree/sub/b'), 'bb');
    symlinkSync('sub/b', local('tree/link'));
    const { stderr } = await node.run('put', local('tree'), '/tree');
    expect(stderr).toMatch(/^clusterfs put: EISDIR: .*give -r to put a directory\)\n$/);
    expect(await node.json('put', '-r', local('tree'), '/tree')).toEqual({
      path: '/tree',
      files: 3,
      bytes: 3,
    });
    expect(fs.readFileSync('/tree/link', 'utf8')).toBe('bb');
    expect(fs.readlinkSync('/tree/link')).toBe('sub/b');
  });

  test('of a tree that would replace something puts nothing', async () => {
    mkdirSync(local('half'));
    for (const name of ['1', '2', '3']) writeFileSync(local(`half/${name}`), name);
    await fs.promises.mkdir('/half');
    await fs.promises.writeFile('/half/3', 'mine');
    const { code } = await node.run('put', '-r', local('half'), '/');
    expect(code).toBe(1);
    expect(fs.readdirSync('/half')).toEqual(['3']);
  });

  test('without room says so and leaves nothing', async () => {
    const { code, stderr } = await run(['put', '--url', node.url, '-', '/huge'], {
      input: Buffer.alloc(70e6),
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^clusterfs put: ENOSPC: no space left on device, write '\/huge' \(.*\)\n$/);
    expect(fs.existsSync('/huge')).toBe(false);
  });
});

describe('get and cat', () => {
  test('get copies back what was put', async () => {
    const content = randomBytes(9_000_000);
    await fs.promises.writeFile('/back', content, { mode: 0o600 });
    expect(await node.text('get', '/back', local('back'))).toMatch(/^got 1 file, 8.58 MiB to .*back\n$/);
    expect(readFileSync(local('back')).equals(content)).toBe(true);
    expect(statSync(local('back')).mode & 0o777).toBe(0o600);
    expect(readdirSync(node.home).filter((name) => name.includes('clusterfs-'))).toEqual([]);
  });

  test('get refuses to replace, and replaces when asked', async () => {
    writeFileSync(local('kept'), 'mine');
    await fs.promises.writeFile('/kept', 'theirs');
    const { code, stderr } = await node.run('get', '/kept', local('kept'));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^clusterfs get: EEXIST: /);
    expect(readFileSync(local('kept'), 'utf8')).toBe('mine');
    await node.text('get', '--replace', '/kept', node.home);
    expect(readFileSync(local('kept'), 'utf8')).toBe('theirs');
  });

  test('get -r copies a tree', async () => {
    await fs.promises.mkdir('/wood/deep', { recursive: true });
    await fs.promises.writeFile('/wood/deep/leaf', 'leaf');
    await fs.promises.symlink('deep/leaf', '/wood/link');
    expect(await node.json('get', '-r', '/wood', local('wood'))).toMatchObject({ files: 2, bytes: 4 });
    expect(readFileSync(local('wood/deep/leaf'), 'utf8')).toBe('leaf');
    expect(readlinkSync(local('wood/link'))).toBe('deep/leaf');
  });

  test('get - and cat write to stdout', async () => {
    await fs.promises.writeFile('/one', 'one\n');
    await fs.promises.writeFile('/two', 'two\n');
    expect(await node.text('get', '/one', '-')).toBe('one\n');
    expect(await node.text('cat', '/one', '/two')).toBe('one\ntwo\n');
    expect(await node.json('cat', '/one')).toEqual([{ path: '/one', base64: 'b25lCg==' }]);
  });
});

describe('names', () => {
  test('mkdir, mv, rm', async () => {
    expect(await node.text('mkdir', '/dir')).toBe('');
    expect(await node.json('mkdir', '-p', '/dir/a/b', '/dir')).toEqual({ made: ['/dir/a/b'] });
    expect(await node.json('mv', '/dir/a', '/dir/c')).toEqual({ from: '/dir/a', to: '/dir/c' });
    await node.text('mkdir', '/room');
    expect(await node.json('mv', '/dir/c', '/room')).toEqual({ from: '/dir/c', to: '/room/c' });
    expect((await node.run('rm', '/room')).stderr).toMatch(/^clusterfs rm: EISDIR: .*give -r/);
    expect(await node.json('rm', '-rf', '/room', '/dir', '/nowhere')).toEqual({ removed: ['/room', '/dir'] });
    expect((await node.run('rm', '/nowhere')).stderr).toMatch(/^clusterfs rm: ENOENT: .*'\/nowhere'\n$/);
  });

  test('ls lists names, details, and what is below', async () => {
    await fs.promises.mkdir('/list/sub', { recursive: true });
    await fs.promises.writeFile('/list/file', 'x'.repeat(2048), { mode: 0o604 });
    await fs.promises.writeFile('/list/.hidden', '');
    await fs.promises.writeFile('/list/new\nline', '');
    await fs.promises.symlink('file', '/list/link');
    expect(await node.text('ls', '/list')).toBe('file\nlink\nnew\\x0aline\nsub/\n');
    expect(await node.text('ls', '-a', 'list')).toBe('.hidden\nfile\nlink\nnew\\x0aline\nsub/\n');
    const long = await node.text('ls', '-l', '/list');
    expect(long).toMatch(
      /^-rw----r-- {2}1 {2}\d+ {2}\d+ {2}2 KiB {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}file$/m,
    );
    expect(long).toMatch(/^lrwxrwxrwx .* link -> file$/m);
    expect(await node.text('ls', '-R', '/list')).toMatch(/^\/list:\nfile\n(?:.*\n)*sub\/\n\n\/list\/sub:\n$/);
    const entries = await node.json('ls', '/list');
    expect(entries.map(({ name, type }: { name: string; type: string }) => `${type} ${name}`)).toEqual([
      'file .hidden',
      'file file',
      'symlink link',
      'file new\nline',
      'directory sub',
    ]);
    expect(await node.json('ls', '/list/file')).toMatchObject([{ path: '/list/file', size: 2048 }]);
  });

  test('stat tells of a file, a directory, a link', async () => {
    await fs.promises.writeFile('/told', 'x'.repeat(5000), { mode: 0o644 });
    await fs.promises.symlink('told', '/tale');
    const text = await node.text('stat', '/told', '/tale', '/');
    expect(text).toMatch(/^size +4.88 KiB \(5000 bytes, 8 KiB held\)$/m);
    expect(text).toMatch(/^lies in +1 extent$/m);
    expect(text).toMatch(/^path +\/tale -> told$/m);
    const { ino } = fs.statSync('/told');
    expect(await node.json('stat', '/told')).toMatchObject([
      { path: '/told', type: 'file', ino, size: 5000 },
    ]);
  });
});

describe('memory', () => {
  test('df, extents, move, defrag, check', async () => {
    await fs.promises.writeFile('/moved', randomBytes(1_000_000));
    const before = fs.readFileSync('/moved');
    expect(await node.text('df')).toMatch(/^ +SIZE +USED.*\n *64 MiB .*\n/);
    expect(await node.json('df')).toMatchObject({ totalBytes: 64 * 2 ** 20, waitingBytes: 0 });
    expect(await node.text('extents', '/moved')).toMatch(
      /^\/moved: 977 KiB in 1 extent\nFILE PAGE .*\n +0 +\d+ +245 /,
    );
    const { extents } = await node.json('extents', '/moved');
    expect(await node.text('move', '/moved')).toMatch(
      /^moved \/moved: 1 extent before, 1 after; 980 KiB copied in /,
    );
    expect((await node.json('extents', '/moved')).extents).not.toEqual(extents);
    const moved = await fs.move('/moved');
    expect(moved).toMatchObject({ pages: 245, pieces: 1, bytesCopied: 245 * 4096 });
    expect(moved.copyMs).toBeGreaterThan(0);
    expect(moved.copyMs + moved.swapMs).toBeLessThan(moved.elapsedMs);
    expect(await node.json('move', '/moved')).toMatchObject({ path: '/moved', pages: 245, after: 1 });
    expect(await node.text('defrag')).toMatch(/^moved \d+ of \d+ files, .*free memory in \d+ runs?\n$/);
    expect(await node.json('defrag')).toMatchObject({ fragmented: 0 });
    expect(await node.text('check')).toBe('sound: every invariant holds\n');
    expect(await node.json('check')).toEqual({ findings: [] });
    expect(fs.readFileSync('/moved').equals(before)).toBe(true);
  });
});

describe('who is there', () => {
  test('status tells of the node and its sessions', async () => {
    const text = await node.text('status');
    expect(text).toMatch(new RegExp(`^node +version .*, pid ${node.pid}, up `, 'm'));
    expect(text).toMatch(new RegExp(` ${process.pid} .* the test$`, 'm'));
    const status = await node.json('status');
    expect(status).toMatchObject({ pid: node.pid, listening: [node.url], waiting: [] });
    expect(status.sessions).toContainEqual(expect.objectContaining({ label: 'the test', views: 0 }));
  });

  test('holders tells who maps what, and revoke ends them', async () => {
    await fs.promises.writeFile('/held', 'held');
    expect(await node.text('holders', '/held')).toBe('nobody maps anything\n');
    const other = await mount(node.url, { label: 'a holder' });
    await other.map('/held');
    expect(await node.text('holders', '/held')).toMatch(/ r +live +4 KiB .* \/held +a holder$/m);
    const [holder] = await node.json('holders', '/held');
    expect(holder).toMatchObject({ label: 'a holder', path: '/held', mode: 'r', pid: process.pid });
    const lost = new Promise((resolve) => other.once('lost', resolve));
    expect(await node.text('revoke', String(holder.session))).toBe(`revoked session ${holder.session}\n`);
    await lost;
    expect(await node.json('holders', '/held')).toEqual([]);
    await other.unmount();
    const again = await node.run('revoke', String(holder.session), '--json');
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/^clusterfs revoke: ENOENT: .*\n$/);
  });

  test('events tells what happens below a path, until Ctrl-C', async () => {
    await fs.promises.mkdir('/watched');
    const people = node.start('events', '/watched');
    const programs = node.start('events', '/watched', '--json');
    const subscribed = async (): Promise<void> => {
      await fs.promises.writeFile('/watched/first', '');
      expect(people.stdout()).toContain('first');
      expect(programs.stdout()).toContain('first');
    };
    await expect
      .poll(
        () =>
          subscribed().then(
            () => true,
            () => false,
          ),
        { timeout: 10_000 },
      )
      .toBe(true);
    await fs.replace('/watched/made', 'v1');
    await fs.replace('/watched/made', 'v2');
    await fs.promises.writeFile('/elsewhere', '');
    await fs.promises.rename('/watched/made', '/gone');
    await people.says(/rename +\/watched\/made to=\/gone/);
    await programs.says(/rename.*\n/);
    expect(people.stdout()).toMatch(/^\d\d:\d\d:\d\d\.\d{3} replace +\/watched\/made size=2$/m);
    expect(people.stdout()).not.toContain('elsewhere');
    const lines = programs.stdout().trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toContainEqual({
      timeMs: expect.any(Number),
      kind: 'replace',
      path: '/watched/made',
      detail: { size: 2 },
    });
    expect(await people.interrupt()).toMatchObject({ code: 130, stderr: '' });
    expect(await programs.interrupt()).toMatchObject({ code: 130, stderr: '' });
  });
});
