/** mkdir, rmdir, readdir, opendir: what a directory holds, and when it may go. */
import { describe, expect } from 'vitest';
import { refused, stories, type Tester } from './tester.ts';

export function directories(tester: Tester): void {
  describe('directories', () => {
    making(tester);
    makingRecursively(tester);
    removing(tester);
    reading(tester);
    readingRecursively(tester);
    opening(tester);
    openingOnPurposeWrong(tester);
    large(tester);
  });
}

function making(tester: Tester): void {
  const it = stories(tester);

  it('makes an empty directory and resolves to undefined', async (dir) => {
    expect(await tester.fs.mkdir(`${dir}/d`)).toBeUndefined();
    expect((await tester.fs.stat(`${dir}/d`)).isDirectory()).toBe(true);
    expect(await tester.fs.readdir(`${dir}/d`)).toEqual([]);
  });

  it('accepts a trailing slash', async (dir) => {
    await tester.fs.mkdir(`${dir}/d/`);
    expect(await tester.fs.readdir(dir)).toEqual(['d']);
  });

  it('refuses a name that is taken, by whatever', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('nowhere', `${dir}/l`);
    for (const name of ['d', 'f', 'l', 'd/.', '.'])
      await refused(tester.fs.mkdir(`${dir}/${name}`), 'EEXIST');
  });

  it('refuses a parent that is missing or not a directory', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.mkdir(`${dir}/none/d`), 'ENOENT');
    await refused(tester.fs.mkdir(`${dir}/f/d`), 'ENOTDIR');
  });

  it('applies mode and umask', async (dir) => {
    await tester.fs.mkdir(`${dir}/private`, { mode: 0o700 });
    await tester.fs.mkdir(`${dir}/number`, 0o711);
    await tester.fs.mkdir(`${dir}/usual`);
    expect((await tester.fs.stat(`${dir}/private`)).mode & 0o7777).toBe(0o700);
    expect((await tester.fs.stat(`${dir}/number`)).mode & 0o7777).toBe(0o711 & ~process.umask());
    expect((await tester.fs.stat(`${dir}/usual`)).mode & 0o7777).toBe(0o777 & ~process.umask());
  });

  it('counts its subdirectories in nlink', async (dir) => {
    expect((await tester.fs.stat(dir)).nlink).toBe(2);
    await tester.fs.mkdir(`${dir}/a`);
    await tester.fs.mkdir(`${dir}/b`);
    await tester.fs.writeFile(`${dir}/f`, '');
    expect((await tester.fs.stat(dir)).nlink).toBe(4);
    await tester.fs.rename(`${dir}/b`, `${dir}/a/b`);
    expect((await tester.fs.stat(dir)).nlink).toBe(3);
    expect((await tester.fs.stat(`${dir}/a`)).nlink).toBe(3);
    await tester.fs.rmdir(`${dir}/a/b`);
    expect((await tester.fs.stat(`${dir}/a`)).nlink).toBe(2);
  });
}

function makingRecursively(tester: Tester): void {
  const it = stories(tester);
  const recursive = { recursive: true } as const;

  it('makes what is missing and names the first it made', async (dir) => {
    expect(await tester.fs.mkdir(`${dir}/a/b/c`, recursive)).toBe(`${dir}/a`);
    expect(await tester.fs.mkdir(`${dir}/a/b/d/e`, recursive)).toBe(`${dir}/a/b/d`);
    expect(await tester.fs.readdir(`${dir}/a/b`)).toEqual(expect.arrayContaining(['c', 'd']));
  });

  it('is content with what exists', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b`, recursive);
    expect(await tester.fs.mkdir(`${dir}/a/b`, recursive)).toBeUndefined();
    await tester.fs.symlink('a', `${dir}/l`);
    expect(await tester.fs.mkdir(`${dir}/l`, recursive)).toBeUndefined();
  });

  it('refuses a file in its way', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.mkdir(`${dir}/f`, recursive), 'EEXIST');
    await refused(tester.fs.mkdir(`${dir}/f/a`, recursive), 'ENOTDIR');
    await refused(tester.fs.mkdir(`${dir}/f/a/b`, recursive), 'ENOTDIR');
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('goes through links to directories', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('d', `${dir}/l`);
    await tester.fs.mkdir(`${dir}/l/x/y`, recursive);
    expect(await tester.fs.readdir(`${dir}/d/x`)).toEqual(['y']);
  });

  it('makes a hundred levels', async (dir) => {
    const deep = `${dir}${'/d'.repeat(100)}`;
    await tester.fs.mkdir(deep, recursive);
    await tester.fs.writeFile(`${deep}/f`, 'deep');
    expect(await tester.fs.readFile(`${deep}/f`, 'utf8')).toBe('deep');
  });
}

function removing(tester: Tester): void {
  const it = stories(tester);

  it('removes an empty directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    expect(await tester.fs.rmdir(`${dir}/d`)).toBeUndefined();
    await refused(tester.fs.stat(`${dir}/d`), 'ENOENT');
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });

  it('refuses one that holds anything', async (dir) => {
    await tester.fs.mkdir(`${dir}/d/e`, { recursive: true });
    await refused(tester.fs.rmdir(`${dir}/d`), 'ENOTEMPTY');
    await tester.fs.rmdir(`${dir}/d/e`);
    await tester.fs.symlink('nowhere', `${dir}/d/l`);
    await refused(tester.fs.rmdir(`${dir}/d`), 'ENOTEMPTY');
    await tester.fs.unlink(`${dir}/d/l`);
    await tester.fs.rmdir(`${dir}/d`);
  });

  it('refuses what is no directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('d', `${dir}/l`);
    await refused(tester.fs.rmdir(`${dir}/f`), 'ENOTDIR');
    await refused(tester.fs.rmdir(`${dir}/l`), 'ENOTDIR');
    await refused(tester.fs.rmdir(`${dir}/l/`), 'ENOTDIR');
    await refused(tester.fs.rmdir(`${dir}/none`), 'ENOENT');
  });

  it('refuses dot and dot-dot', async (dir) => {
    await tester.fs.mkdir(`${dir}/d/e`, { recursive: true });
    await refused(tester.fs.rmdir(`${dir}/d/e/.`), 'EINVAL');
    await refused(tester.fs.rmdir(`${dir}/d/e/..`), 'ENOTEMPTY');
  });

  it('unlink refuses a directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await refused(tester.fs.unlink(`${dir}/d`), 'EISDIR');
    await refused(tester.fs.unlink(`${dir}/d/`), 'EISDIR');
  });

  it('makes room for a new one of the same name, which is empty', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`, { mode: 0o700 });
    await tester.fs.writeFile(`${dir}/d/f`, '');
    await tester.fs.unlink(`${dir}/d/f`);
    await tester.fs.rmdir(`${dir}/d`);
    await tester.fs.mkdir(`${dir}/d`, { mode: 0o711 });
    expect(await tester.fs.readdir(`${dir}/d`)).toEqual([]);
    expect((await tester.fs.stat(`${dir}/d`)).mode & 0o777).toBe(0o711 & ~process.umask());
  });
}

function reading(tester: Tester): void {
  const it = stories(tester);

  it('lists every name once, without dot and dot-dot', async (dir) => {
    for (const name of ['a', 'b', '.hidden']) await tester.fs.writeFile(`${dir}/${name}`, '');
    await tester.fs.mkdir(`${dir}/d`);
    expect((await tester.fs.readdir(dir)).sort()).toEqual(['.hidden', 'a', 'b', 'd']);
    expect((await tester.fs.readdir(`${dir}/`)).length).toBe(4);
  });

  it('tells the types', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('d', `${dir}/l`);
    const entries = await tester.fs.readdir(dir, { withFileTypes: true });
    const told = entries.map((entry) => ({
      name: entry.name,
      kind: [entry.isFile(), entry.isDirectory(), entry.isSymbolicLink()].map(Number).join(''),
      other: entry.isFIFO() || entry.isSocket() || entry.isBlockDevice() || entry.isCharacterDevice(),
      parentPath: entry.parentPath,
    }));
    expect(told.sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { name: 'd', kind: '010', other: false, parentPath: dir },
      { name: 'f', kind: '100', other: false, parentPath: dir },
      { name: 'l', kind: '001', other: false, parentPath: dir },
    ]);
  });

  it('gives names as buffers and in other encodings', async (dir) => {
    await tester.fs.writeFile(`${dir}/é`, '');
    expect(await tester.fs.readdir(dir, 'buffer')).toEqual([Buffer.from('é')]);
    expect(await tester.fs.readdir(dir, { encoding: 'buffer' })).toEqual([Buffer.from('é')]);
    expect(await tester.fs.readdir(dir, 'hex')).toEqual(['c3a9']);
    const [entry] = await tester.fs.readdir(dir, { encoding: 'buffer', withFileTypes: true });
    expect(entry?.name).toEqual(Buffer.from('é'));
    expect(entry?.isFile()).toBe(true);
  });

  it('reads a directory through a link', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/d/f`, '');
    await tester.fs.symlink('d', `${dir}/l`);
    expect(await tester.fs.readdir(`${dir}/l`)).toEqual(['f']);
  });

  it('refuses a file and a missing path', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.readdir(`${dir}/f`), 'ENOTDIR');
    await refused(tester.fs.readdir(`${dir}/none`), 'ENOENT');
    await refused(tester.fs.readdir(`${dir}/none`, { recursive: true }), 'ENOENT');
  });

  it('shows each change at once', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, '');
    expect(await tester.fs.readdir(dir)).toEqual(['a']);
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    expect(await tester.fs.readdir(dir)).toEqual(['b']);
    await tester.fs.unlink(`${dir}/b`);
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });
}

function readingRecursively(tester: Tester): void {
  const it = stories(tester);

  async function smallTree(dir: string): Promise<void> {
    await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
    for (const name of ['f', 'a/g', 'a/b/h']) await tester.fs.writeFile(`${dir}/${name}`, '');
    await tester.fs.symlink('a', `${dir}/l`);
  }

  it('gives paths below the directory', async (dir) => {
    await smallTree(dir);
    await tester.fs.unlink(`${dir}/l`);
    const names = await tester.fs.readdir(dir, { recursive: true });
    expect(names.sort()).toEqual(['a', 'a/b', 'a/b/h', 'a/g', 'f']);
  });

  it('gives types and the directory of each entry, and does not enter links', async (dir) => {
    await smallTree(dir);
    const entries = await tester.fs.readdir(dir, { recursive: true, withFileTypes: true });
    const found = entries.map((entry) => `${entry.parentPath}/${entry.name} ${entry.isDirectory()}`);
    const expected = ['a true', 'a/b true', 'a/b/h false', 'a/g false', 'f false', 'l false'];
    expect(found.sort()).toEqual(expected.map((line) => `${dir}/${line}`));
  });
}

function opening(tester: Tester): void {
  const it = stories(tester);

  it('iterates over everything and closes itself', async (dir) => {
    const expected = Array.from({ length: 100 }, (_, i) => `f${i}`).sort();
    await Promise.all(expected.map((name) => tester.fs.writeFile(`${dir}/${name}`, '')));
    const opened = await tester.fs.opendir(dir, { bufferSize: 7 });
    const names: string[] = [];
    for await (const entry of opened) names.push(entry.name);
    expect(names.sort()).toEqual(expected);
    await refused(opened.close(), 'ERR_DIR_CLOSED');
  });

  it('reads entry by entry to null', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    const opened = await tester.fs.opendir(dir);
    expect(opened.path).toBe(dir);
    const entry = await opened.read();
    expect(entry?.name).toBe('d');
    expect(entry?.isDirectory()).toBe(true);
    expect(entry?.parentPath).toBe(dir);
    expect(await opened.read()).toBeNull();
    expect(await opened.read()).toBeNull();
    await opened.close();
  });

  it('iterates recursively', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
    await tester.fs.writeFile(`${dir}/a/b/f`, '');
    const found: string[] = [];
    for await (const entry of await tester.fs.opendir(dir, { recursive: true })) {
      found.push(`${entry.parentPath}/${entry.name}`);
    }
    expect(found.sort()).toEqual([`${dir}/a`, `${dir}/a/b`, `${dir}/a/b/f`]);
  });

  it('leaving the loop early closes', async (dir) => {
    for (const name of ['a', 'b', 'c']) await tester.fs.writeFile(`${dir}/${name}`, '');
    const opened = await tester.fs.opendir(dir);
    for await (const _entry of opened) break;
    await refused(opened.close(), 'ERR_DIR_CLOSED');
  });

  it('shows every entry that stays, also when others go meanwhile', async (dir) => {
    for (let i = 0; i < 60; i++) await tester.fs.writeFile(`${dir}/${i}`, '');
    const seen = new Set<string>();
    for await (const entry of await tester.fs.opendir(dir, { bufferSize: 4 })) {
      seen.add(entry.name);
      if (Number(entry.name) % 2 === 1) await tester.fs.unlink(`${dir}/${entry.name}`);
    }
    for (let i = 0; i < 60; i += 2) expect(seen).toContain(`${i}`);
  });
}

function openingOnPurposeWrong(tester: Tester): void {
  const it = stories(tester);

  it('opendir refuses a file and a missing path', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.opendir(`${dir}/f`), 'ENOTDIR');
    await refused(tester.fs.opendir(`${dir}/none`), 'ENOENT');
  });

  it('a closed Dir reads no more', async (dir) => {
    const opened = await tester.fs.opendir(dir);
    await opened.close();
    // Some versions of node throw here instead of rejecting.
    const read = async () => opened.read();
    await refused(read(), 'ERR_DIR_CLOSED');
  });
}

function large(tester: Tester): void {
  const it = stories(tester, { timeoutMs: 60_000 });
  const count = 5000;
  const nameOf = (index: number) => `entry-${String(index).padStart(5, '0')}`;

  it('holds 5,000 entries, finds each, and forgets those removed', async (dir) => {
    const all = Array.from({ length: count }, (_, index) => nameOf(index));
    for (let from = 0; from < count; from += 100) {
      const batch = all.slice(from, from + 100);
      await Promise.all(batch.map((name, at) => tester.fs.writeFile(`${dir}/${name}`, String(from + at))));
    }
    expect((await tester.fs.readdir(dir)).sort()).toEqual(all);
    expect(await tester.fs.readFile(`${dir}/${nameOf(4321)}`, 'utf8')).toBe('4321');

    const odd = all.filter((_, index) => index % 2 === 1);
    const even = all.filter((_, index) => index % 2 === 0);
    for (let from = 0; from < odd.length; from += 100) {
      await Promise.all(odd.slice(from, from + 100).map((name) => tester.fs.unlink(`${dir}/${name}`)));
    }
    expect((await tester.fs.readdir(dir)).sort()).toEqual(even);
    await refused(tester.fs.stat(`${dir}/${nameOf(4321)}`), 'ENOENT');
    expect(await tester.fs.readFile(`${dir}/${nameOf(4320)}`, 'utf8')).toBe('4320');
    await refused(tester.fs.rmdir(dir), 'ENOTEMPTY');
  });
}
