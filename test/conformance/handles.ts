/** FileHandle: positions, holes, vectors, and files that outlive their names. */
import type { EventEmitter } from 'node:events';
import { describe, expect } from 'vitest';
import { expectBytes, pattern, refused, stories, type Tester } from './tester.ts';

export function handles(tester: Tester): void {
  describe('handles', () => {
    readingAt(tester);
    readingForms(tester);
    writingAt(tester);
    writingForms(tester);
    vectors(tester);
    unlinked(tester);
    closing(tester);
    several(tester);
  });
}

function readingAt(tester: Tester): void {
  const it = stories(tester);

  it('reads on from where the last read ended', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`);
    for (const expected of ['0123', '4567', '89']) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(4), 0, 4, null);
      expect(buffer.toString('utf8', 0, bytesRead)).toBe(expected);
    }
    expect((await handle.read(Buffer.alloc(4), 0, 4, null)).bytesRead).toBe(0);
  });

  it('a read at a position does not move the own one', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`);
    expect((await handle.read(Buffer.alloc(3), 0, 3, 7)).buffer.toString()).toBe('789');
    expect((await handle.read(Buffer.alloc(3), 0, 3)).buffer.toString()).toBe('012');
    expect((await handle.read(Buffer.alloc(3), 0, 3, 0)).buffer.toString()).toBe('012');
    expect((await handle.read(Buffer.alloc(3), 0, 3, -1)).buffer.toString()).toBe('345');
  });

  it('reads nothing at the end and beyond it, and leaves the buffer alone', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await using handle = await tester.fs.open(`${dir}/f`);
    for (const position of [3, 4, 5000, 2 ** 40]) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(2, 0x7f), 0, 2, position);
      expect([bytesRead, ...buffer]).toEqual([0, 0x7f, 0x7f]);
    }
    const short = await handle.read(Buffer.alloc(4, 0x7f), 0, 4, 2);
    expect([short.bytesRead, ...short.buffer]).toEqual([1, 0x63, 0x7f, 0x7f, 0x7f]);
  });

  it('sees what was appended after it had reached the end', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'ab');
    await using handle = await tester.fs.open(`${dir}/f`);
    expect((await handle.read(Buffer.alloc(8), 0, 8)).bytesRead).toBe(2);
    await tester.fs.appendFile(`${dir}/f`, 'cd');
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(8), 0, 8);
    expect(buffer.toString('utf8', 0, bytesRead)).toBe('cd');
  });
}

function readingForms(tester: Tester): void {
  const it = stories(tester);

  it('reads into the middle of a buffer and touches nothing else', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abcdef');
    await using handle = await tester.fs.open(`${dir}/f`);
    const target = Buffer.from('..........');
    const result = await handle.read(target, 2, 3, 1);
    expect(result.buffer).toBe(target);
    expect(result.bytesRead).toBe(3);
    expect(target.toString()).toBe('..bcd.....');
  });

  it('takes options, makes a buffer itself, fills other arrays', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(100));
    await using handle = await tester.fs.open(`${dir}/f`);
    const own = await handle.read();
    expect([own.bytesRead, own.buffer.byteLength]).toEqual([100, 16_384]);
    const numbers = new Uint16Array(4);
    await handle.read({ buffer: numbers, position: 2 });
    expectBytes(new Uint8Array(numbers.buffer), pattern(100).subarray(2, 10));
    const part = await handle.read({ buffer: Buffer.alloc(8), offset: 6, position: 0 });
    expect(part.bytesRead).toBe(2);
    const form = await handle.read(Buffer.alloc(8), { length: 3, position: 50 });
    expectBytes(form.buffer.subarray(0, 3), pattern(100).subarray(50, 53));
    expect((await handle.read(Buffer.alloc(8), 0, 0, 0)).bytesRead).toBe(0);
  });

  it('readLines gives the lines', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, `one\ntwo\r\n\n${'long'.repeat(20_000)}\nlast`);
    const handle = await tester.fs.open(`${dir}/f`);
    const lines: string[] = [];
    for await (const line of handle.readLines()) lines.push(line);
    expect(lines.map((line) => line.slice(0, 8))).toEqual(['one', 'two', '', 'longlong', 'last']);
    expect(lines[3]?.length).toBe(80_000);
  });
}

function writingAt(tester: Tester): void {
  const it = stories(tester);

  it('writes on from where it stands; a write at a position does not move that', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    await handle.write('aaa');
    await handle.write(Buffer.from('ZZ'), 0, 2, 8);
    await handle.write('bbb', null);
    await handle.write(Buffer.from('c'), 0, 1, null);
    expectBytes(await tester.fs.readFile(`${dir}/f`), Buffer.from('aaabbbc\0ZZ'));
  });

  it('reads and writes share one position', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`, 'r+');
    await handle.read(Buffer.alloc(3), 0, 3);
    await handle.write('X');
    expect((await handle.read(Buffer.alloc(2), 0, 2)).buffer.toString()).toBe('45');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('012X456789');
  });

  it('a write beyond the end makes zeros, however far', async (dir) => {
    for (const at of [1, 4095, 4096, 4097, 50_000, 1_048_577]) {
      await using handle = await tester.fs.open(`${dir}/f`, 'w+');
      await handle.write('end', at);
      const expected = Buffer.alloc(at + 3);
      expected.write('end', at);
      expectBytes(await tester.fs.readFile(`${dir}/f`), expected);
    }
  });

  it('fills a hole from both sides', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w+');
    await handle.truncate(40_000);
    const expected = Buffer.alloc(40_000);
    for (const [at, length] of [
      [100, 50],
      [8190, 10],
      [20_480, 4096],
      [12_000, 9000],
      [39_999, 1],
      [0, 1],
    ] as const) {
      await handle.write(pattern(length, at + 1), 0, length, at);
      pattern(length, at + 1).copy(expected, at);
      expectBytes(await tester.fs.readFile(`${dir}/f`), expected);
    }
  });

  it('writing nothing far beyond the end changes nothing', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    expect((await handle.write(Buffer.alloc(0), 0, 0, 5000)).bytesWritten).toBe(0);
    expect((await handle.stat()).size).toBe(0);
  });
}

function writingForms(tester: Tester): void {
  const it = stories(tester);

  it('writes a part of a buffer and tells how much', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    const source = Buffer.from('0123456789');
    const result = await handle.write(source, 3, 4);
    expect(result).toEqual({ bytesWritten: 4, buffer: source });
    await handle.write(source, 8);
    await handle.write(source, 1, 1, 0);
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('145689');
  });

  it('writes strings at a position and in an encoding', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    expect(await handle.write('ñ')).toEqual({ bytesWritten: 2, buffer: 'ñ' });
    await handle.write('4142', 4, 'hex');
    await handle.write('é', null, 'latin1');
    expectBytes(await tester.fs.readFile(`${dir}/f`), Buffer.from([0xc3, 0xb1, 0xe9, 0, 0x41, 0x42]));
  });

  it('writes wide arrays and views as bytes', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    const numbers = new Uint32Array([1, 0xffffffff, 3]);
    expect((await handle.write(numbers)).bytesWritten).toBe(12);
    await handle.write(new DataView(numbers.buffer, 4, 4));
    expectBytes(
      await tester.fs.readFile(`${dir}/f`),
      Buffer.concat([new Uint8Array(numbers.buffer), new Uint8Array(numbers.buffer, 4, 4)]),
    );
  });

  it('sync and datasync resolve', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    await handle.write('x');
    expect(await handle.sync()).toBeUndefined();
    expect(await handle.datasync()).toBeUndefined();
  });
}

function vectors(tester: Tester): void {
  const it = stories(tester);

  it('writev writes all buffers in order, at the position or where it stands', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    const buffers = [Buffer.from('ab'), Buffer.alloc(0), new Uint8Array([0x63])];
    expect(await handle.writev(buffers)).toEqual({ bytesWritten: 3, buffers });
    await handle.writev([Buffer.from('YZ')], 6);
    await handle.writev([Buffer.from('d'), Buffer.from('e')]);
    expectBytes(await tester.fs.readFile(`${dir}/f`), Buffer.from('abcde\0YZ'));
  });

  it('readv fills the buffers in order and stops at the end', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`);
    const [one, two] = [Buffer.alloc(3), Buffer.alloc(4)];
    expect((await handle.readv([one, two])).bytesRead).toBe(7);
    expect([one.toString(), two.toString()]).toEqual(['012', '3456']);
    expect((await handle.readv([one, two])).bytesRead).toBe(3);
    expect([one.toString(), two.toString()]).toEqual(['789', '3456']);
    expect((await handle.readv([one], 1)).bytesRead).toBe(3);
    expect(one.toString()).toBe('123');
  });
}

function unlinked(tester: Tester): void {
  const it = stories(tester);

  it('an unlinked file is read, written, grown and cut through its handle', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w+');
    await handle.write('before');
    await tester.fs.unlink(`${dir}/f`);
    await handle.write(' after');
    await handle.write(pattern(50_000), 0, 50_000, 5000);
    const content = Buffer.alloc(55_000);
    const { bytesRead } = await handle.read(content, 0, 55_000, 0);
    expect(bytesRead).toBe(55_000);
    expect(content.toString('utf8', 0, 12)).toBe('before after');
    expectBytes(content.subarray(5000), pattern(50_000));
    await handle.truncate(3);
    expect((await handle.stat()).size).toBe(3);
    await handle.chmod(0o600);
    expect(await tester.fs.readdir(dir)).toEqual([]);
  });

  it('a new file of the same name has nothing to do with it', async (dir) => {
    await using old = await tester.fs.open(`${dir}/f`, 'w+');
    await tester.fs.unlink(`${dir}/f`);
    await tester.fs.writeFile(`${dir}/f`, 'new');
    await old.write('old file');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('new');
  });

  it('its bytes go to nobody while it is open', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w+');
    await handle.write(pattern(30_000));
    await tester.fs.unlink(`${dir}/f`);
    for (let i = 0; i < 10; i++) await tester.fs.writeFile(`${dir}/${i}`, Buffer.alloc(30_000, i));
    const content = Buffer.alloc(30_000);
    await handle.read(content, 0, 30_000, 0);
    expectBytes(content, pattern(30_000));
  });

  it('two handles outlive the name together', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'x');
    await using one = await tester.fs.open(`${dir}/f`, 'r+');
    const two = await tester.fs.open(`${dir}/f`, 'r+');
    await tester.fs.unlink(`${dir}/f`);
    await two.write('shared');
    await two.close();
    expect(await one.readFile('utf8')).toBe('shared');
  });
}

function closing(tester: Tester): void {
  const it = stories(tester);

  it('refuses everything after close with EBADF', async (dir) => {
    const handle = await tester.fs.open(`${dir}/f`, 'w+');
    expect(handle.fd).toBeGreaterThan(2);
    expect(await handle.close()).toBeUndefined();
    expect(handle.fd).toBe(-1);
    await refused(handle.read(Buffer.alloc(1), 0, 1), 'EBADF');
    await refused(handle.write('x'), 'EBADF');
    await refused(handle.writev([Buffer.from('x')]), 'EBADF');
    await refused(handle.readv([Buffer.alloc(1)]), 'EBADF');
    await refused(handle.readFile(), 'EBADF');
    await refused(handle.writeFile('x'), 'EBADF');
    await refused(handle.stat(), 'EBADF');
    await refused(handle.truncate(0), 'EBADF');
    await refused(handle.chmod(0o600), 'EBADF');
    await refused(handle.utimes(1, 1), 'EBADF');
    await refused(handle.sync(), 'EBADF');
  });

  it('may be closed twice, and tells its close', async (dir) => {
    const handle = await tester.fs.open(`${dir}/f`, 'w');
    let closed = 0;
    // A FileHandle is an EventEmitter; its types forget to say so.
    (handle as unknown as EventEmitter).on('close', () => closed++);
    await handle.close();
    await handle.close();
    expect(closed).toBe(1);
  });

  it('is closed by await using', async (dir) => {
    let kept: Awaited<ReturnType<typeof tester.fs.open>>;
    {
      await using handle = await tester.fs.open(`${dir}/f`, 'w');
      kept = handle;
    }
    await refused(kept.stat(), 'EBADF');
  });

  it('numbers differ among open handles', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '');
    await using one = await tester.fs.open(`${dir}/f`);
    await using two = await tester.fs.open(`${dir}/f`);
    expect(one.fd).not.toBe(two.fd);
  });
}

function several(tester: Tester): void {
  const it = stories(tester);

  it('each handle has its own position, and sees what the others write', async (dir) => {
    await using writer = await tester.fs.open(`${dir}/f`, 'w');
    await using one = await tester.fs.open(`${dir}/f`);
    await using two = await tester.fs.open(`${dir}/f`);
    await writer.write('abcd');
    expect((await one.read(Buffer.alloc(3), 0, 3)).buffer.toString()).toBe('abc');
    expect((await two.read(Buffer.alloc(2), 0, 2)).buffer.toString()).toBe('ab');
    await writer.write('XY', 0);
    expect((await one.read(Buffer.alloc(4), 0, 4, 0)).buffer.toString()).toBe('XYcd');
  });

  it('hundreds may be open at once', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'shared');
    const open = await Promise.all(Array.from({ length: 300 }, () => tester.fs.open(`${dir}/f`)));
    try {
      expect(new Set(open.map((handle) => handle.fd)).size).toBe(300);
      expect(await open[299]?.readFile('utf8')).toBe('shared');
    } finally {
      await Promise.all(open.map((handle) => handle.close()));
    }
  });
}
