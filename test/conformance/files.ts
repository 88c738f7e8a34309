/** Whole files: written by writeFile, read by readFile, in every kind of data they accept. */
import { Readable } from 'node:stream';
import { describe, expect } from 'vitest';
import { expectBytes, pattern, refused, stories, type Tester } from './tester.ts';

export function files(tester: Tester): void {
  describe('files', () => {
    roundTrips(tester);
    kindsOfData(tester);
    replacing(tester);
    isolation(tester);
    refusals(tester);
    throughHandles(tester);
    aborting(tester);
  });
}

function roundTrips(tester: Tester): void {
  const it = stories(tester);
  const { all, encodings } = {
    all: Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
    encodings: ['hex', 'base64', 'latin1'],
  };

  it('reads back every byte value', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, all);
    const read = await tester.fs.readFile(`${dir}/f`);
    expect(Buffer.isBuffer(read)).toBe(true);
    expectBytes(read, all);
  });

  it('writes strings as UTF-8 unless told otherwise', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'héllo, 世界 👋');
    expectBytes(await tester.fs.readFile(`${dir}/f`), Buffer.from('héllo, 世界 👋', 'utf8'));
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('héllo, 世界 👋');
    expect(await tester.fs.readFile(`${dir}/f`, { encoding: 'utf8' })).toBe('héllo, 世界 👋');
  });

  it('writes and reads in other encodings', async (dir) => {
    for (const encoding of encodings as BufferEncoding[]) {
      await tester.fs.writeFile(`${dir}/${encoding}`, all.toString(encoding), encoding);
      expectBytes(await tester.fs.readFile(`${dir}/${encoding}`), all);
      expect(await tester.fs.readFile(`${dir}/${encoding}`, encoding)).toBe(all.toString(encoding));
    }
    await tester.fs.writeFile(`${dir}/wide`, 'añ', { encoding: 'utf16le' });
    expect((await tester.fs.readFile(`${dir}/wide`)).toString('hex')).toBe('6100f100');
  });

  it('makes an empty file', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    expect((await tester.fs.readFile(`${dir}/f`)).length).toBe(0);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('');
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(0);
  });

  it('resolves to undefined', async (dir) => {
    expect(await tester.fs.writeFile(`${dir}/f`, 'x')).toBeUndefined();
  });

  it('accepts a path as a Buffer and as a file URL', async (dir) => {
    await tester.fs.writeFile(Buffer.from(`${dir}/a b%`), 'by buffer');
    expect(await tester.fs.readFile(new URL(`file://${dir}/a%20b%25`), 'utf8')).toBe('by buffer');
    await tester.fs.writeFile(new URL(`file://${dir}/%C3%A9`), 'by url');
    expect(await tester.fs.readFile(`${dir}/é`, 'utf8')).toBe('by url');
  });
}

function kindsOfData(tester: Tester): void {
  const it = stories(tester);

  it('writes only the part of the memory that a view covers', async (dir) => {
    const memory = pattern(64);
    await tester.fs.writeFile(`${dir}/bytes`, new Uint8Array(memory.buffer, memory.byteOffset + 3, 7));
    expectBytes(await tester.fs.readFile(`${dir}/bytes`), memory.subarray(3, 10));
    await tester.fs.writeFile(`${dir}/view`, new DataView(memory.buffer, memory.byteOffset + 5, 9));
    expectBytes(await tester.fs.readFile(`${dir}/view`), memory.subarray(5, 14));
  });

  it('writes wide typed arrays as their bytes', async (dir) => {
    const numbers = new Float64Array([1.5, -2, Number.MAX_VALUE]);
    await tester.fs.writeFile(`${dir}/f`, numbers);
    expectBytes(await tester.fs.readFile(`${dir}/f`), new Uint8Array(numbers.buffer));
  });

  it('writes what iterables yield, in order', async (dir) => {
    await tester.fs.writeFile(`${dir}/sync`, ['one,', 'two,', 'three']);
    expect(await tester.fs.readFile(`${dir}/sync`, 'utf8')).toBe('one,two,three');
    async function* pieces() {
      for (let i = 0; i < 50; i++) yield pattern(1000, i + 1);
    }
    await tester.fs.writeFile(`${dir}/async`, pieces());
    const expected = Buffer.concat(Array.from({ length: 50 }, (_, i) => pattern(1000, i + 1)));
    expectBytes(await tester.fs.readFile(`${dir}/async`), expected);
  });

  it('writes a readable stream to its end', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, Readable.from(['alpha', 'beta']));
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('alphabeta');
  });

  it('passes the error of a failing iterable on', async (dir) => {
    async function* broken() {
      yield 'start';
      throw new Error('the source broke');
    }
    await expect(tester.fs.writeFile(`${dir}/f`, broken())).rejects.toThrow('the source broke');
  });
}

function replacing(tester: Tester): void {
  const it = stories(tester);

  it('leaves nothing of a longer old content', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(10_000));
    await tester.fs.writeFile(`${dir}/f`, 'short');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('short');
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(5);
  });

  it('grows from a shorter old content', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'short');
    await tester.fs.writeFile(`${dir}/f`, pattern(200_000));
    expectBytes(await tester.fs.readFile(`${dir}/f`), pattern(200_000));
  });

  it('keeps the inode, its mode and its other names', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'old', { mode: 0o600 });
    await tester.fs.link(`${dir}/f`, `${dir}/other`);
    const before = await tester.fs.stat(`${dir}/f`);
    await tester.fs.writeFile(`${dir}/f`, 'new', { mode: 0o644 });
    const after = await tester.fs.stat(`${dir}/f`);
    expect(after.ino).toBe(before.ino);
    expect(after.mode).toBe(before.mode);
    expect(await tester.fs.readFile(`${dir}/other`, 'utf8')).toBe('new');
  });

  it('survives a hundred rewrites of changing length', async (dir) => {
    for (let i = 0; i < 100; i++) {
      const bytes = pattern((i * 7919) % 30_000, i + 1);
      await tester.fs.writeFile(`${dir}/f`, bytes);
      expectBytes(await tester.fs.readFile(`${dir}/f`), bytes);
    }
  });
}

function isolation(tester: Tester): void {
  const it = stories(tester);

  it('hands out a copy: changing it does not change the file', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(5000));
    (await tester.fs.readFile(`${dir}/f`)).fill(0);
    expectBytes(await tester.fs.readFile(`${dir}/f`), pattern(5000));
  });

  it('is done with the data once it has resolved', async (dir) => {
    const data = pattern(5000);
    await tester.fs.writeFile(`${dir}/f`, data);
    data.fill(0);
    expectBytes(await tester.fs.readFile(`${dir}/f`), pattern(5000));
  });

  it('keeps earlier reads when the file changes later', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'before');
    const earlier = await tester.fs.readFile(`${dir}/f`);
    await tester.fs.writeFile(`${dir}/f`, 'after!');
    expect(earlier.toString()).toBe('before');
  });

  it('shows no byte of a removed file in a new one', async (dir) => {
    await tester.fs.writeFile(`${dir}/secret`, Buffer.alloc(100_000, 0x5a));
    await tester.fs.unlink(`${dir}/secret`);
    await tester.fs.writeFile(`${dir}/new`, 'x');
    await tester.fs.truncate(`${dir}/new`, 100_000);
    const expected = Buffer.alloc(100_000);
    expected[0] = 0x78;
    expectBytes(await tester.fs.readFile(`${dir}/new`), expected);
  });
}

function refusals(tester: Tester): void {
  const it = stories(tester);

  it('refuses to read what is not there', async (dir) => {
    await refused(tester.fs.readFile(`${dir}/none`), 'ENOENT');
  });

  it('refuses to read or write a directory', async (dir) => {
    await refused(tester.fs.readFile(dir), 'EISDIR');
    await refused(tester.fs.writeFile(dir, 'x'), 'EISDIR');
  });

  it('refuses to create a file in a directory that is not there', async (dir) => {
    await refused(tester.fs.writeFile(`${dir}/none/f`, 'x'), 'ENOENT');
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });
}

function throughHandles(tester: Tester): void {
  const it = stories(tester);

  it('reads the rest of the file from where a handle stands', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`);
    await handle.read(Buffer.alloc(4), 0, 4);
    expect(await tester.fs.readFile(handle, 'utf8')).toBe('456789');
    expect(await handle.readFile('utf8')).toBe('');
  });

  it('writes from where a handle stands and cuts nothing off', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`, 'r+');
    await tester.fs.writeFile(handle, 'abc');
    await handle.writeFile('de');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('abcde56789');
  });
}

function aborting(tester: Tester): void {
  const it = stories(tester);

  it('does not start when the signal is aborted already', async (dir) => {
    const signal = AbortSignal.abort();
    await tester.fs.writeFile(`${dir}/f`, 'old');
    await expect(tester.fs.readFile(`${dir}/f`, { signal })).rejects.toMatchObject({ name: 'AbortError' });
    await expect(tester.fs.writeFile(`${dir}/f`, 'new', { signal })).rejects.toMatchObject({
      code: 'ABORT_ERR',
    });
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('old');
  });

  it('stops writing an endless source', async (dir) => {
    const controller = new AbortController();
    async function* endless() {
      for (let i = 0; ; i++) {
        if (i === 10) controller.abort();
        yield 'more';
      }
    }
    const work = tester.fs.writeFile(`${dir}/f`, endless(), { signal: controller.signal });
    await expect(work).rejects.toMatchObject({ name: 'AbortError' });
  });
}
