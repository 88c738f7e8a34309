/** `clusterfs dump` and `clusterfs load`: what is loaded is what was dumped, or an error and no half file. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ClusterFs, mount } from 'cluster-fs';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeTime, encodeTime, secondsFor } from '../src/dump/format.ts';
import { run, type Served, serve } from './cli-process.ts';

const page = 4096;
let from: Served;
let to: Served;
let source: ClusterFs;
let target: ClusterFs;

beforeAll(async () => {
  [from, to] = await Promise.all([serve(), serve()]);
  [source, target] = await Promise.all([mount(from.url), mount(to.url)]);
});

afterAll(async () => {
  await Promise.all([source.unmount(), target.unmount()]);
  for (const { code } of await Promise.all([from.stop(), to.stop()])) expect(code).toBe(0);
});

async function empty(fs: ClusterFs): Promise<void> {
  for (const name of fs.readdirSync('/')) await fs.promises.rm(`/${name}`, { recursive: true });
}

/** Everything that a dump keeps, in a form to compare; inodes by the first name that they have. */
function pictureOf(fs: ClusterFs, root = '/') {
  const first = new Map<number, string>();
  // With types, no symlink is entered: a dump has none of what lies behind one.
  const entries = fs.readdirSync(root, { recursive: true, withFileTypes: true });
  const names = ['', ...entries.map((entry) => relative(root, join(entry.parentPath, entry.name)))].sort();
  return names.map((name) => {
    const path = join(root, name);
    const stats = fs.lstatSync(path);
    const { ino, mode, uid, gid, nlink, size, blocks, mtimeMs } = stats;
    if (!first.has(ino)) first.set(ino, name);
    return {
      name,
      is: first.get(ino),
      ...{ mode, uid, gid, nlink, size, blocks, mtimeMs },
      target: stats.isSymbolicLink() ? fs.readlinkSync(path) : undefined,
      content: stats.isFile() ? fs.readFileSync(path).toString('base64') : undefined,
    };
  });
}

const nameOf = fc.oneof(
  fc.stringMatching(/^[a-z]{1,8}$/),
  fc.constantFrom('ünï cödé', 'two\nlines', '-rf', '日本語', '🐟', 'a=b', ' 12 path=x\n', '*?"\\'),
  fc.integer({ min: 101, max: 255 }).map((length) => 'n'.repeat(length)),
);
const itemOf = fc.record({
  directories: fc.array(nameOf, { maxLength: 3 }),
  name: nameOf,
  kind: fc.constantFrom('file', 'sparse', 'empty', 'directory', 'symlink', 'link'),
  length: fc.integer({ min: 1, max: 40_000 }),
  mode: fc.integer({ min: 0, max: 0o777 }).map((mode) => mode | 0o600),
  timeMs: fc.double({ min: 1.1e12, max: 2.1e12, noNaN: true }),
});

async function make(
  fs: ClusterFs,
  item: typeof itemOf extends fc.Arbitrary<infer I> ? I : never,
  files: string[],
): Promise<void> {
  const { kind, name, length, mode, timeMs } = item;
  const directory = join('/', ...item.directories);
  await fs.promises.mkdir(directory, { recursive: true });
  const path = join(directory, name);
  if (kind === 'directory') await fs.promises.mkdir(path);
  else if (kind === 'symlink') await fs.promises.symlink('x'.repeat(length % 1000) + name, path);
  else if (kind === 'link') await fs.promises.link(files[length % files.length] ?? '/none', path);
  else {
    await fs.promises.writeFile(path, Buffer.alloc(kind === 'file' ? length : 0, name), { flag: 'wx' });
    files.push(path);
  }
  if (kind === 'sparse') {
    await fs.promises.truncate(path, length * 10);
    const handle = await fs.promises.open(path, 'r+');
    await handle.write(Buffer.from(name), 0, 1, length);
    await handle.close();
  }
  if (kind !== 'symlink') await fs.promises.chmod(path, kind === 'directory' ? mode | 0o100 : mode);
  await fs.promises.lutimes(path, secondsFor(timeMs), secondsFor(timeMs));
}

test('random trees come back as they were, and tar lists as many names', async () => {
  let count = 0;
  const property = fc.asyncProperty(fc.array(itemOf, { minLength: 3, maxLength: 25 }), async (items) => {
    await Promise.all([empty(source), empty(target)]);
    const files: string[] = [];
    for (const item of items) {
      await make(source, item, files).catch((error: NodeJS.ErrnoException) => {
        // A name that is taken, a link with nothing to link to, or a way through a symlink to nowhere.
        expect(['EEXIST', 'ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG', 'ELOOP']).toContain(error.code);
      });
    }
    const file = join(from.home, `${count++}.tar`);
    await from.text('dump', file);
    await to.text('load', file);
    const picture = pictureOf(source);
    expect(pictureOf(target)).toEqual(picture);
    expect(await target.check()).toEqual([]);
    const listed = execFileSync('tar', ['--quoting-style=escape', '-tf', file], { encoding: 'utf8' });
    expect(listed.trimEnd().split('\n')).toHaveLength(picture.length);
  });
  await fc.assert(property, { numRuns: 6, endOnFailure: true });
}, 60_000);

test('times keep every bit', () => {
  const time = fc.double({ min: -1e13, max: 8e12, noNaN: true });
  fc.assert(fc.property(time, (ms) => Math.abs((decodeTime(encodeTime(ms)) ?? 1e9) - ms) < 1e-6));
  const today = fc.double({ min: 1.1e12, max: 2.1e12, noNaN: true });
  fc.assert(fc.property(today, (ms) => decodeTime(encodeTime(ms)) === ms));
  fc.assert(fc.property(today, (ms) => Number(secondsFor(ms)) * 1000 === ms));
});

test('a large file with holes keeps them, through a pipe and for tar', async () => {
  await Promise.all([empty(source), empty(target)]);
  await source.promises.writeFile('/large', Buffer.alloc(600 * page, 'large'));
  await source.promises.punchHole('/large', 10 * page, 300 * page);
  const file = join(from.home, 'large.tar');
  expect(await from.json('dump', file)).toMatchObject({ path: file, files: 1, bytes: 300 * page });
  const { code } = await run(['load', '--url', to.url], { input: readFileSync(file) });
  expect(code).toBe(0);
  expect(pictureOf(target)).toEqual(pictureOf(source));
  const unpacked = execFileSync('tar', ['-xOf', file, './large'], { maxBuffer: 2 ** 26 });
  expect(unpacked.equals(source.readFileSync('/large'))).toBe(true);
});

test('what is there is EEXIST, and is replaced when asked, without touching its other names', async () => {
  await Promise.all([empty(source), empty(target)]);
  await source.promises.writeFile('/a', 'new');
  await target.promises.writeFile('/a', 'old');
  await target.promises.link('/a', '/other');
  const file = join(from.home, 'replace.tar');
  await from.text('dump', file);
  expect((await from.run('dump', file)).stderr).toMatch(/^clusterfs dump: EEXIST: /);
  expect((await to.run('load', file)).stderr).toMatch(/^clusterfs load: EEXIST: .*'\/a' .*--replace/);
  expect(target.readFileSync('/a', 'utf8')).toBe('old');
  await to.text('load', '--replace', file);
  expect([target.readFileSync('/a', 'utf8'), target.readFileSync('/other', 'utf8')]).toEqual(['new', 'old']);
  expect(await to.json('load', file, '--into', '/deep/below/')).toMatchObject({
    path: '/deep/below',
    files: 1,
  });
  expect(pictureOf(target, '/deep/below')).toEqual(pictureOf(source));
});

test('a part of the tree is dumped by its path, also through a symlink', async () => {
  await Promise.all([empty(source), empty(target)]);
  await source.promises.mkdir('/a/b/c', { recursive: true });
  await source.promises.writeFile('/a/b/c/file', 'content');
  await source.promises.link('/a/b/c/file', '/a/b/other');
  await source.promises.symlink('c/file', '/a/b/symlink');
  const sparse = await source.promises.open('/a/b/sparse', 'w');
  await sparse.write(Buffer.from('end'), 0, 3, 50 * page);
  await sparse.close();
  await source.promises.writeFile('/a/beside', 'not in it');
  await source.promises.symlink('/a/b', '/short');
  for (const [path, into] of [
    ['/a/b', '/one'],
    ['short/', '/two'],
  ] as const) {
    const file = join(from.home, `part${into.slice(1)}.tar`);
    expect(await from.json('dump', '--from', path, file)).toMatchObject({
      files: 2,
      directories: 2,
      links: 1,
    });
    await to.text('load', file, '--into', into);
    expect(pictureOf(target, into)).toEqual(pictureOf(source, '/a/b'));
  }
  const none = await from.run('dump', '--from', '/a/beside', join(from.home, 'none.tar'));
  expect(none).toMatchObject({ code: 1, stderr: expect.stringMatching(/ENOTDIR.*'\/a\/beside'/) });
  expect(readdirSync(from.home)).not.toContain('none.tar');
});

test('with --keep what is there stays, and what is missing is loaded', async () => {
  await Promise.all([empty(source), empty(target)]);
  for (const fs of [source, target]) await fs.promises.mkdir('/d');
  await source.promises.chmod('/d', 0o700);
  await target.promises.chmod('/d', 0o751);
  for (const name of ['a', 'b']) await source.promises.writeFile(`/d/${name}`, 'new');
  await source.promises.symlink('new', '/d/s');
  await target.promises.writeFile('/d/a', 'old');
  await target.promises.symlink('old', '/d/s');
  const file = join(from.home, 'keep.tar');
  await from.text('dump', file);
  expect(await to.json('load', '--keep', file)).toMatchObject({ files: 1, symlinks: 0 });
  expect(['a', 'b'].map((name) => target.readFileSync(`/d/${name}`, 'utf8'))).toEqual(['old', 'new']);
  expect(target.readlinkSync('/d/s')).toBe('old');
  expect(target.statSync('/d').mode & 0o777).toBe(0o751);
  await target.promises.rm('/d/s');
  await target.promises.mkdir('/d/s');
  expect((await to.run('load', '--keep', file)).stderr).toMatch(/EEXIST.*'\/d\/s'.*another kind/);
  expect((await to.run('load', '--keep', '--replace', file)).stderr).toMatch(/not both/);
});

test('a dump that was cut anywhere is an error, and leaves whole files alone', async () => {
  await empty(source);
  const content = Buffer.alloc(5000);
  for (const name of ['a', 'b', 'c']) await source.promises.writeFile(`/${name}`, content);
  const file = join(from.home, 'cut.tar');
  await from.text('dump', file);
  const whole = readFileSync(file);
  // Between two entries too: the content is zeros, as the end of an archive is.
  for (const length of [0, 700, 1536, 5000, 9728, whole.length - 1024, whole.length - 1]) {
    await empty(target);
    const { code, stderr } = await run(['load', '--url', to.url], { input: whole.subarray(0, length) });
    expect({ length, code }).toEqual({ length, code: 1 });
    expect(stderr).toMatch(length < 1536 ? /EINVAL.*no dump/ : /EIO.*ends early/);
    for (const name of target.readdirSync('/')) expect(target.readFileSync(`/${name}`)).toEqual(content);
  }
}, 30_000);

async function archive(entries: readonly (readonly [object, string?])[]): Promise<Buffer> {
  const stream = pack();
  for (const [header, body] of entries) stream.entry(header as { name: string }, body ?? '');
  stream.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const root = (version: string) =>
  [{ name: './', type: 'directory', pax: { comment: `clusterfs dump ${version}` } }] as const;

test('what is no dump, of another version, or leads elsewhere is refused', async () => {
  await empty(target);
  const file = join(to.home, 'hostile.tar');
  const refused = async (entries: Parameters<typeof archive>[0], message: RegExp): Promise<void> => {
    writeFileSync(file, await archive(entries));
    expect((await to.run('load', '--into', '/in', file)).stderr).toMatch(message);
  };
  await refused([[{ name: 'a' }, 'x']], /EINVAL.*no dump/);
  await refused([root('2')], /EPROTONOSUPPORT.*version 2 .* knows 1/);
  await refused([root('1'), [{ name: './../out' }, 'x']], /EIO.*damaged: the name/);
  await refused([root('1'), [{ name: '/out' }, 'x']], /EIO.*damaged: the name/);
  await refused(
    [root('1'), [{ name: './l', type: 'symlink', linkname: '/' }], [{ name: './l/out' }, 'x']],
    /EIO.*damaged: .*comes before the directory/,
  );
  await refused([root('1'), [{ name: './pipe', type: 'fifo' }]], /ENOTSUP/);
  expect(target.readdirSync('/')).toEqual(['in']);
  expect(target.readdirSync('/in')).toEqual(['l']);
});

test('a dump that fails leaves nothing on the disk', async () => {
  await empty(source);
  await source.promises.writeFile('/large', Buffer.alloc(4 * 2 ** 20, 1));
  const before = readdirSync(from.home);
  const file = join(from.home, 'never.tar');
  const program = fileURLToPath(new URL('../bin/clusterfs.js', import.meta.url));
  const limited = 'ulimit -f 2000 && exec "$0" "$@"';
  const args = ['-c', limited, process.execPath, program, 'dump', '--url', from.url, file];
  const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringMatching(/EFBIG/) });
  expect(readdirSync(from.home)).toEqual(before);
});
