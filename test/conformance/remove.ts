/** unlink and rm: one name, or a whole tree, and nothing beside it. */
import { describe, expect } from 'vitest';
import { exists, refused, stories, type Tester } from './tester.ts';

export function remove(tester: Tester): void {
  describe('remove', () => {
    unlinking(tester);
    rmOne(tester);
    rmTrees(tester);
  });
}

function unlinking(tester: Tester): void {
  const it = stories(tester);

  it('removes a name, once', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    expect(await tester.fs.unlink(`${dir}/f`)).toBeUndefined();
    expect(await tester.fs.readdir(dir)).toEqual([]);
    await refused(tester.fs.unlink(`${dir}/f`), 'ENOENT');
    await refused(tester.fs.stat(`${dir}/f`), 'ENOENT');
    await refused(tester.fs.readFile(`${dir}/f`), 'ENOENT');
  });

  it('makes room for any other kind of that name', async (dir) => {
    await tester.fs.writeFile(`${dir}/x`, '');
    await tester.fs.unlink(`${dir}/x`);
    await tester.fs.mkdir(`${dir}/x`);
    await tester.fs.rmdir(`${dir}/x`);
    await tester.fs.symlink('y', `${dir}/x`);
    await tester.fs.unlink(`${dir}/x`);
    await tester.fs.writeFile(`${dir}/x`, 'file again');
    expect(await tester.fs.readFile(`${dir}/x`, 'utf8')).toBe('file again');
  });

  it('may come and go a thousand times', async (dir) => {
    for (let i = 0; i < 1000; i++) {
      await tester.fs.writeFile(`${dir}/f`, String(i));
      await tester.fs.unlink(`${dir}/f`);
    }
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });
}

function rmOne(tester: Tester): void {
  const it = stories(tester);

  it('removes a file and a link, not what the link leads to', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await tester.fs.symlink('f', `${dir}/l`);
    expect(await tester.fs.rm(`${dir}/l`)).toBeUndefined();
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
    await tester.fs.rm(`${dir}/f`);
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });

  it('refuses a missing path unless forced', async (dir) => {
    await refused(tester.fs.rm(`${dir}/none`), 'ENOENT');
    expect(await tester.fs.rm(`${dir}/none`, { force: true })).toBeUndefined();
    await tester.fs.rm(`${dir}/none/deeper`, { force: true, recursive: true });
  });

  it('refuses a directory unless recursive, forced or not', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await refused(tester.fs.rm(`${dir}/d`), 'ERR_FS_EISDIR');
    await refused(tester.fs.rm(`${dir}/d`, { force: true }), 'ERR_FS_EISDIR');
    expect(await exists(tester, `${dir}/d`)).toBe(true);
  });
}

function rmTrees(tester: Tester): void {
  const it = stories(tester);

  it('removes a tree and follows no link out of it', async (dir) => {
    await tester.fs.mkdir(`${dir}/keep`);
    await tester.fs.writeFile(`${dir}/keep/f`, 'kept');
    await tester.fs.mkdir(`${dir}/d/e/f`, { recursive: true });
    await tester.fs.writeFile(`${dir}/d/e/f/g`, 'x');
    await tester.fs.writeFile(`${dir}/d/h`, 'x');
    await tester.fs.symlink('../../keep', `${dir}/d/e/out`);
    await tester.fs.symlink('nowhere', `${dir}/d/dangling`);
    await tester.fs.rm(`${dir}/d`, { recursive: true });
    expect(await tester.fs.readdir(dir, { recursive: true })).toEqual(['keep', 'keep/f']);
  });

  it('removes a file too when recursive, and still refuses a missing path', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await tester.fs.rm(`${dir}/f`, { recursive: true });
    await refused(tester.fs.rm(`${dir}/f`, { recursive: true }), 'ENOENT');
  });

  it('removes a link to a directory only, when given the link', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/d/f`, 'x');
    await tester.fs.symlink('d', `${dir}/l`);
    await tester.fs.rm(`${dir}/l`, { recursive: true });
    expect(await tester.fs.readdir(dir, { recursive: true })).toEqual(['d', 'd/f']);
  });

  it('leaves open files to their handles', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await using handle = await tester.fs.open(`${dir}/d/f`, 'w+');
    await handle.write('kept');
    await tester.fs.rm(`${dir}/d`, { recursive: true });
    expect((await handle.read(Buffer.alloc(4), 0, 4, 0)).buffer.toString()).toBe('kept');
  });

  it('removes a wide and deep tree', async (dir) => {
    for (let i = 0; i < 20; i++) {
      await tester.fs.mkdir(`${dir}/d/${i}/${'deep/'.repeat(10)}`, { recursive: true });
      await Promise.all(Array.from({ length: 10 }, (_, k) => tester.fs.writeFile(`${dir}/d/${i}/${k}`, 'x')));
    }
    await tester.fs.rm(`${dir}/d`, { recursive: true, force: true });
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });
}
