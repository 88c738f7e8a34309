/** The synchronous reads: they agree with the promises, at once after each change. */
import { describe, expect } from 'vitest';
import { expectBytes, pattern, refusedSync, stories, type Tester } from './tester.ts';

export function synchronous(tester: Tester): void {
  describe('synchronous', () => {
    agreeing(tester);
    asking(tester);
    throwing(tester);
  });
}

function agreeing(tester: Tester): void {
  const it = stories(tester);

  it('sees each change as soon as its promise has resolved', async (dir) => {
    for (let i = 1; i <= 50; i++) {
      await tester.fs.writeFile(`${dir}/f`, pattern(i * 300, i));
      expectBytes(tester.sync.readFileSync(`${dir}/f`), pattern(i * 300, i));
      expect(tester.sync.statSync(`${dir}/f`).size).toBe(i * 300);
      await tester.fs.rename(`${dir}/f`, `${dir}/g`);
      expect(tester.sync.readdirSync(dir)).toEqual(['g']);
      await tester.fs.unlink(`${dir}/g`);
      expect(tester.sync.existsSync(`${dir}/g`)).toBe(false);
    }
  });

  it('gives the same stats as the promises', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'hello');
    await tester.fs.symlink('f', `${dir}/l`);
    for (const name of ['f', 'l']) {
      expect(tester.sync.statSync(`${dir}/${name}`)).toEqual(await tester.fs.stat(`${dir}/${name}`));
      expect(tester.sync.lstatSync(`${dir}/${name}`)).toEqual(await tester.fs.lstat(`${dir}/${name}`));
    }
    const options = { bigint: true } as const;
    expect(tester.sync.statSync(`${dir}/f`, options)).toEqual(await tester.fs.stat(`${dir}/f`, options));
  });

  it('reads in encodings, follows links, gives its own copy', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'héllo');
    await tester.fs.symlink('f', `${dir}/l`);
    expect(tester.sync.readFileSync(`${dir}/l`, 'utf8')).toBe('héllo');
    expect(tester.sync.readFileSync(`${dir}/f`, { encoding: 'hex' })).toBe('68c3a96c6c6f');
    (tester.sync.readFileSync(`${dir}/f`) as Buffer).fill(0);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('héllo');
    expect(tester.sync.readlinkSync(`${dir}/l`)).toBe('f');
    expect(tester.sync.realpathSync(`${dir}/l`)).toBe(await tester.fs.realpath(`${dir}/f`));
  });

  it('lists directories like the promises', async (dir) => {
    await tester.fs.mkdir(`${dir}/a/b`, { recursive: true });
    await tester.fs.writeFile(`${dir}/a/f`, '');
    expect(tester.sync.readdirSync(dir, { recursive: true }).sort()).toEqual(['a', 'a/b', 'a/f']);
    const entries = tester.sync.readdirSync(`${dir}/a`, { withFileTypes: true });
    const told = entries.map((entry) => `${entry.parentPath} ${entry.name} ${entry.isDirectory()}`);
    expect(told.sort()).toEqual([`${dir}/a b true`, `${dir}/a f false`]);
    expect(tester.sync.readdirSync(`${dir}/a`, 'buffer')).toContainEqual(Buffer.from('b'));
  });
}

function asking(tester: Tester): void {
  const it = stories(tester);

  it('existsSync follows links and never throws', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('none', `${dir}/dangling`);
    await tester.fs.symlink('self', `${dir}/self`);
    const answers = ['', 'f', 'dangling', 'self', 'f/x', 'f/', 'n'.repeat(300)].map((name) =>
      tester.sync.existsSync(`${dir}/${name}`),
    );
    expect(answers).toEqual([true, true, false, false, false, false, false]);
    expect(tester.sync.existsSync(undefined as unknown as string)).toBe(false);
    expect(tester.sync.existsSync('')).toBe(false);
  });

  it('statSync answers undefined instead of ENOENT when asked to, and only then', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('self', `${dir}/self`);
    const quiet = { throwIfNoEntry: false } as const;
    expect(tester.sync.statSync(`${dir}/none`, quiet)).toBeUndefined();
    expect(tester.sync.lstatSync(`${dir}/none`, quiet)).toBeUndefined();
    expect(tester.sync.statSync(`${dir}/f`, quiet)?.isFile()).toBe(true);
    refusedSync(() => tester.sync.statSync(`${dir}/self`, quiet), 'ELOOP');
  });

  it('accessSync returns or throws', async (dir) => {
    expect(tester.sync.accessSync(dir)).toBeUndefined();
    refusedSync(() => tester.sync.accessSync(`${dir}/none`), 'ENOENT');
  });
}

function throwing(tester: Tester): void {
  const it = stories(tester);

  it('throws the codes of the promises', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await tester.fs.symlink('self', `${dir}/self`);
    refusedSync(() => tester.sync.readFileSync(dir), 'EISDIR');
    refusedSync(() => tester.sync.readFileSync(`${dir}/f/x`), 'ENOTDIR');
    refusedSync(() => tester.sync.readFileSync(`${dir}/self`), 'ELOOP');
    refusedSync(() => tester.sync.readdirSync(`${dir}/f`), 'ENOTDIR');
    refusedSync(() => tester.sync.readlinkSync(`${dir}/f`), 'EINVAL');
    refusedSync(() => tester.sync.realpathSync(`${dir}/none`), 'ENOENT');
    refusedSync(() => tester.sync.statSync(`${dir}/${'n'.repeat(256)}`), 'ENAMETOOLONG');
    refusedSync(() => tester.sync.statSync(7 as unknown as string), 'ERR_INVALID_ARG_TYPE');
  });
}
