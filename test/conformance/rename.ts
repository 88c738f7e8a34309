/** rename(2), every case: what may take whose place, and what must stay untouched when it may not. */
import { describe, expect } from 'vitest';
import { exists, refused, stories, type Tester } from './tester.ts';

export function rename(tester: Tester): void {
  describe('rename', () => {
    moving(tester);
    overFiles(tester);
    overDirectories(tester);
    ontoItself(tester);
    impossible(tester);
    links(tester);
    slashes(tester);
  });
}

function moving(tester: Tester): void {
  const it = stories(tester);

  it('gives a file a new name and keeps its inode', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'content');
    const before = await tester.fs.stat(`${dir}/a`);
    expect(await tester.fs.rename(`${dir}/a`, `${dir}/b`)).toBeUndefined();
    expect(await tester.fs.readdir(dir)).toEqual(['b']);
    const after = await tester.fs.stat(`${dir}/b`);
    expect([after.ino, after.mtimeMs, after.nlink]).toEqual([before.ino, before.mtimeMs, 1]);
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('content');
  });

  it('moves a file between directories', async (dir) => {
    await tester.fs.mkdir(`${dir}/from`);
    await tester.fs.mkdir(`${dir}/to`);
    await tester.fs.writeFile(`${dir}/from/f`, 'x');
    await tester.fs.rename(`${dir}/from/f`, `${dir}/to/g`);
    expect(await tester.fs.readdir(`${dir}/from`)).toEqual([]);
    expect(await tester.fs.readFile(`${dir}/to/g`, 'utf8')).toBe('x');
  });

  it('moves a directory with all below it, and dot-dot follows', async (dir) => {
    await tester.fs.mkdir(`${dir}/from/d/e`, { recursive: true });
    await tester.fs.mkdir(`${dir}/to`);
    await tester.fs.writeFile(`${dir}/from/d/e/f`, 'deep');
    await tester.fs.writeFile(`${dir}/to/mark`, 'to');
    await tester.fs.rename(`${dir}/from/d`, `${dir}/to/d`);
    expect(await tester.fs.readFile(`${dir}/to/d/e/f`, 'utf8')).toBe('deep');
    expect(await tester.fs.readFile(`${dir}/to/d/../mark`, 'utf8')).toBe('to');
    expect(await exists(tester, `${dir}/from/d`)).toBe(false);
  });

  it('moves a directory up to where its parent was', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b/c`, { recursive: true });
    await tester.fs.rename(`${dir}/a/b`, `${dir}/b`);
    await tester.fs.rmdir(`${dir}/a`);
    await tester.fs.rename(`${dir}/b`, `${dir}/a`);
    expect(await tester.fs.readdir(dir, { recursive: true })).toEqual(['a', 'a/c']);
  });

  it('lets open handles read and write on', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'abc');
    await using handle = await tester.fs.open(`${dir}/a`, 'r+');
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    await handle.write('X', 1);
    expect(await handle.readFile('utf8')).toBe('aXc');
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('aXc');
  });

  it('swaps two names by way of a third', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.writeFile(`${dir}/b`, 'B');
    await tester.fs.rename(`${dir}/a`, `${dir}/t`);
    await tester.fs.rename(`${dir}/b`, `${dir}/a`);
    await tester.fs.rename(`${dir}/t`, `${dir}/b`);
    expect(await tester.fs.readFile(`${dir}/a`, 'utf8')).toBe('B');
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('A');
  });
}

function overFiles(tester: Tester): void {
  const it = stories(tester);

  it('replaces a file', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'new');
    await tester.fs.writeFile(`${dir}/b`, 'old and longer');
    const { ino } = await tester.fs.stat(`${dir}/a`);
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    expect(await tester.fs.readdir(dir)).toEqual(['b']);
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('new');
    expect((await tester.fs.stat(`${dir}/b`)).ino).toBe(ino);
  });

  it('leaves the replaced file to whoever has it open', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'new');
    await tester.fs.writeFile(`${dir}/b`, 'old');
    await using handle = await tester.fs.open(`${dir}/b`);
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    expect((await handle.stat()).nlink).toBe(0);
    expect(await handle.readFile('utf8')).toBe('old');
  });

  it('leaves the replaced file its other names', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'new');
    await tester.fs.writeFile(`${dir}/b`, 'old');
    await tester.fs.link(`${dir}/b`, `${dir}/c`);
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    expect(await tester.fs.readFile(`${dir}/c`, 'utf8')).toBe('old');
    expect((await tester.fs.stat(`${dir}/c`)).nlink).toBe(1);
  });

  it('refuses a directory over a file, and a file over a directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await refused(tester.fs.rename(`${dir}/d`, `${dir}/f`), 'ENOTDIR');
    await refused(tester.fs.rename(`${dir}/f`, `${dir}/d`), 'EISDIR');
    expect((await tester.fs.readdir(dir)).sort()).toEqual(['d', 'f']);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('x');
  });
}

function overDirectories(tester: Tester): void {
  const it = stories(tester);

  it('a directory replaces an empty directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/a`);
    await tester.fs.writeFile(`${dir}/a/f`, 'x');
    await tester.fs.mkdir(`${dir}/b`);
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    expect(await tester.fs.readdir(dir, { recursive: true })).toEqual(['b', 'b/f']);
    expect((await tester.fs.stat(dir)).nlink).toBe(3);
  });

  it('refuses one that is not empty, and changes nothing', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/in-a`, { recursive: true });
    await tester.fs.mkdir(`${dir}/b/in-b`, { recursive: true });
    await refused(tester.fs.rename(`${dir}/a`, `${dir}/b`), 'ENOTEMPTY');
    const tree = await tester.fs.readdir(dir, { recursive: true });
    expect(tree.sort()).toEqual(['a', 'a/in-a', 'b', 'b/in-b']);
  });

  it('refuses to put a directory over its own parent', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
    await refused(tester.fs.rename(`${dir}/a/b`, `${dir}/a`), 'ENOTEMPTY');
    await tester.fs.writeFile(`${dir}/a/f`, '');
    await refused(tester.fs.rename(`${dir}/a/f`, `${dir}/a`), 'ENOTEMPTY');
  });

  it('keeps link counts right when a directory replaces one in another parent', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/x`, { recursive: true });
    await tester.fs.mkdir(`${dir}/b/x`, { recursive: true });
    await tester.fs.rename(`${dir}/a/x`, `${dir}/b/x`);
    expect((await tester.fs.stat(`${dir}/a`)).nlink).toBe(2);
    expect((await tester.fs.stat(`${dir}/b`)).nlink).toBe(3);
  });
}

function ontoItself(tester: Tester): void {
  const it = stories(tester);

  it('onto the same name does nothing', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await tester.fs.mkdir(`${dir}/d/e`, { recursive: true });
    await tester.fs.rename(`${dir}/f`, `${dir}/f`);
    await tester.fs.rename(`${dir}/f`, `${dir}/./f`);
    await tester.fs.rename(`${dir}/d`, `${dir}/d`);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('x');
    expect(await tester.fs.readdir(`${dir}/d`)).toEqual(['e']);
  });

  it('onto another name of the same inode does nothing, and both names stay', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'x');
    await tester.fs.link(`${dir}/a`, `${dir}/b`);
    await tester.fs.rename(`${dir}/a`, `${dir}/b`);
    expect((await tester.fs.readdir(dir)).sort()).toEqual(['a', 'b']);
    expect((await tester.fs.stat(`${dir}/a`)).nlink).toBe(2);
  });

  it('the same in another directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/a`, 'x');
    await tester.fs.link(`${dir}/a`, `${dir}/d/a`);
    await tester.fs.rename(`${dir}/a`, `${dir}/d/a`);
    expect(await exists(tester, `${dir}/a`)).toBe(true);
    expect((await tester.fs.stat(`${dir}/d/a`)).nlink).toBe(2);
  });
}

function impossible(tester: Tester): void {
  const it = stories(tester);

  it('refuses to move a directory below itself', async (dir) => {
    await tester.fs.mkdir(`${dir}/d/e/f`, { recursive: true });
    await refused(tester.fs.rename(`${dir}/d`, `${dir}/d/x`), 'EINVAL');
    await refused(tester.fs.rename(`${dir}/d`, `${dir}/d/e/f/x`), 'EINVAL');
    await refused(tester.fs.rename(`${dir}/d`, `${dir}/d/e`), 'EINVAL');
    await tester.fs.symlink('d/e', `${dir}/l`);
    await refused(tester.fs.rename(`${dir}/d`, `${dir}/l/x`), 'EINVAL');
    expect(await exists(tester, `${dir}/d/e/f`)).toBe(true);
  });

  it('a name that starts like the directory is not below it', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.mkdir(`${dir}/dd`);
    await tester.fs.rename(`${dir}/d`, `${dir}/dd/d`);
    expect(await tester.fs.readdir(`${dir}/dd`)).toEqual(['d']);
  });

  it('refuses what is missing on either side', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.rename(`${dir}/none`, `${dir}/x`), 'ENOENT');
    await refused(tester.fs.rename(`${dir}/f`, `${dir}/none/x`), 'ENOENT');
    await refused(tester.fs.rename(`${dir}/none`, `${dir}/f`), 'ENOENT');
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('refuses dot and dot-dot', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await refused(tester.fs.rename(`${dir}/d/.`, `${dir}/x`), 'EBUSY');
    await refused(tester.fs.rename(`${dir}/d`, `${dir}/d/..`), 'EBUSY');
  });
}

function links(tester: Tester): void {
  const it = stories(tester);

  it('moves a link, not what it leads to', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.rename(`${dir}/l`, `${dir}/m`);
    expect(await tester.fs.readlink(`${dir}/m`)).toBe('f');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('x');
  });

  it('replaces a link, not what it leads to', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.writeFile(`${dir}/b`, 'B');
    await tester.fs.symlink('b', `${dir}/l`);
    await tester.fs.rename(`${dir}/a`, `${dir}/l`);
    expect((await tester.fs.lstat(`${dir}/l`)).isFile()).toBe(true);
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('B');
  });

  it('refuses a directory over a link to a directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/a`);
    await tester.fs.mkdir(`${dir}/b`);
    await tester.fs.symlink('b', `${dir}/l`);
    await refused(tester.fs.rename(`${dir}/a`, `${dir}/l`), 'ENOTDIR');
    await refused(tester.fs.rename(`${dir}/l`, `${dir}/a`), 'EISDIR');
  });
}

function slashes(tester: Tester): void {
  const it = stories(tester);

  it('takes trailing slashes for directories', async (dir) => {
    await tester.fs.mkdir(`${dir}/a`);
    await tester.fs.rename(`${dir}/a/`, `${dir}/b/`);
    expect(await tester.fs.readdir(dir)).toEqual(['b']);
  });

  it('refuses them for files and links, on both sides', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.symlink('d', `${dir}/l`);
    await refused(tester.fs.rename(`${dir}/f`, `${dir}/x/`), 'ENOTDIR');
    await refused(tester.fs.rename(`${dir}/f/`, `${dir}/x`), 'ENOTDIR');
    await refused(tester.fs.rename(`${dir}/l/`, `${dir}/x`), 'ENOTDIR');
    expect((await tester.fs.readdir(dir)).sort()).toEqual(['d', 'f', 'l']);
  });
}
