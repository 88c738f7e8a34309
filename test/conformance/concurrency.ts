/** One client, many calls at once: each is as if it were alone, in some order. */
import { describe, expect } from 'vitest';
import { exists, expectBytes, pattern, stories, type Tester } from './tester.ts';

export function concurrency(tester: Tester): void {
  describe('concurrency', () => {
    apart(tester);
    exactlyOne(tester);
    together(tester);
  });
}

const hundred = Array.from({ length: 100 }, (_, i) => i);

function apart(tester: Tester): void {
  const it = stories(tester);

  it('100 files written at once are each whole', async (dir) => {
    await Promise.all(hundred.map((i) => tester.fs.writeFile(`${dir}/${i}`, pattern(5000 + i * 13, i))));
    const read = await Promise.all(hundred.map((i) => tester.fs.readFile(`${dir}/${i}`)));
    for (const i of hundred) expectBytes(read[i] ?? Buffer.alloc(0), pattern(5000 + i * 13, i));
  });

  it('100 directories made at once are all there, and counted', async (dir) => {
    await Promise.all(hundred.map((i) => tester.fs.mkdir(`${dir}/${i}`)));
    expect((await tester.fs.readdir(dir)).length).toBe(100);
    expect((await tester.fs.stat(dir)).nlink).toBe(102);
    await Promise.all(hundred.map((i) => tester.fs.rmdir(`${dir}/${i}`)));
    expect((await tester.fs.stat(dir)).nlink).toBe(2);
  });

  it('100 writes at their places through one handle fill one file', async (dir) => {
    const bytes = pattern(100 * 3001);
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    await Promise.all(hundred.map((i) => handle.write(bytes, i * 3001, 3001, i * 3001)));
    expectBytes(await tester.fs.readFile(`${dir}/f`), bytes);
  });

  it('100 files come and go at once and leave nothing', async (dir) => {
    const live = async (i: number) => {
      await tester.fs.writeFile(`${dir}/${i}`, pattern(9000, i));
      await tester.fs.rename(`${dir}/${i}`, `${dir}/${i}-moved`);
      expectBytes(await tester.fs.readFile(`${dir}/${i}-moved`), pattern(9000, i));
      await tester.fs.unlink(`${dir}/${i}-moved`);
    };
    await Promise.all(hundred.map(live));
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });
}

function exactlyOne(tester: Tester): void {
  const it = stories(tester);

  async function successes(work: Promise<unknown>[], code: string): Promise<number> {
    const settled = await Promise.allSettled(work);
    const failures = settled.filter((each) => each.status === 'rejected');
    for (const { reason } of failures) expect(reason.code).toBe(code);
    return settled.length - failures.length;
  }

  it('of 100 that make the same directory, one does', async (dir) => {
    expect(
      await successes(
        hundred.map(() => tester.fs.mkdir(`${dir}/d`)),
        'EEXIST',
      ),
    ).toBe(1);
  });

  it('of 100 that create the same file exclusively, one does', async (dir) => {
    const create = (i: number) => tester.fs.writeFile(`${dir}/f`, `${i}`, { flag: 'wx' });
    expect(await successes(hundred.map(create), 'EEXIST')).toBe(1);
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('of 100 that remove the same file, one does', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    expect(
      await successes(
        hundred.map(() => tester.fs.unlink(`${dir}/f`)),
        'ENOENT',
      ),
    ).toBe(1);
  });

  it('of 100 that move the same file away, one does, and the file is once', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    const moves = hundred.map((i) => tester.fs.rename(`${dir}/f`, `${dir}/to-${i}`));
    expect(await successes(moves, 'ENOENT')).toBe(1);
    expect((await tester.fs.readdir(dir)).length).toBe(1);
  });

  it('100 that make the same deep path recursively all succeed', async (dir) => {
    const made = await Promise.all(hundred.map(() => tester.fs.mkdir(`${dir}/a/b/c/d`, { recursive: true })));
    expect(made.filter((path) => path === `${dir}/a`).length).toBe(1);
    expect(await tester.fs.readdir(dir, { recursive: true })).toEqual(['a', 'a/b', 'a/b/c', 'a/b/c/d']);
  });
}

/** What can be done to a name that is there; all of it succeeds while the file behind it changes. */
function looks(tester: Tester, path: string): Record<string, () => unknown> {
  return {
    stat: () => tester.fs.stat(path),
    lstat: () => tester.fs.lstat(path),
    access: () => tester.fs.access(path),
    realpath: () => tester.fs.realpath(path),
    open: async () => (await tester.fs.open(path)).close(),
    statSync: () => tester.sync.statSync(path),
    accessSync: () => tester.sync.accessSync(path),
    readFileSync: () => tester.sync.readFileSync(path),
    readdirSync: () => tester.sync.readdirSync(path.slice(0, path.lastIndexOf('/'))),
  };
}

/** A loop that waits for others ends here: a filesystem that starves them fails instead of hanging. */
const patience = 100_000;

function together(tester: Tester): void {
  const it = stories(tester);

  it('100 appends at once are all there, none torn', async (dir) => {
    const line = (i: number) => `${String(i).padStart(3, '0')}:${'x'.repeat(i)}\n`;
    await Promise.all(hundred.map((i) => tester.fs.appendFile(`${dir}/f`, line(i))));
    const lines = (await tester.fs.readFile(`${dir}/f`, 'utf8')).split(/(?<=\n)/);
    expect(lines.sort()).toEqual(hundred.map(line));
  });

  it('a reader of a file that is replaced by rename sees one version, whole', async (dir) => {
    const version = (i: number) => Buffer.alloc(10_000 + i * 101, i + 1);
    await tester.fs.writeFile(`${dir}/f`, version(0));
    let writing = true;
    const write = async () => {
      for (let i = 1; i < 60; i++) {
        await tester.fs.writeFile(`${dir}/next`, version(i));
        await tester.fs.rename(`${dir}/next`, `${dir}/f`);
      }
      writing = false;
    };
    const read = async () => {
      for (let reads = 0; writing && reads < patience; reads++) {
        const content = await tester.fs.readFile(`${dir}/f`);
        expectBytes(content, version((content[0] ?? 0) - 1));
      }
    };
    await Promise.all([write(), read(), read()]);
    expect(await tester.fs.readdir(dir)).toEqual(['f']);
  });

  it('every look at a name that is replaced finds it', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    const failures = new Set<string>();
    let replacing = true;
    const replace = async () => {
      for (let i = 0; i < 300; i++) {
        await tester.fs.writeFile(`${dir}/next`, `${i}`);
        await tester.fs.rename(`${dir}/next`, `${dir}/f`);
      }
      replacing = false;
    };
    const look = async () => {
      for (let i = 0; replacing && i < patience; i++) {
        for (const [name, each] of Object.entries(looks(tester, `${dir}/f`))) {
          await Promise.resolve()
            .then(each)
            .catch((error) => failures.add(`${name}: ${error.message}`));
        }
      }
    };
    await Promise.all([replace(), look()]);
    expect([...failures]).toEqual([]);
  });

  it('a loop of awaited reads lets timers and sockets have their turn', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    const reads = {
      stat: () => tester.fs.stat(`${dir}/f`),
      readFile: () => tester.fs.readFile(`${dir}/f`),
      readdir: () => tester.fs.readdir(dir),
      failing: () => exists(tester, `${dir}/none`),
    };
    for (const [name, read] of Object.entries(reads)) {
      let turned = false;
      setImmediate(() => {
        turned = true;
      });
      for (let i = 0; !turned && i < patience; i++) await read();
      expect({ name, turned }).toEqual({ name, turned: true });
    }
  });

  it('a file is always at one of two names while it moves to and fro', async (dir) => {
    await tester.fs.mkdir(`${dir}/a`);
    await tester.fs.mkdir(`${dir}/b`);
    await tester.fs.writeFile(`${dir}/a/f`, 'x');
    let moving = true;
    const move = async () => {
      for (let i = 0; i < 100; i++) {
        await tester.fs.rename(`${dir}/a/f`, `${dir}/b/f`);
        await tester.fs.rename(`${dir}/b/f`, `${dir}/a/f`);
      }
      moving = false;
    };
    const look = async () => {
      for (let looks = 0; moving && looks < patience; looks++) {
        await Promise.all([exists(tester, `${dir}/a/f`), exists(tester, `${dir}/b/f`)]);
        expect((await tester.fs.readdir(dir)).sort()).toEqual(['a', 'b']);
      }
    };
    await Promise.all([move(), look()]);
    expect(await tester.fs.readFile(`${dir}/a/f`, 'utf8')).toBe('x');
  });
}
