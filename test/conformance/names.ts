/** Names and paths: what a name may be, how long, and how a path is walked (path_resolution(7)). */
import { describe, expect } from 'vitest';
import { exists, refused, stories, type Tester } from './tester.ts';

export function names(tester: Tester): void {
  describe('names', () => {
    allowed(tester);
    tooLong(tester);
    walking(tester);
    trailingSlashes(tester);
    rawBytes(tester);
  });
}

function allowed(tester: Tester): void {
  const it = stories(tester);

  it('takes any name without slash and NUL', async (dir) => {
    const odd = [
      ' ',
      '  leading',
      'trailing ',
      '...',
      '.a',
      'a.',
      '-rf',
      '*',
      '?',
      '"',
      "'",
      '\\',
      '\n',
      '\t',
      '$HOME',
    ];
    const wide = [
      'ä',
      'a\u0308',
      '世界',
      '👋🏽',
      '\u200b',
      '\u202e',
      'CON',
      'a:b',
      '%2F',
      '#',
      '~',
      '__proto__',
      'constructor',
    ];
    const all = [...odd, ...wide].sort();
    for (const name of all) await tester.fs.writeFile(`${dir}/${name}`, name);
    expect((await tester.fs.readdir(dir)).sort()).toEqual(all);
    for (const name of all) expect(await tester.fs.readFile(`${dir}/${name}`, 'utf8')).toBe(name);
  });

  it('tells upper case from lower case, and composed from decomposed letters', async (dir) => {
    for (const name of ['name', 'Name', '\u00e9', 'e\u0301'])
      await tester.fs.writeFile(`${dir}/${name}`, name);
    expect((await tester.fs.readdir(dir)).length).toBe(4);
    expect(await tester.fs.readFile(`${dir}/e\u0301`, 'utf8')).toBe('e\u0301');
  });

  it('keeps names apart that differ in one byte at the end', async (dir) => {
    const stem = 'x'.repeat(254);
    for (const last of 'abcdefgh') await tester.fs.writeFile(`${dir}/${stem}${last}`, last);
    for (const last of 'abcdefgh')
      expect(await tester.fs.readFile(`${dir}/${stem}${last}`, 'utf8')).toBe(last);
  });

  it('takes names of every length to 255 bytes', async (dir) => {
    for (let length = 1; length <= 255; length += 2)
      await tester.fs.writeFile(`${dir}/${'n'.repeat(length)}`, '');
    const lengths = (await tester.fs.readdir(dir)).map((name) => name.length).sort((a, b) => a - b);
    expect(lengths).toEqual(Array.from({ length: 128 }, (_, i) => 2 * i + 1));
  });
}

function tooLong(tester: Tester): void {
  const it = stories(tester);

  it('counts bytes, not letters: 255 fit and 256 do not', async (dir) => {
    const fits = `${'é'.repeat(127)}x`;
    await tester.fs.writeFile(`${dir}/${fits}`, 'fits');
    expect(await tester.fs.readdir(dir)).toEqual([fits]);
    await refused(tester.fs.writeFile(`${dir}/${'é'.repeat(128)}`, ''), 'ENAMETOOLONG');
    await refused(tester.fs.writeFile(`${dir}/${'n'.repeat(256)}`, ''), 'ENAMETOOLONG');
  });

  it('refuses such a name in every operation', async (dir) => {
    const long = `${dir}/${'n'.repeat(256)}`;
    await tester.fs.writeFile(`${dir}/f`, '');
    const attempts = {
      stat: () => tester.fs.stat(long),
      lstat: () => tester.fs.lstat(long),
      readFile: () => tester.fs.readFile(long),
      mkdir: () => tester.fs.mkdir(long),
      rmdir: () => tester.fs.rmdir(long),
      unlink: () => tester.fs.unlink(long),
      readdir: () => tester.fs.readdir(long),
      symlink: () => tester.fs.symlink('f', long),
      readlink: () => tester.fs.readlink(long),
      link: () => tester.fs.link(`${dir}/f`, long),
      rename: () => tester.fs.rename(`${dir}/f`, long),
      inTheMiddle: () => tester.fs.stat(`${long}/f`),
    };
    for (const [name, attempt] of Object.entries(attempts)) {
      const code = await attempt().then(
        () => 'no error',
        (error) => error.code,
      );
      expect(`${name} ${code}`).toBe(`${name} ENAMETOOLONG`);
    }
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('takes a path of 4,095 bytes and refuses 4,096 and 4,097, however short its names', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'found');
    const ofLength = (length: number) => {
      const padding = './'.repeat(3000).slice(0, length - dir.length - 2);
      return `${dir}/${padding.replace(/[^/]$/, '/')}f`;
    };
    expect(await tester.fs.readFile(ofLength(4095), 'utf8')).toBe('found');
    for (const length of [4096, 4097, 5000]) {
      expect(ofLength(length).length).toBe(length);
      await refused(tester.fs.stat(ofLength(length)), 'ENAMETOOLONG');
      await refused(tester.fs.writeFile(ofLength(length), ''), 'ENAMETOOLONG');
    }
  });

  it('refuses a link target of 4,096 bytes', async (dir) => {
    await refused(tester.fs.symlink('t'.repeat(4096), `${dir}/l`), 'ENAMETOOLONG');
    await tester.fs.symlink('t'.repeat(4095), `${dir}/l`);
    expect((await tester.fs.readlink(`${dir}/l`)).length).toBe(4095);
    await refused(tester.fs.stat(`${dir}/l`), 'ENAMETOOLONG');
  });
}

function walking(tester: Tester): void {
  const it = stories(tester);

  it('ignores doubled slashes and single dots', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}//d/.//./f`, 'x');
    expect(await tester.fs.readFile(`${dir}/./d///f`, 'utf8')).toBe('x');
  });

  it('goes up by dot-dot, and only from what is there', async (dir) => {
    await tester.fs.mkdir(`${dir}/d/e`, { recursive: true });
    await tester.fs.writeFile(`${dir}/f`, 'x');
    expect(await tester.fs.readFile(`${dir}/d/e/../../f`, 'utf8')).toBe('x');
    await refused(tester.fs.readFile(`${dir}/none/../f`), 'ENOENT');
    await refused(tester.fs.readFile(`${dir}/f/../f`), 'ENOTDIR');
  });

  it('dot-dot after a link leads to the parent of where the link led', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
    await tester.fs.writeFile(`${dir}/a/f`, 'in a');
    await tester.fs.writeFile(`${dir}/f`, 'outside');
    await tester.fs.symlink('a/b', `${dir}/l`);
    expect(await tester.fs.readFile(`${dir}/l/../f`, 'utf8')).toBe('in a');
    await tester.fs.writeFile(`${dir}/l/../new`, '');
    expect(await exists(tester, `${dir}/a/new`)).toBe(true);
  });

  it('the parent of the root is the root', async () => {
    const root = await tester.fs.stat('/');
    const above = await tester.fs.stat('/../..');
    expect(above.ino).toBe(root.ino);
    expect(root.isDirectory()).toBe(true);
  });

  it('refuses a path through a file', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.stat(`${dir}/f/x`), 'ENOTDIR');
    await refused(tester.fs.stat(`${dir}/f/x/y`), 'ENOTDIR');
    await refused(tester.fs.stat(`${dir}/f/.`), 'ENOTDIR');
    await refused(tester.fs.writeFile(`${dir}/f/x`, ''), 'ENOTDIR');
    await refused(tester.fs.unlink(`${dir}/f/x`), 'ENOTDIR');
    await refused(tester.fs.readdir(`${dir}/f/x`), 'ENOTDIR');
    await refused(tester.fs.rename(`${dir}/f/x`, `${dir}/y`), 'ENOTDIR');
    await refused(tester.fs.rename(`${dir}/f`, `${dir}/f/y`), 'ENOTDIR');
  });

  it('refuses the empty path', async () => {
    await refused(tester.fs.stat(''), 'ENOENT');
    await refused(tester.fs.open('', 'w'), 'ENOENT');
    await refused(tester.fs.readdir(''), 'ENOENT');
  });
}

function trailingSlashes(tester: Tester): void {
  const it = stories(tester);

  it('a trailing slash demands a directory', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.stat(`${dir}/f/`), 'ENOTDIR');
    await refused(tester.fs.lstat(`${dir}/f/`), 'ENOTDIR');
    await refused(tester.fs.readFile(`${dir}/f/`), 'ENOTDIR');
    await refused(tester.fs.unlink(`${dir}/f/`), 'ENOTDIR');
    await refused(tester.fs.truncate(`${dir}/f/`), 'ENOTDIR');
    await refused(tester.fs.writeFile(`${dir}/new/`, ''), 'EISDIR');
    await refused(tester.fs.symlink('f', `${dir}/new/`), 'ENOENT');
    await refused(tester.fs.link(`${dir}/f`, `${dir}/new/`), 'ENOENT');
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('a trailing slash follows a link, also for lstat', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('d', `${dir}/l`);
    expect((await tester.fs.lstat(`${dir}/l`)).isSymbolicLink()).toBe(true);
    expect((await tester.fs.lstat(`${dir}/l/`)).isDirectory()).toBe(true);
    expect((await tester.fs.lstat(`${dir}/l/.`)).isDirectory()).toBe(true);
    await refused(tester.fs.readlink(`${dir}/l/`), 'EINVAL');
    await refused(tester.fs.unlink(`${dir}/l/`), 'ENOTDIR');
  });
}

function rawBytes(tester: Tester): void {
  const it = stories(tester, { needs: 'rawNames' });

  it('keeps names that are not UTF-8', async (dir) => {
    const name = Buffer.from([0x61, 0xff, 0xfe, 0x80]);
    const path = Buffer.concat([Buffer.from(`${dir}/`), name]);
    await tester.fs.writeFile(path, 'raw');
    expect(await tester.fs.readdir(dir, 'buffer')).toEqual([name]);
    expect(await tester.fs.readFile(path, 'utf8')).toBe('raw');
    await tester.fs.symlink(name, `${dir}/l`);
    expect(await tester.fs.readlink(`${dir}/l`, 'buffer')).toEqual(name);
    expect(await tester.fs.readFile(`${dir}/l`, 'utf8')).toBe('raw');
    await tester.fs.unlink(path);
    expect(await tester.fs.readdir(dir)).toEqual(['l']);
  });
}
