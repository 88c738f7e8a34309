/** copyFile and cp: a copy shares nothing with its source. */
import { constants } from 'node:fs';
import { describe, expect } from 'vitest';
import { exists, expectBytes, pattern, refused, stories, type Tester } from './tester.ts';

export function copy(tester: Tester): void {
  describe('copy', () => {
    copyFile(tester);
    copyFileRefusals(tester);
    copyTrees(tester);
    copyOptions(tester);
    copyRefusals(tester);
  });
}

function copyFile(tester: Tester): void {
  const it = stories(tester);

  it('copies content and mode to a new inode', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, pattern(300_001));
    await tester.fs.chmod(`${dir}/a`, 0o640);
    expect(await tester.fs.copyFile(`${dir}/a`, `${dir}/b`)).toBeUndefined();
    expectBytes(await tester.fs.readFile(`${dir}/b`), pattern(300_001));
    const [a, b] = [await tester.fs.stat(`${dir}/a`), await tester.fs.stat(`${dir}/b`)];
    expect(b.mode & 0o777).toBe(0o640);
    expect(b.ino).not.toBe(a.ino);
  });

  it('neither side sees later changes of the other', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'original');
    await tester.fs.copyFile(`${dir}/a`, `${dir}/b`);
    await tester.fs.writeFile(`${dir}/a`, 'A', { flag: 'r+' });
    await tester.fs.appendFile(`${dir}/b`, '+B');
    expect(await tester.fs.readFile(`${dir}/a`, 'utf8')).toBe('Ariginal');
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('original+B');
  });

  it('replaces a longer file, and keeps its inode', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'short');
    await tester.fs.writeFile(`${dir}/b`, pattern(20_000));
    const { ino } = await tester.fs.stat(`${dir}/b`);
    await tester.fs.copyFile(`${dir}/a`, `${dir}/b`);
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('short');
    expect((await tester.fs.stat(`${dir}/b`)).ino).toBe(ino);
  });

  it('copies an empty file and a file with holes', async (dir) => {
    await tester.fs.writeFile(`${dir}/empty`, '');
    await tester.fs.copyFile(`${dir}/empty`, `${dir}/empty2`);
    expect((await tester.fs.stat(`${dir}/empty2`)).size).toBe(0);
    await tester.fs.writeFile(`${dir}/holes`, 'start');
    await tester.fs.truncate(`${dir}/holes`, 123_456);
    await tester.fs.copyFile(`${dir}/holes`, `${dir}/holes2`);
    expectBytes(await tester.fs.readFile(`${dir}/holes2`), await tester.fs.readFile(`${dir}/holes`));
  });

  it('follows links on both sides', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.writeFile(`${dir}/b`, 'B');
    await tester.fs.symlink('a', `${dir}/to-a`);
    await tester.fs.symlink('b', `${dir}/to-b`);
    await tester.fs.copyFile(`${dir}/to-a`, `${dir}/to-b`);
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('A');
    expect((await tester.fs.lstat(`${dir}/to-b`)).isSymbolicLink()).toBe(true);
  });

  it('onto itself, by any name, keeps the content', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'content');
    await tester.fs.link(`${dir}/a`, `${dir}/b`);
    await tester.fs.copyFile(`${dir}/a`, `${dir}/a`);
    await tester.fs.copyFile(`${dir}/a`, `${dir}/b`);
    expect(await tester.fs.readFile(`${dir}/a`, 'utf8')).toBe('content');
  });
}

function copyFileRefusals(tester: Tester): void {
  const it = stories(tester);

  it('COPYFILE_EXCL refuses an existing file and leaves it', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.copyFile(`${dir}/a`, `${dir}/b`, constants.COPYFILE_EXCL);
    await tester.fs.writeFile(`${dir}/b`, 'B');
    await refused(tester.fs.copyFile(`${dir}/a`, `${dir}/b`, constants.COPYFILE_EXCL), 'EEXIST');
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('B');
  });

  it('refuses what is missing, and a directory as target', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await refused(tester.fs.copyFile(`${dir}/none`, `${dir}/b`), 'ENOENT');
    await refused(tester.fs.copyFile(`${dir}/a`, `${dir}/none/b`), 'ENOENT');
    await refused(tester.fs.copyFile(`${dir}/a`, dir), 'EISDIR');
    expect(await tester.fs.readdir(dir)).toEqual(['a']);
  });
}

async function smallTree(tester: Tester, dir: string): Promise<void> {
  await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
  await tester.fs.writeFile(`${dir}/a/f`, 'f');
  await tester.fs.writeFile(`${dir}/a/b/g`, 'g', { mode: 0o600 });
  await tester.fs.symlink(`${dir}/a/f`, `${dir}/a/l`);
}

function copyTrees(tester: Tester): void {
  const it = stories(tester);

  it('copies a file', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'content');
    expect(await tester.fs.cp(`${dir}/f`, `${dir}/g`)).toBeUndefined();
    expect(await tester.fs.readFile(`${dir}/g`, 'utf8')).toBe('content');
  });

  it('copies a tree with modes and links', async (dir) => {
    await smallTree(tester, dir);
    await tester.fs.cp(`${dir}/a`, `${dir}/x/y`, { recursive: true });
    const names = await tester.fs.readdir(`${dir}/x/y`, { recursive: true });
    expect(names.sort()).toEqual(['b', 'b/g', 'f', 'l']);
    expect((await tester.fs.stat(`${dir}/x/y/b/g`)).mode & 0o777).toBe(0o600);
    expect(await tester.fs.readlink(`${dir}/x/y/l`)).toBe(`${dir}/a/f`);
  });

  it('merges into an existing directory and overwrites', async (dir) => {
    await smallTree(tester, dir);
    await tester.fs.mkdir(`${dir}/x`);
    await tester.fs.writeFile(`${dir}/x/f`, 'older and longer');
    await tester.fs.writeFile(`${dir}/x/own`, 'own');
    await tester.fs.cp(`${dir}/a`, `${dir}/x`, { recursive: true });
    expect(await tester.fs.readFile(`${dir}/x/f`, 'utf8')).toBe('f');
    expect((await tester.fs.readdir(`${dir}/x`)).sort()).toEqual(['b', 'f', 'l', 'own']);
  });
}

function copyOptions(tester: Tester): void {
  const it = stories(tester);

  it('keeps existing files without force, and refuses with errorOnExist', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.writeFile(`${dir}/b`, 'B');
    await tester.fs.cp(`${dir}/a`, `${dir}/b`, { force: false });
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('B');
    const strict = { force: false, errorOnExist: true };
    await refused(tester.fs.cp(`${dir}/a`, `${dir}/b`, strict), 'ERR_FS_CP_EEXIST');
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('B');
  });

  it('copies what the filter lets through, sync or async', async (dir) => {
    await smallTree(tester, dir);
    const asked: string[] = [];
    const filter = (source: string, destination: string) => {
      asked.push(destination.slice(dir.length));
      return !source.endsWith('/b');
    };
    await tester.fs.cp(`${dir}/a`, `${dir}/x`, { recursive: true, filter });
    expect((await tester.fs.readdir(`${dir}/x`)).sort()).toEqual(['f', 'l']);
    expect(asked.sort()).toEqual(['/x', '/x/b', '/x/f', '/x/l']);
    await tester.fs.cp(`${dir}/a`, `${dir}/z`, { recursive: true, filter: async () => false });
    expect(await exists(tester, `${dir}/z`)).toBe(false);
  });

  it('keeps times when asked to', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.utimes(`${dir}/a`, 1000, 2000);
    await tester.fs.cp(`${dir}/a`, `${dir}/kept`, { preserveTimestamps: true });
    await tester.fs.cp(`${dir}/a`, `${dir}/fresh`);
    expect((await tester.fs.stat(`${dir}/kept`)).mtimeMs).toBe(2_000_000);
    expect((await tester.fs.stat(`${dir}/fresh`)).mtimeMs).toBeGreaterThan(2_000_000);
  });
}

function copyRefusals(tester: Tester): void {
  const it = stories(tester);

  it('refuses a directory without recursive', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await refused(tester.fs.cp(`${dir}/d`, `${dir}/e`), 'ERR_FS_EISDIR');
    expect(await tester.fs.readdir(dir)).toEqual(['d']);
  });

  it('refuses to copy onto itself or below itself', async (dir) => {
    await smallTree(tester, dir);
    await refused(tester.fs.cp(`${dir}/a/f`, `${dir}/a/f`), 'ERR_FS_CP_EINVAL');
    await refused(tester.fs.cp(`${dir}/a`, `${dir}/a/b/c`, { recursive: true }), 'ERR_FS_CP_EINVAL');
    expect(await tester.fs.readdir(`${dir}/a/b`)).toEqual(['g']);
  });

  it('refuses a directory over a file and a file over a directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.cp(`${dir}/d`, `${dir}/f`, { recursive: true }), 'ERR_FS_CP_DIR_TO_NON_DIR');
    await refused(tester.fs.cp(`${dir}/f`, `${dir}/d`), 'ERR_FS_CP_NON_DIR_TO_DIR');
    await refused(tester.fs.cp(`${dir}/none`, `${dir}/x`), 'ENOENT');
  });
}
