/** stat, chmod, chown, utimes: what is known about a file, and what changes it. */
import { describe, expect, vi } from 'vitest';
import { refused, stories, type Tester } from './tester.ts';

export function attributes(tester: Tester): void {
  describe('attributes', () => {
    stats(tester);
    modes(tester);
    enforcedModes(tester);
    owners(tester);
    setTimes(tester);
    contentTimes(tester);
    directoryTimes(tester);
  });
}

function stats(tester: Tester): void {
  const it = stories(tester);

  it('tells type, size and times of a file', async (dir) => {
    const before = await tester.fs.stat(dir);
    await tester.fs.writeFile(`${dir}/f`, 'hello');
    const stats = await tester.fs.stat(`${dir}/f`);
    expect([stats.isFile(), stats.isDirectory(), stats.isSymbolicLink()]).toEqual([true, false, false]);
    expect([
      stats.isFIFO(),
      stats.isSocket(),
      stats.isBlockDevice(),
      stats.isCharacterDevice(),
    ]).not.toContain(true);
    expect([stats.size, stats.nlink]).toEqual([5, 1]);
    expect(stats.mode).toBe(0o100666 & ~process.umask());
    expect([stats.uid, stats.gid]).toEqual([process.getuid?.(), process.getgid?.()]);
    for (const time of ['atime', 'mtime', 'ctime', 'birthtime'] as const) {
      expect(stats[time]).toBeInstanceOf(Date);
      expect(stats[time].getTime()).toBe(Math.floor(stats[`${time}Ms`] + 0.5));
      expect(stats[`${time}Ms`]).toBeGreaterThanOrEqual(before.birthtimeMs);
    }
    expect(stats.dev).toBe(before.dev);
    expect(stats.ino).not.toBe(before.ino);
  });

  it('tells the same in bigints, with nanoseconds', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'hello');
    const small = await tester.fs.stat(`${dir}/f`);
    const big = await tester.fs.stat(`${dir}/f`, { bigint: true });
    for (const field of [
      'dev',
      'ino',
      'mode',
      'nlink',
      'uid',
      'gid',
      'rdev',
      'size',
      'blksize',
      'blocks',
    ] as const) {
      expect(big[field]).toBe(BigInt(small[field]));
    }
    for (const time of ['atime', 'mtime', 'ctime', 'birthtime'] as const) {
      expect(typeof big[`${time}Ns`]).toBe('bigint');
      expect(big[`${time}Ms`]).toBe(big[`${time}Ns`] / 1_000_000n);
      expect(Math.abs(Number(big[`${time}Ns`]) / 1e6 - small[`${time}Ms`])).toBeLessThan(0.01);
    }
    expect(big.isFile()).toBe(true);
    expect((await tester.fs.lstat(`${dir}/f`, { bigint: true })).ino).toBe(big.ino);
  });

  it('counts blocks of 512 bytes for what is written', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, Buffer.alloc(40_000, 1));
    const stats = await tester.fs.stat(`${dir}/f`);
    expect(stats.blocks).toBe(80);
    expect(stats.blksize).toBeGreaterThanOrEqual(512);
    await tester.fs.writeFile(`${dir}/f`, '');
    expect((await tester.fs.stat(`${dir}/f`)).blocks).toBe(0);
  });

  it('knows links by lstat and what they lead to by stat', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'hello');
    await tester.fs.symlink('f', `${dir}/l`);
    expect((await tester.fs.stat(`${dir}/l`)).size).toBe(5);
    expect((await tester.fs.lstat(`${dir}/l`)).size).toBe(1);
    expect((await tester.fs.stat(`${dir}/l`)).ino).toBe((await tester.fs.lstat(`${dir}/f`)).ino);
  });

  const sparse = stories(tester, { needs: 'sparseFiles' });
  sparse('counts no blocks for holes', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    await handle.truncate(8_000_000);
    expect((await handle.stat()).blocks).toBe(0);
    await handle.write('x', 4_000_000);
    expect((await handle.stat()).blocks).toBe(8);
    expect((await handle.stat()).size).toBe(8_000_000);
  });
}

function modes(tester: Tester): void {
  const it = stories(tester);

  it('sets all twelve bits and keeps the type', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    for (const mode of [0, 0o777, 0o640, 0o1777, 0o4755, 0o6711]) {
      expect(await tester.fs.chmod(`${dir}/f`, mode)).toBeUndefined();
      expect((await tester.fs.stat(`${dir}/f`)).mode).toBe(0o100000 | mode);
    }
    await tester.fs.chmod(dir, 0o1700);
    expect((await tester.fs.stat(dir)).mode).toBe(0o41700);
  });

  it('takes the mode as an octal string', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.chmod(`${dir}/f`, '640');
    expect((await tester.fs.stat(`${dir}/f`)).mode & 0o7777).toBe(0o640);
  });

  it('works through a handle, and through a link on its target', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('f', `${dir}/l`);
    await using handle = await tester.fs.open(`${dir}/f`);
    await handle.chmod(0o600);
    expect((await tester.fs.stat(`${dir}/f`)).mode & 0o777).toBe(0o600);
    await tester.fs.chmod(`${dir}/l`, 0o640);
    expect((await handle.stat()).mode & 0o777).toBe(0o640);
    expect((await tester.fs.lstat(`${dir}/l`)).mode & 0o777).toBe(0o777);
  });

  it('moves ctime and not mtime', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    const before = await tester.fs.stat(`${dir}/f`, { bigint: true });
    await vi.waitFor(async () => {
      await tester.fs.chmod(`${dir}/f`, 0o600);
      expect((await tester.fs.stat(`${dir}/f`, { bigint: true })).ctimeNs > before.ctimeNs).toBe(true);
    });
    expect((await tester.fs.stat(`${dir}/f`, { bigint: true })).mtimeNs).toBe(before.mtimeNs);
  });

  it('refuses what is not there', async (dir) => {
    await refused(tester.fs.chmod(`${dir}/none`, 0o600), 'ENOENT');
    await tester.fs.symlink('none', `${dir}/l`);
    await refused(tester.fs.chmod(`${dir}/l`, 0o600), 'ENOENT');
  });
}

function enforcedModes(tester: Tester): void {
  const it = stories(tester, { needs: 'refuseByMode' });

  it('refuses to read, write and enter without the bit', async (dir) => {
    await tester.fs.mkdir(`${dir}/d`);
    await tester.fs.writeFile(`${dir}/d/f`, 'x');
    await tester.fs.chmod(`${dir}/d/f`, 0o200);
    await refused(tester.fs.readFile(`${dir}/d/f`), 'EACCES');
    await tester.fs.chmod(`${dir}/d/f`, 0o400);
    await refused(tester.fs.appendFile(`${dir}/d/f`, 'y'), 'EACCES');
    await tester.fs.chmod(`${dir}/d`, 0o500);
    await refused(tester.fs.unlink(`${dir}/d/f`), 'EACCES');
    await refused(tester.fs.writeFile(`${dir}/d/g`, ''), 'EACCES');
    await tester.fs.chmod(`${dir}/d`, 0o600);
    await refused(tester.fs.stat(`${dir}/d/f`), 'EACCES');
    await tester.fs.chmod(`${dir}/d`, 0o700);
  });
}

function owners(tester: Tester): void {
  const it = stories(tester);

  it('may give a file to its own owner, and -1 changes nothing', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    const { uid, gid } = await tester.fs.stat(`${dir}/f`);
    expect(await tester.fs.chown(`${dir}/f`, uid, gid)).toBeUndefined();
    await tester.fs.chown(`${dir}/f`, -1, -1);
    const after = await tester.fs.stat(`${dir}/f`);
    expect([after.uid, after.gid]).toEqual([uid, gid]);
    await refused(tester.fs.chown(`${dir}/none`, uid, gid), 'ENOENT');
  });

  const keep = stories(tester, { lacks: 'giveFilesAway' });
  keep('may give a file to nobody else', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await refused(tester.fs.chown(`${dir}/f`, 1001, -1), 'EPERM');
    await refused(tester.fs.lchown(`${dir}/f`, 1001, -1), 'EPERM');
    expect((await tester.fs.stat(`${dir}/f`)).uid).toBe(process.getuid?.());
  });

  const give = stories(tester, { needs: 'giveFilesAway' });
  give('gives a file to another owner, by path, link and handle', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.chown(`${dir}/f`, 1001, 1002);
    await tester.fs.chown(`${dir}/l`, -1, 1003);
    let stats = await tester.fs.stat(`${dir}/f`);
    expect([stats.uid, stats.gid]).toEqual([1001, 1003]);
    await using handle = await tester.fs.open(`${dir}/f`, 'r+');
    await handle.chown(1004, -1);
    stats = await tester.fs.stat(`${dir}/f`);
    expect([stats.uid, stats.gid]).toEqual([1004, 1003]);
  });

  give('lchown gives away the link itself', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.lchown(`${dir}/l`, 1001, 1002);
    const [link, file] = [await tester.fs.lstat(`${dir}/l`), await tester.fs.stat(`${dir}/f`)];
    expect([link.uid, link.gid]).toEqual([1001, 1002]);
    expect(file.uid).toBe(process.getuid?.());
  });

  give('a given file loses its set-id bits', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.chmod(`${dir}/f`, 0o6755);
    await tester.fs.chown(`${dir}/f`, 1001, 1002);
    expect((await tester.fs.stat(`${dir}/f`)).mode & 0o7777).toBe(0o755);
  });
}

function setTimes(tester: Tester): void {
  const it = stories(tester);

  it('takes dates, seconds, fractions and strings', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    const cases: [string | number | Date, string | number | Date, number, number][] = [
      [new Date(1_000_000), new Date(2_000_500), 1_000_000, 2_000_500],
      [1_500_000_000, 1_600_000_000, 1_500_000_000_000, 1_600_000_000_000],
      [1.5, 2.25, 1500, 2250],
      ['1700000000', '1700000001.5', 1_700_000_000_000, 1_700_000_001_500],
      [0, 0, 0, 0],
      [new Date(-86_400_000), new Date(-500), -86_400_000, -500],
      [4_102_444_800, 5_000_000_000, 4_102_444_800_000, 5_000_000_000_000],
    ];
    for (const [atime, mtime, atimeMs, mtimeMs] of cases) {
      expect(await tester.fs.utimes(`${dir}/f`, atime, mtime)).toBeUndefined();
      const stats = await tester.fs.stat(`${dir}/f`);
      expect([stats.atimeMs, stats.mtimeMs]).toEqual([atimeMs, mtimeMs]);
      expect(stats.mtime.getTime()).toBe(mtimeMs);
    }
  });

  it('follows links; lutimes does not', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('f', `${dir}/l`);
    await tester.fs.utimes(`${dir}/l`, 10, 20);
    await tester.fs.lutimes(`${dir}/l`, 30, 40);
    expect((await tester.fs.stat(`${dir}/f`)).mtimeMs).toBe(20_000);
    expect((await tester.fs.lstat(`${dir}/l`)).mtimeMs).toBe(40_000);
    expect((await tester.fs.lstat(`${dir}/l`)).atimeMs).toBe(30_000);
  });

  it('works on directories and handles', async (dir) => {
    await tester.fs.utimes(dir, 10, 20);
    expect((await tester.fs.stat(dir)).mtimeMs).toBe(20_000);
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    await handle.utimes(30, 40.5);
    expect((await tester.fs.stat(`${dir}/f`)).mtimeMs).toBe(40_500);
  });

  it('refuses what is not there', async (dir) => {
    await refused(tester.fs.utimes(`${dir}/none`, 1, 1), 'ENOENT');
    await refused(tester.fs.lutimes(`${dir}/none`, 1, 1), 'ENOENT');
  });
}

/** Times set long ago: whatever is changed afterwards shows as a time of today. */
const longAgo = 1_000_000;

function contentTimes(tester: Tester): void {
  const it = stories(tester);

  async function movesMtime(path: string, change: () => Promise<unknown>): Promise<boolean> {
    await tester.fs.utimes(path, longAgo, longAgo);
    await change();
    return (await tester.fs.stat(path)).mtimeMs !== longAgo * 1000;
  }

  it('mtime moves with the content', async (dir) => {
    const path = `${dir}/f`;
    await tester.fs.writeFile(path, 'abc');
    expect(await movesMtime(path, () => tester.fs.appendFile(path, 'd'))).toBe(true);
    expect(await movesMtime(path, () => tester.fs.truncate(path, 1))).toBe(true);
    expect(await movesMtime(path, () => tester.fs.writeFile(path, ''))).toBe(true);
    expect(await movesMtime(path, () => tester.fs.writeFile(path, ''))).toBe(true);
    await using handle = await tester.fs.open(path, 'r+');
    expect(await movesMtime(path, () => handle.write('x', 0))).toBe(true);
    expect(await movesMtime(path, () => handle.truncate(50))).toBe(true);
  });

  it('mtime stays with all else', async (dir) => {
    const path = `${dir}/f`;
    await tester.fs.writeFile(path, 'abc');
    expect(await movesMtime(path, () => tester.fs.readFile(path))).toBe(false);
    expect(await movesMtime(path, () => tester.fs.chmod(path, 0o600))).toBe(false);
    expect(await movesMtime(path, () => tester.fs.link(path, `${dir}/g`))).toBe(false);
    expect(await movesMtime(path, () => tester.fs.unlink(`${dir}/g`))).toBe(false);
    expect(await movesMtime(path, () => tester.fs.appendFile(path, ''))).toBe(false);
    const moveAndBack = () =>
      tester.fs.rename(path, `${dir}/g`).then(() => tester.fs.rename(`${dir}/g`, path));
    expect(await movesMtime(path, moveAndBack)).toBe(false);
    await using handle = await tester.fs.open(path, 'r+');
    expect(await movesMtime(path, () => handle.datasync())).toBe(false);
  });

  it('a new file gets the times of now, a rewritten one too', async (dir) => {
    const { mtimeMs } = await tester.fs.stat(dir);
    await tester.fs.writeFile(`${dir}/f`, 'a');
    expect((await tester.fs.stat(`${dir}/f`)).mtimeMs).toBeGreaterThanOrEqual(mtimeMs);
    const { birthtimeMs } = await tester.fs.stat(`${dir}/f`);
    await tester.fs.writeFile(`${dir}/f`, 'b');
    expect((await tester.fs.stat(`${dir}/f`)).birthtimeMs).toBe(birthtimeMs);
  });
}

function directoryTimes(tester: Tester): void {
  const it = stories(tester);

  async function touches(path: string, change: () => Promise<unknown>): Promise<boolean> {
    await tester.fs.utimes(path, longAgo, longAgo);
    await change();
    return (await tester.fs.stat(path)).mtimeMs !== longAgo * 1000;
  }

  it('mtime of a directory moves with its entries', async (dir) => {
    await tester.fs.mkdir(`${dir}/other`);
    const { fs } = tester;
    expect(await touches(dir, () => fs.writeFile(`${dir}/f`, ''))).toBe(true);
    expect(await touches(dir, () => fs.link(`${dir}/f`, `${dir}/g`))).toBe(true);
    expect(await touches(dir, () => fs.unlink(`${dir}/g`))).toBe(true);
    expect(await touches(dir, () => fs.symlink('f', `${dir}/l`))).toBe(true);
    expect(await touches(dir, () => fs.mkdir(`${dir}/d`))).toBe(true);
    expect(await touches(dir, () => fs.rename(`${dir}/d`, `${dir}/e`))).toBe(true);
    expect(await touches(dir, () => fs.rename(`${dir}/e`, `${dir}/other/e`))).toBe(true);
    expect(await touches(`${dir}/other`, () => fs.rename(`${dir}/other/e`, `${dir}/e`))).toBe(true);
    expect(await touches(dir, () => fs.rmdir(`${dir}/e`))).toBe(true);
  });

  it('and stays when only their content changes or an operation fails', async (dir) => {
    const { fs } = tester;
    await fs.mkdir(`${dir}/d`);
    await fs.writeFile(`${dir}/f`, '');
    expect(await touches(dir, () => fs.writeFile(`${dir}/f`, 'x'))).toBe(false);
    expect(await touches(dir, () => fs.chmod(`${dir}/f`, 0o600))).toBe(false);
    expect(await touches(dir, () => fs.writeFile(`${dir}/d/g`, ''))).toBe(false);
    expect(await touches(dir, () => fs.readdir(dir))).toBe(false);
    expect(await touches(dir, () => refused(fs.mkdir(`${dir}/d`), 'EEXIST'))).toBe(false);
    expect(await touches(dir, () => refused(fs.rmdir(`${dir}/d`), 'ENOTEMPTY'))).toBe(false);
    expect(await touches(dir, () => refused(fs.unlink(`${dir}/none`), 'ENOENT'))).toBe(false);
  });
}
