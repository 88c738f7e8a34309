/** Hard links: several names of one file, and how they are counted. */
import { describe, expect, vi } from 'vitest';
import { exists, expectBytes, pattern, refused, stories, type Tester } from './tester.ts';

export function links(tester: Tester): void {
  describe('links', () => {
    sharing(tester);
    counting(tester);
    refusing(tester);
  });
}

function sharing(tester: Tester): void {
  const it = stories(tester);

  it('gives one file two names', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'x');
    expect(await tester.fs.link(`${dir}/a`, `${dir}/b`)).toBeUndefined();
    const [a, b] = [await tester.fs.stat(`${dir}/a`), await tester.fs.stat(`${dir}/b`)];
    expect(b.ino).toBe(a.ino);
    expect((await tester.fs.lstat(`${dir}/b`)).isFile()).toBe(true);
  });

  it('what is written by one name is read by the other', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/a`, 'x');
    await tester.fs.link(`${dir}/a`, `${dir}/d/b`);
    await tester.fs.writeFile(`${dir}/d/b`, pattern(9000));
    expectBytes(await tester.fs.readFile(`${dir}/a`), pattern(9000));
    await tester.fs.truncate(`${dir}/a`, 1);
    await tester.fs.appendFile(`${dir}/d/b`, 'y');
    expect((await tester.fs.stat(`${dir}/a`)).size).toBe(2);
  });

  it('shares mode and times', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'x');
    await tester.fs.link(`${dir}/a`, `${dir}/b`);
    await tester.fs.chmod(`${dir}/a`, 0o640);
    await tester.fs.utimes(`${dir}/b`, 1000, 2000);
    expect((await tester.fs.stat(`${dir}/b`)).mode & 0o777).toBe(0o640);
    expect((await tester.fs.stat(`${dir}/a`)).mtimeMs).toBe(2_000_000);
  });

  it('links a symlink itself', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.link(`${dir}/l`, `${dir}/m`);
    expect((await tester.fs.lstat(`${dir}/m`)).isSymbolicLink()).toBe(true);
    expect(await tester.fs.readlink(`${dir}/m`)).toBe('f');
    expect((await tester.fs.lstat(`${dir}/l`)).nlink).toBe(2);
    expect((await tester.fs.stat(`${dir}/f`)).nlink).toBe(1);
  });
}

function counting(tester: Tester): void {
  const it = stories(tester);

  it('counts names up and down', async (dir) => {
    await tester.fs.writeFile(`${dir}/0`, 'x');
    for (let i = 1; i <= 40; i++) await tester.fs.link(`${dir}/${i - 1}`, `${dir}/${i}`);
    expect((await tester.fs.stat(`${dir}/7`)).nlink).toBe(41);
    for (let i = 0; i < 40; i++) await tester.fs.unlink(`${dir}/${i}`);
    expect((await tester.fs.stat(`${dir}/40`)).nlink).toBe(1);
    expect(await tester.fs.readFile(`${dir}/40`, 'utf8')).toBe('x');
  });

  it('keeps the content until the last name is gone', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, pattern(20_000));
    await tester.fs.link(`${dir}/a`, `${dir}/b`);
    await tester.fs.unlink(`${dir}/a`);
    await tester.fs.writeFile(`${dir}/other`, Buffer.alloc(50_000, 7));
    expectBytes(await tester.fs.readFile(`${dir}/b`), pattern(20_000));
    await tester.fs.unlink(`${dir}/b`);
    expect(await exists(tester, `${dir}/b`)).toBe(false);
  });

  it('an open handle sees the count reach zero, and a new file of that name is another one', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'old');
    await using handle = await tester.fs.open(`${dir}/a`);
    const { ino } = await handle.stat();
    await tester.fs.unlink(`${dir}/a`);
    expect((await handle.stat()).nlink).toBe(0);
    await tester.fs.writeFile(`${dir}/a`, 'new');
    expect((await tester.fs.stat(`${dir}/a`)).ino).not.toBe(ino);
    expect(await handle.readFile('utf8')).toBe('old');
  });

  it('a change of the count moves ctime and not mtime', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, '');
    const before = await tester.fs.stat(`${dir}/a`, { bigint: true });
    let i = 0;
    await vi.waitFor(async () => {
      await tester.fs.link(`${dir}/a`, `${dir}/b${i++}`);
      expect((await tester.fs.stat(`${dir}/a`, { bigint: true })).ctimeNs > before.ctimeNs).toBe(true);
    });
    const linked = await tester.fs.stat(`${dir}/a`, { bigint: true });
    await vi.waitFor(async () => {
      await tester.fs.link(`${dir}/a`, `${dir}/c`);
      await tester.fs.unlink(`${dir}/c`);
      expect((await tester.fs.stat(`${dir}/a`, { bigint: true })).ctimeNs > linked.ctimeNs).toBe(true);
    });
    expect((await tester.fs.stat(`${dir}/a`, { bigint: true })).mtimeNs).toBe(before.mtimeNs);
  });
}

function refusing(tester: Tester): void {
  const it = stories(tester);

  it('refuses a directory', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await refused(tester.fs.link(`${dir}/d`, `${dir}/x`), 'EPERM');
  });

  it('refuses a taken name, a missing file and a missing directory', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, 'A');
    await tester.fs.writeFile(`${dir}/b`, 'B');
    await tester.fs.symlink('nowhere', `${dir}/l`);
    await refused(tester.fs.link(`${dir}/a`, `${dir}/b`), 'EEXIST');
    await refused(tester.fs.link(`${dir}/a`, `${dir}/a`), 'EEXIST');
    await refused(tester.fs.link(`${dir}/a`, `${dir}/l`), 'EEXIST');
    await refused(tester.fs.link(`${dir}/none`, `${dir}/x`), 'ENOENT');
    await refused(tester.fs.link(`${dir}/a`, `${dir}/none/x`), 'ENOENT');
    await refused(tester.fs.link(`${dir}/a`, `${dir}/b/x`), 'ENOTDIR');
    expect((await tester.fs.stat(`${dir}/a`)).nlink).toBe(1);
    expect(await tester.fs.readFile(`${dir}/b`, 'utf8')).toBe('B');
  });
}
