/** Symbolic links: what they hold, where they lead, and when they are followed. */
import { describe, expect } from 'vitest';
import { exists, refused, stories, type Tester } from './tester.ts';

export function symlinks(tester: Tester): void {
  describe('symlinks', () => {
    holding(tester);
    following(tester);
    dangling(tester);
    loops(tester);
    realPaths(tester);
  });
}

function holding(tester: Tester): void {
  const it = stories(tester);

  it('gives back its target as it was written', async (dir) => {
    const targets = [
      'f',
      './f',
      '../x//y/',
      '/',
      '/a/b',
      '.',
      '..',
      ' ',
      'ü',
      'x'.repeat(60),
      'y'.repeat(3000),
    ];
    for (const [i, target] of targets.entries()) {
      expect(await tester.fs.symlink(target, `${dir}/${i}`)).toBeUndefined();
      expect(await tester.fs.readlink(`${dir}/${i}`)).toBe(target);
    }
    expect(await tester.fs.readlink(`${dir}/8`, 'buffer')).toEqual(Buffer.from('ü'));
    expect(await tester.fs.readlink(`${dir}/8`, { encoding: 'hex' })).toBe('c3bc');
  });

  it('has the length of its target as size, and mode 0777', async (dir) => {
    await tester.fs.symlink('tärget', `${dir}/l`);
    const stats = await tester.fs.lstat(`${dir}/l`);
    expect([stats.isSymbolicLink(), stats.isFile(), stats.isDirectory()]).toEqual([true, false, false]);
    expect(stats.size).toBe(7);
    expect(stats.mode & 0o777).toBe(0o777);
    expect(stats.nlink).toBe(1);
  });

  it('refuses a taken name, a missing directory and an empty target', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.symlink('x', `${dir}/f`), 'EEXIST');
    await refused(tester.fs.symlink('x', dir), 'EEXIST');
    await refused(tester.fs.symlink('x', `${dir}/none/l`), 'ENOENT');
    await refused(tester.fs.symlink('', `${dir}/l`), 'ENOENT');
  });

  it('readlink refuses what is no link', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.readlink(`${dir}/f`), 'EINVAL');
    await refused(tester.fs.readlink(dir), 'EINVAL');
    await refused(tester.fs.readlink(`${dir}/none`), 'ENOENT');
  });
}

function following(tester: Tester): void {
  const it = stories(tester);

  it('leads from the directory it is in, not from the caller', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/f`, 'outer');
    await tester.fs.writeFile(`${dir}/d/f`, 'inner');
    await tester.fs.symlink('f', `${dir}/d/same`);
    await tester.fs.symlink('../f', `${dir}/d/up`);
    await tester.fs.symlink(`${dir}/f`, `${dir}/d/absolute`);
    expect(await tester.fs.readFile(`${dir}/d/same`, 'utf8')).toBe('inner');
    expect(await tester.fs.readFile(`${dir}/d/up`, 'utf8')).toBe('outer');
    expect(await tester.fs.readFile(`${dir}/d/absolute`, 'utf8')).toBe('outer');
  });

  it('is followed in the middle and at the end by what works on content', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('d', `${dir}/l`);
    await tester.fs.writeFile(`${dir}/l/f`, 'through');
    await tester.fs.symlink('l/f', `${dir}/m`);
    await tester.fs.appendFile(`${dir}/m`, ' link');
    expect(await tester.fs.readFile(`${dir}/d/f`, 'utf8')).toBe('through link');
    expect((await tester.fs.stat(`${dir}/m`)).isFile()).toBe(true);
    await tester.fs.truncate(`${dir}/m`, 7);
    await tester.fs.chmod(`${dir}/m`, 0o600);
    expect((await tester.fs.stat(`${dir}/d/f`)).size).toBe(7);
    expect((await tester.fs.stat(`${dir}/d/f`)).mode & 0o777).toBe(0o600);
  });

  it('is not followed by unlink', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.unlink(`${dir}/l`);
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('shows the new place when the target is moved away and replaced', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'one');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.rename(`${dir}/f`, `${dir}/g`);
    await refused(tester.fs.readFile(`${dir}/l`), 'ENOENT');
    await tester.fs.writeFile(`${dir}/f`, 'two');
    expect(await tester.fs.readFile(`${dir}/l`, 'utf8')).toBe('two');
  });

  it('follows a chain of 40 and refuses 41', async (dir) => {
    await tester.fs.writeFile(`${dir}/0`, 'end');
    for (let i = 1; i <= 41; i++) await tester.fs.symlink(`${i - 1}`, `${dir}/${i}`);
    expect(await tester.fs.readFile(`${dir}/40`, 'utf8')).toBe('end');
    await refused(tester.fs.readFile(`${dir}/41`), 'ELOOP');
    expect(await tester.fs.readlink(`${dir}/41`)).toBe('40');
  });
}

function dangling(tester: Tester): void {
  const it = stories(tester);

  it('leads nowhere but exists', async (dir) => {
    await tester.fs.symlink('none', `${dir}/l`);
    await refused(tester.fs.stat(`${dir}/l`), 'ENOENT');
    await refused(tester.fs.readFile(`${dir}/l`), 'ENOENT');
    await refused(tester.fs.access(`${dir}/l`), 'ENOENT');
    await refused(tester.fs.realpath(`${dir}/l`), 'ENOENT');
    expect((await tester.fs.lstat(`${dir}/l`)).isSymbolicLink()).toBe(true);
    expect(await tester.fs.readdir(dir)).toEqual(['l']);
  });

  it('creates its target when it is written', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('d/new', `${dir}/l`);
    await tester.fs.writeFile(`${dir}/l`, 'made');
    expect(await tester.fs.readFile(`${dir}/d/new`, 'utf8')).toBe('made');
    expect((await tester.fs.lstat(`${dir}/l`)).isSymbolicLink()).toBe(true);
    await tester.fs.symlink('no/dir', `${dir}/m`);
    await refused(tester.fs.writeFile(`${dir}/m`, ''), 'ENOENT');
  });
}

function loops(tester: Tester): void {
  const it = stories(tester);

  it('ends a loop with ELOOP, wherever it is met', async (dir) => {
    await tester.fs.symlink('b', `${dir}/a`);
    await tester.fs.symlink('a', `${dir}/b`);
    await tester.fs.symlink('self', `${dir}/self`);
    for (const path of ['a', 'b', 'self', 'a/x', 'self/x', 'a/']) {
      await refused(tester.fs.stat(`${dir}/${path}`), 'ELOOP');
      await refused(tester.fs.readFile(`${dir}/${path}`), 'ELOOP');
    }
    await refused(tester.fs.writeFile(`${dir}/a`, ''), 'ELOOP');
    await refused(tester.fs.realpath(`${dir}/a`), 'ELOOP');
    await refused(tester.fs.readdir(`${dir}/a`), 'ELOOP');
    await refused(tester.fs.rename(`${dir}/a/x`, `${dir}/y`), 'ELOOP');
  });

  it('lets a loop be looked at and removed', async (dir) => {
    await tester.fs.symlink('self', `${dir}/self`);
    expect(await tester.fs.readlink(`${dir}/self`)).toBe('self');
    await tester.fs.unlink(`${dir}/self`);
    expect(await exists(tester, `${dir}/self`)).toBe(false);
  });

  it('a link to its own directory may be entered up to 40 times', async (dir) => {
    await tester.fs.symlink('.', `${dir}/l`);
    await tester.fs.writeFile(`${dir}/f`, 'x');
    expect(await tester.fs.readFile(`${dir}/${'l/'.repeat(40)}f`, 'utf8')).toBe('x');
    await refused(tester.fs.readFile(`${dir}/${'l/'.repeat(41)}f`), 'ELOOP');
  });
}

function realPaths(tester: Tester): void {
  const it = stories(tester);

  it('names the place without links, dots and doubled slashes', async (dir) => {
    const real = await tester.fs.realpath(dir);
    await tester.fs.mkdir(`${dir}/d/e`, { recursive: true });
    await tester.fs.writeFile(`${dir}/d/f`, '');
    await tester.fs.symlink('d/e', `${dir}/l`);
    await tester.fs.symlink('l/../f', `${dir}/m`);
    expect(await tester.fs.realpath(`${dir}/l`)).toBe(`${real}/d/e`);
    expect(await tester.fs.realpath(`${dir}/m`)).toBe(`${real}/d/f`);
    expect(await tester.fs.realpath(`${dir}//l/.././e/`)).toBe(`${real}/d/e`);
    expect(await tester.fs.realpath('/..')).toBe('/');
    expect(await tester.fs.realpath(`${dir}/l`, 'buffer')).toEqual(Buffer.from(`${real}/d/e`));
  });

  it('refuses what is not there or no directory in the middle', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.realpath(`${dir}/none`), 'ENOENT');
    await refused(tester.fs.realpath(`${dir}/f/x`), 'ENOTDIR');
    await refused(tester.fs.realpath(`${dir}/f/`), 'ENOTDIR');
  });
}
