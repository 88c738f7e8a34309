/** Arguments that make no sense to any filesystem: refused with node's own TypeErrors and RangeErrors. */
import { describe, expect } from 'vitest';
import { refused, refusedSync, stories, type Tester } from './tester.ts';

export function argumentErrors(tester: Tester): void {
  describe('arguments', () => {
    paths(tester);
    nulBytes(tester);
    flagsAndModes(tester);
    dataAndEncodings(tester);
    numbers(tester);
    onHandles(tester);
  });
}

/** Every method that takes a path first. */
function byPath(tester: Tester): Record<string, (path: string) => Promise<unknown>> {
  const { fs } = tester;
  return {
    access: (path) => fs.access(path),
    appendFile: (path) => fs.appendFile(path, 'x'),
    chmod: (path) => fs.chmod(path, 0o600),
    chown: (path) => fs.chown(path, 1, 1),
    copyFile: (path) => fs.copyFile(path, '/never'),
    cp: (path) => fs.cp(path, '/never'),
    lchown: (path) => fs.lchown(path, 1, 1),
    link: (path) => fs.link(path, '/never'),
    lstat: (path) => fs.lstat(path),
    lutimes: (path) => fs.lutimes(path, 1, 1),
    mkdir: (path) => fs.mkdir(path),
    mkdtemp: (path) => fs.mkdtemp(path),
    open: (path) => fs.open(path),
    opendir: (path) => fs.opendir(path),
    readFile: (path) => fs.readFile(path),
    readdir: (path) => fs.readdir(path),
    readlink: (path) => fs.readlink(path),
    realpath: (path) => fs.realpath(path),
    rename: (path) => fs.rename(path, '/never'),
    renameTo: (path) => fs.rename('/never', path),
    rm: (path) => fs.rm(path),
    rmdir: (path) => fs.rmdir(path),
    stat: (path) => fs.stat(path),
    statfs: (path) => fs.statfs(path),
    symlink: (path) => fs.symlink(path, '/never'),
    symlinkAt: (path) => fs.symlink('/never', path),
    truncate: (path) => fs.truncate(path),
    unlink: (path) => fs.unlink(path),
    utimes: (path) => fs.utimes(path, 1, 1),
    writeFile: (path) => fs.writeFile(path, 'x'),
  };
}

async function codeOf(work: () => Promise<unknown>): Promise<string> {
  const outcome = await work().then(
    () => ({ code: 'no error' }),
    (error: NodeJS.ErrnoException) => error,
  );
  return `${outcome instanceof TypeError ? 'TypeError' : ''} ${outcome.code}`;
}

function paths(tester: Tester): void {
  const it = stories(tester);

  it('every method refuses a path that is none', async () => {
    for (const wrong of [undefined, null, 7, true, {}, [], Symbol('path'), () => '/']) {
      for (const [name, call] of Object.entries(byPath(tester))) {
        const code = await codeOf(() => call(wrong as string));
        expect(`${name} ${typeof wrong} ${code}`).toBe(
          `${name} ${typeof wrong} TypeError ERR_INVALID_ARG_TYPE`,
        );
      }
    }
  });

  it('refuses a URL of another kind', async () => {
    await refused(tester.fs.stat(new URL('https://example.org/x')), 'ERR_INVALID_URL_SCHEME');
    await refused(tester.fs.stat(new URL('file:///a%2Fb')), 'ERR_INVALID_FILE_URL_PATH');
  });
}

function nulBytes(tester: Tester): void {
  const it = stories(tester);

  it('every method refuses a NUL byte in a path', async (dir) => {
    for (const [name, call] of Object.entries(byPath(tester))) {
      const code = await codeOf(() => call(`${dir}/a\0b`));
      expect(`${name} ${code}`).toBe(`${name} TypeError ERR_INVALID_ARG_VALUE`);
    }
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });

  it('also in a Buffer and in the synchronous calls', async (dir) => {
    await refused(tester.fs.stat(Buffer.from(`${dir}/a\0b`)), 'ERR_INVALID_ARG_VALUE');
    refusedSync(() => tester.sync.statSync(`${dir}/a\0b`), 'ERR_INVALID_ARG_VALUE');
    refusedSync(() => tester.sync.readFileSync(`${dir}/a\0b`), 'ERR_INVALID_ARG_VALUE');
    expect(tester.sync.existsSync(`${dir}/a\0b`)).toBe(false);
  });
}

function flagsAndModes(tester: Tester): void {
  const it = stories(tester);

  it('refuses unknown flags and modes', async (dir) => {
    const { fs } = tester;
    await refused(fs.open(`${dir}/f`, 'rw'), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.writeFile(`${dir}/f`, '', { flag: 'x' }), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.open(`${dir}/f`, 'w', 'abc'), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.chmod(dir, '9'), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.chmod(dir, -1), 'ERR_OUT_OF_RANGE');
    await refused(fs.chmod(dir, 1.5), 'ERR_OUT_OF_RANGE');
    await refused(fs.mkdir(`${dir}/d`, 'rwx'), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.access(dir, 'r' as unknown as number), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.access(dir, 8), 'ERR_OUT_OF_RANGE');
    await refused(fs.copyFile(dir, `${dir}/x`, 100), 'ERR_OUT_OF_RANGE');
    expect(await fs.readdir(dir)).toEqual([]);
  });

  it('refuses options of a wrong type', async (dir) => {
    const { fs } = tester;
    await refused(fs.mkdir(`${dir}/d`, { recursive: 'yes' as unknown as boolean }), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.rm(dir, { recursive: 'yes' as unknown as boolean }), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.rm(dir, { force: 1 as unknown as boolean }), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.readFile(dir, 7 as unknown as 'utf8'), 'ERR_INVALID_ARG_TYPE');
  });
}

function dataAndEncodings(tester: Tester): void {
  const it = stories(tester);

  it('refuses data that is neither text nor bytes, and creates nothing', async (dir) => {
    const { fs } = tester;
    for (const wrong of [7, null, undefined, true, {}, () => 'x', Symbol('data'), new Date()]) {
      await refused(fs.writeFile(`${dir}/f`, wrong as string), 'ERR_INVALID_ARG_TYPE');
    }
    await refused(fs.appendFile(`${dir}/f`, 7 as unknown as string), 'ERR_INVALID_ARG_TYPE');
    expect(await fs.readdir(dir)).toEqual([]);
  });

  it('refuses an unknown encoding', async (dir) => {
    const { fs } = tester;
    await fs.writeFile(`${dir}/f`, '');
    const wrong = 'utf-9' as 'utf8';
    await refused(fs.readFile(`${dir}/f`, wrong), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.writeFile(`${dir}/f`, '', wrong), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.readdir(dir, wrong), 'ERR_INVALID_ARG_VALUE');
    await refused(fs.readlink(`${dir}/f`, wrong), 'ERR_INVALID_ARG_VALUE');
  });
}

function numbers(tester: Tester): void {
  const it = stories(tester);

  it('refuses lengths, owners and times that are no numbers', async (dir) => {
    const { fs } = tester;
    await fs.writeFile(`${dir}/f`, 'abc');
    const path = `${dir}/f`;
    await refused(fs.truncate(path, '1' as unknown as number), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.truncate(path, 1.5), 'ERR_OUT_OF_RANGE');
    await refused(fs.chown(path, 1.5, 1), 'ERR_OUT_OF_RANGE');
    await refused(fs.chown(path, -2, 1), 'ERR_OUT_OF_RANGE');
    await refused(fs.chown(path, '1' as unknown as number, 1), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.utimes(path, 'yesterday', 1), 'ERR_INVALID_ARG_TYPE');
    await refused(fs.utimes(path, {} as Date, 1), 'ERR_INVALID_ARG_TYPE');
    expect(await fs.readFile(path, 'utf8')).toBe('abc');
  });
}

function onHandles(tester: Tester): void {
  const it = stories(tester);

  it('refuses places outside the buffer', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w+');
    await handle.write('abc');
    const room = Buffer.alloc(4);
    await refused(handle.read(room, 5, 1, 0), 'ERR_OUT_OF_RANGE');
    await refused(handle.read(room, 0, 5, 0), 'ERR_OUT_OF_RANGE');
    await refused(handle.read(room, 2, 3, 0), 'ERR_OUT_OF_RANGE');
    await refused(handle.read(room, -1, 1, 0), 'ERR_OUT_OF_RANGE');
    await refused(handle.write(room, 5), 'ERR_OUT_OF_RANGE');
    await refused(handle.write(room, 0, 5), 'ERR_OUT_OF_RANGE');
    await refused(handle.write(room, 1, 4), 'ERR_OUT_OF_RANGE');
    expect((await handle.stat()).size).toBe(3);
  });

  it('refuses what is no buffer', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w+');
    await refused(handle.read('text' as unknown as Buffer, 0, 1, 0), 'ERR_INVALID_ARG_TYPE');
    await refused(handle.write(7 as unknown as string), 'ERR_INVALID_ARG_TYPE');
    await refused(handle.write({} as unknown as string), 'ERR_INVALID_ARG_TYPE');
    await refused(handle.writev('x' as unknown as Buffer[]), 'ERR_INVALID_ARG_TYPE');
    await refused(handle.readv([7 as unknown as Buffer]), 'ERR_INVALID_ARG_TYPE');
    await refused(handle.truncate('1' as unknown as number), 'ERR_INVALID_ARG_TYPE');
    await refused(handle.chmod('rwx'), 'ERR_INVALID_ARG_VALUE');
  });
}
