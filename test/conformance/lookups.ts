/** access, mkdtemp, statfs: small questions and small favours. */
import { constants } from 'node:fs';
import { describe, expect } from 'vitest';
import { refused, stories, type Tester } from './tester.ts';

export function lookups(tester: Tester): void {
  describe('lookups', () => {
    access(tester);
    temporary(tester);
    statistics(tester);
  });
}

function access(tester: Tester): void {
  const it = stories(tester);

  it('tells whether a path is there', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    expect(await tester.fs.access(`${dir}/f`)).toBeUndefined();
    await tester.fs.access(dir, constants.R_OK | constants.W_OK | constants.X_OK);
    await tester.fs.access(`${dir}/f`, constants.R_OK | constants.W_OK);
    await refused(tester.fs.access(`${dir}/none`), 'ENOENT');
    await refused(tester.fs.access(`${dir}/f/x`), 'ENOTDIR');
  });

  it('a file without any x bit may be executed by nobody, not even root', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '', { mode: 0o600 });
    await refused(tester.fs.access(`${dir}/f`, constants.X_OK), 'EACCES');
    await tester.fs.chmod(`${dir}/f`, 0o700);
    await tester.fs.access(`${dir}/f`, constants.X_OK);
  });

  it('offers the constants of node:fs', async () => {
    expect(tester.fs.constants).toMatchObject({ F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1, COPYFILE_EXCL: 1 });
    expect(tester.fs.constants.O_APPEND).toBe(constants.O_APPEND);
  });
}

function temporary(tester: Tester): void {
  const it = stories(tester);

  it('makes a private directory of a new name', async (dir) => {
    const made = await tester.fs.mkdtemp(`${dir}/tmp-`);
    expect(made).toMatch(/\/tmp-[A-Za-z0-9]{6}$/);
    expect(made.startsWith(`${dir}/tmp-`)).toBe(true);
    const stats = await tester.fs.stat(made);
    expect(stats.mode).toBe(0o40700);
    expect(await tester.fs.readdir(made)).toEqual([]);
  });

  it('never makes the same twice', async (dir) => {
    const made = await Promise.all(Array.from({ length: 50 }, () => tester.fs.mkdtemp(`${dir}/`)));
    expect(new Set(made).size).toBe(50);
    expect((await tester.fs.readdir(dir)).length).toBe(50);
    const asBytes = await tester.fs.mkdtemp(`${dir}/b-`, 'buffer');
    expect((await tester.fs.stat(asBytes)).isDirectory()).toBe(true);
  });

  it('refuses a prefix whose directory is missing', async (dir) => {
    await refused(tester.fs.mkdtemp(`${dir}/none/tmp-`), 'ENOENT');
  });
}

function statistics(tester: Tester): void {
  const it = stories(tester);

  it('tells the space of the filesystem in sensible numbers', async (dir) => {
    const space = await tester.fs.statfs(dir);
    expect(space.bsize).toBe(4096);
    expect(space.blocks).toBeGreaterThan(0);
    expect(space.bfree).toBeLessThanOrEqual(space.blocks);
    expect(space.bavail).toBeLessThanOrEqual(space.bfree);
    expect(space.files).toBeGreaterThan(0);
    expect(space.ffree).toBeLessThan(space.files);
    expect(typeof space.type).toBe('number');
  });

  it('tells it in bigints too, and refuses a missing path', async (dir) => {
    const space = await tester.fs.statfs(dir, { bigint: true });
    expect(space.bsize).toBe(4096n);
    expect(space.blocks).toBe(BigInt((await tester.fs.statfs(dir)).blocks));
    await refused(tester.fs.statfs(`${dir}/none`), 'ENOENT');
  });
}
