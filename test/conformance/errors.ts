/** The exact shape of a system error: code, errno, syscall, path, dest, and the words of its message. */
import { constants } from 'node:os';
import { describe, expect } from 'vitest';
import { refused, refusedSync, type SystemError, stories, type Tester } from './tester.ts';

export function errors(tester: Tester): void {
  describe('errors', () => {
    onePath(tester);
    twoPaths(tester);
    otherCodes(tester);
    onHandles(tester);
    thrownSync(tester);
  });
}

const sentences = {
  EBADF: 'bad file descriptor',
  EEXIST: 'file already exists',
  EINVAL: 'invalid argument',
  EISDIR: 'illegal operation on a directory',
  ELOOP: 'too many symbolic links encountered',
  ENAMETOOLONG: 'name too long',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  ENOTEMPTY: 'directory not empty',
  EPERM: 'operation not permitted',
} as const;

interface Expected {
  readonly code: keyof typeof sentences;
  readonly syscall: string;
  readonly path?: string;
  readonly dest?: string;
}

function expectShape(error: SystemError, { code, syscall, path, dest }: Expected): void {
  const places = dest === undefined ? (path === undefined ? '' : ` '${path}'`) : ` '${path}' -> '${dest}'`;
  expect(error).toBeInstanceOf(Error);
  expect(error.message).toBe(`${code}: ${sentences[code]}, ${syscall}${places}`);
  const shape = {
    errno: error.errno,
    code: error.code,
    syscall: error.syscall,
    path: error.path,
    dest: error.dest,
  };
  expect(shape).toEqual({ errno: -constants.errno[code], code, syscall, path, dest });
}

function onePath(tester: Tester): void {
  const it = stories(tester);
  const operations: [syscall: string, (path: string) => Promise<unknown>][] = [
    ['open', (path) => tester.fs.open(path)],
    ['open', (path) => tester.fs.readFile(path)],
    [
      'open',
      (path) => tester.fs.writeFile(`${path}/f`, 'x').catch((error) => Promise.reject(withoutEnd(error))),
    ],
    ['open', (path) => tester.fs.truncate(path, 1)],
    ['stat', (path) => tester.fs.stat(path)],
    ['lstat', (path) => tester.fs.lstat(path)],
    ['access', (path) => tester.fs.access(path)],
    ['unlink', (path) => tester.fs.unlink(path)],
    ['rmdir', (path) => tester.fs.rmdir(path)],
    ['scandir', (path) => tester.fs.readdir(path)],
    ['opendir', (path) => tester.fs.opendir(path)],
    ['readlink', (path) => tester.fs.readlink(path)],
    ['realpath', (path) => tester.fs.realpath(path)],
    ['chmod', (path) => tester.fs.chmod(path, 0o600)],
    ['chown', (path) => tester.fs.chown(path, -1, -1)],
    ['lchown', (path) => tester.fs.lchown(path, -1, -1)],
    ['utime', (path) => tester.fs.utimes(path, 1, 1)],
    ['lutime', (path) => tester.fs.lutimes(path, 1, 1)],
    ['statfs', (path) => tester.fs.statfs(path)],
  ];

  it('a missing path is named by every operation', async (dir) => {
    for (const [syscall, operation] of operations) {
      const error = await refused(operation(`${dir}/none`), 'ENOENT');
      expectShape(error, { code: 'ENOENT', syscall, path: `${dir}/none` });
    }
  });

  it('the path is given back as it was asked, not tidied', async (dir) => {
    const path = `${dir}//./none/../none`;
    expectShape(await refused(tester.fs.stat(path), 'ENOENT'), { code: 'ENOENT', syscall: 'stat', path });
    const byUrl = await refused(tester.fs.stat(new URL(`file://${dir}/no%20ne`)), 'ENOENT');
    expect(byUrl.path).toBe(`${dir}/no ne`);
  });

  it('mkdir and mkdtemp name the path', async (dir) => {
    const missing = { code: 'ENOENT', syscall: 'mkdir', path: `${dir}/none/d` } as const;
    expectShape(await refused(tester.fs.mkdir(`${dir}/none/d`), 'ENOENT'), missing);
    expectShape(await refused(tester.fs.mkdir(dir), 'EEXIST'), {
      code: 'EEXIST',
      syscall: 'mkdir',
      path: dir,
    });
    const template = await refused(tester.fs.mkdtemp(`${dir}/none/d-`), 'ENOENT');
    const path = template.path ?? '';
    expect(path.slice(0, -6)).toBe(`${dir}/none/d-`);
    expectShape(template, { code: 'ENOENT', syscall: 'mkdtemp', path });
  });
}

/** writeFile was asked for a file below the path; the other operations for the path itself. */
function withoutEnd(error: SystemError): SystemError {
  return Object.assign(error, {
    message: error.message.replace("/f'", "'"),
    path: error.path?.replace(/\/f$/, ''),
  });
}

function twoPaths(tester: Tester): void {
  const it = stories(tester);

  it('both paths are named', async (dir) => {
    const [path, dest] = [`${dir}/none`, `${dir}/to`];
    const renamed = await refused(tester.fs.rename(path, dest), 'ENOENT');
    expectShape(renamed, { code: 'ENOENT', syscall: 'rename', path, dest });
    const linked = await refused(tester.fs.link(path, dest), 'ENOENT');
    expectShape(linked, { code: 'ENOENT', syscall: 'link', path, dest });
    const copied = await refused(tester.fs.copyFile(path, dest), 'ENOENT');
    expectShape(copied, { code: 'ENOENT', syscall: 'copyfile', path, dest });
    const symlinked = await refused(tester.fs.symlink('target', `${dir}/none/l`), 'ENOENT');
    expectShape(symlinked, { code: 'ENOENT', syscall: 'symlink', path: 'target', dest: `${dir}/none/l` });
  });

  it('with every code of rename and link', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
    await tester.fs.writeFile(`${dir}/f`, '');
    const cases: [Expected['code'], 'rename' | 'link', string, string][] = [
      ['EINVAL', 'rename', `${dir}/a`, `${dir}/a/b/c`],
      ['ENOTEMPTY', 'rename', `${dir}/a/b`, `${dir}/a`],
      ['ENOTDIR', 'rename', `${dir}/a`, `${dir}/f`],
      ['EISDIR', 'rename', `${dir}/f`, `${dir}/a/b`],
      ['EEXIST', 'link', `${dir}/f`, `${dir}/a`],
      ['EPERM', 'link', `${dir}/a`, `${dir}/x`],
    ];
    for (const [code, syscall, path, dest] of cases) {
      expectShape(await refused(tester.fs[syscall](path, dest), code), { code, syscall, path, dest });
    }
  });
}

function otherCodes(tester: Tester): void {
  const it = stories(tester);

  it('each code has its sentence', async (dir) => {
    await tester.fs.mkdir(`${dir}/d/e`, { recursive: true });
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('loop', `${dir}/loop`);
    const long = `${dir}/${'n'.repeat(256)}`;
    const cases: [Expected, () => Promise<unknown>][] = [
      [{ code: 'ENOTDIR', syscall: 'stat', path: `${dir}/f/x` }, () => tester.fs.stat(`${dir}/f/x`)],
      [{ code: 'ENOTDIR', syscall: 'scandir', path: `${dir}/f` }, () => tester.fs.readdir(`${dir}/f`)],
      [{ code: 'ENOTDIR', syscall: 'opendir', path: `${dir}/f` }, () => tester.fs.opendir(`${dir}/f`)],
      [{ code: 'ENOTDIR', syscall: 'rmdir', path: `${dir}/f` }, () => tester.fs.rmdir(`${dir}/f`)],
      [{ code: 'ENOTEMPTY', syscall: 'rmdir', path: `${dir}/d` }, () => tester.fs.rmdir(`${dir}/d`)],
      [{ code: 'EISDIR', syscall: 'unlink', path: `${dir}/d` }, () => tester.fs.unlink(`${dir}/d`)],
      [{ code: 'EISDIR', syscall: 'open', path: `${dir}/d` }, () => tester.fs.writeFile(`${dir}/d`, '')],
      [{ code: 'EISDIR', syscall: 'read' }, () => tester.fs.readFile(`${dir}/d`)],
      [{ code: 'EEXIST', syscall: 'open', path: `${dir}/f` }, () => tester.fs.open(`${dir}/f`, 'wx')],
      [{ code: 'ELOOP', syscall: 'stat', path: `${dir}/loop` }, () => tester.fs.stat(`${dir}/loop`)],
      [{ code: 'EINVAL', syscall: 'readlink', path: `${dir}/f` }, () => tester.fs.readlink(`${dir}/f`)],
      [{ code: 'ENAMETOOLONG', syscall: 'open', path: long }, () => tester.fs.readFile(long)],
    ];
    for (const [expected, work] of cases) expectShape(await refused(work(), expected.code), expected);
  });
}

function onHandles(tester: Tester): void {
  const it = stories(tester);

  it('errors of a handle name the call and no path', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await using reader = await tester.fs.open(`${dir}/f`, 'r');
    expectShape(await refused(reader.write('x'), 'EBADF'), { code: 'EBADF', syscall: 'write' });
    expectShape(await refused(reader.truncate(0), 'EINVAL'), { code: 'EINVAL', syscall: 'ftruncate' });
    await using writer = await tester.fs.open(`${dir}/f`, 'w');
    const error = await refused(writer.read(Buffer.alloc(1), 0, 1), 'EBADF');
    expectShape(error, { code: 'EBADF', syscall: 'read' });
  });

  it('a closed handle says so', async (dir) => {
    const handle = await tester.fs.open(`${dir}/f`, 'w');
    await handle.close();
    const error = await refused(handle.stat(), 'EBADF');
    expect([error.message, error.syscall]).toEqual(['file closed', 'fstat']);
  });
}

function thrownSync(tester: Tester): void {
  const it = stories(tester);

  it('the synchronous calls throw the same', async (dir) => {
    const path = `${dir}/none`;
    const calls: [syscall: string, () => unknown][] = [
      ['open', () => tester.sync.readFileSync(path)],
      ['stat', () => tester.sync.statSync(path)],
      ['lstat', () => tester.sync.lstatSync(path)],
      ['scandir', () => tester.sync.readdirSync(path)],
      ['readlink', () => tester.sync.readlinkSync(path)],
      ['access', () => tester.sync.accessSync(path)],
    ];
    for (const [syscall, call] of calls) {
      expectShape(refusedSync(call, 'ENOENT'), { code: 'ENOENT', syscall, path });
    }
  });
}
