/** createReadStream and createWriteStream, of the filesystem and of a handle. */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { describe, expect } from 'vitest';
import { expectBytes, pattern, refused, refusedSync, stories, type Tester } from './tester.ts';

export function streams(tester: Tester): void {
  describe('streams', () => {
    reading(tester);
    readingEvents(tester);
    writing(tester);
    writingFlags(tester);
    ofHandles(tester);
    piping(tester);
  });
}

function reading(tester: Tester): void {
  const it = stories(tester);

  it('reads a whole file in pieces of 64 KiB', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(200_000));
    const lengths: number[] = [];
    const pieces: Buffer[] = [];
    for await (const piece of tester.streams.createReadStream(`${dir}/f`)) {
      lengths.push(piece.length);
      pieces.push(piece);
    }
    expect(lengths).toEqual([65_536, 65_536, 65_536, 3392]);
    expectBytes(Buffer.concat(pieces), pattern(200_000));
  });

  it('reads from start to end, both included', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    const ranges: [object, string][] = [
      [{ start: 3 }, '3456789'],
      [{ end: 3 }, '0123'],
      [{ start: 3, end: 5 }, '345'],
      [{ start: 9, end: 9 }, '9'],
      [{ start: 8, end: 100 }, '89'],
      [{ start: 10 }, ''],
      [{ start: 100, end: 200 }, ''],
      [{ start: 0, end: 0 }, '0'],
    ];
    for (const [range, expected] of ranges) {
      expect(await text(tester.streams.createReadStream(`${dir}/f`, range))).toBe(expected);
    }
  });

  it('keeps to the high-water mark', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(1000));
    const lengths: number[] = [];
    for await (const piece of tester.streams.createReadStream(`${dir}/f`, { highWaterMark: 300 })) {
      lengths.push(piece.length);
    }
    expect(lengths).toEqual([300, 300, 300, 100]);
  });

  it('decodes letters that are cut by a piece', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'ä€👋'.repeat(100));
    const stream = tester.streams.createReadStream(`${dir}/f`, { encoding: 'utf8', highWaterMark: 5 });
    let all = '';
    for await (const piece of stream) all += piece;
    expect(all).toBe('ä€👋'.repeat(100));
    expect(await text(tester.streams.createReadStream(`${dir}/f`, 'utf8'))).toBe('ä€👋'.repeat(100));
  });

  it('refuses an impossible range at once', async (dir) => {
    refusedSync(() => tester.streams.createReadStream(`${dir}/f`, { start: 5, end: 3 }), 'ERR_OUT_OF_RANGE');
    refusedSync(() => tester.streams.createReadStream(`${dir}/f`, { start: -1 }), 'ERR_OUT_OF_RANGE');
    refusedSync(() => tester.streams.createReadStream(7 as unknown as string), 'ERR_INVALID_ARG_TYPE');
  });
}

function readingEvents(tester: Tester): void {
  const it = stories(tester);

  it('opens, is ready, ends, closes', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    const stream = tester.streams.createReadStream(`${dir}/f`);
    const events: string[] = [];
    for (const event of ['open', 'ready', 'end', 'close']) stream.on(event, () => events.push(event));
    expect([stream.path, stream.pending]).toEqual([`${dir}/f`, true]);
    stream.resume();
    await once(stream, 'close');
    expect(events).toEqual(['open', 'ready', 'end', 'close']);
    expect(stream.bytesRead).toBe(3);
  });

  it('passes on why it could not open', async (dir) => {
    const stream = tester.streams.createReadStream(`${dir}/none`);
    const [error] = await once(stream, 'error');
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'open', path: `${dir}/none` });
    expect(stream.destroyed).toBe(true);
  });

  it('refuses a directory when it is read', async (dir) => {
    await refused(buffer(tester.streams.createReadStream(dir)), 'EISDIR');
  });

  it('may be destroyed in the middle', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(500_000));
    const stream = tester.streams.createReadStream(`${dir}/f`);
    await once(stream, 'readable');
    stream.destroy();
    await once(stream, 'close');
    expect(stream.bytesRead).toBeLessThan(500_000);
  });

  it('stops at a signal', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(500_000));
    const controller = new AbortController();
    const stream = tester.streams.createReadStream(`${dir}/f`, { signal: controller.signal });
    const all = buffer(stream);
    controller.abort();
    await expect(all).rejects.toMatchObject({ name: 'AbortError' });
  });
}

function writing(tester: Tester): void {
  const it = stories(tester);

  it('writes pieces in order, of any kind', async (dir) => {
    const stream = tester.streams.createWriteStream(`${dir}/f`);
    stream.write('text,');
    stream.write(Buffer.from('bytes,'));
    stream.write('686578', 'hex');
    stream.end(new Uint8Array([0x21]));
    await once(stream, 'close');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('text,bytes,hex!');
    expect([stream.bytesWritten, stream.path]).toEqual([15, `${dir}/f`]);
  });

  it('asks the writer to wait when its buffer is full, and calls again', async (dir) => {
    const stream = tester.streams.createWriteStream(`${dir}/f`, { highWaterMark: 1000 });
    let waits = 0;
    for (let i = 0; i < 50; i++) {
      if (stream.write(pattern(700, i + 1))) continue;
      waits++;
      await once(stream, 'drain');
    }
    stream.end();
    await once(stream, 'close');
    expect(waits).toBe(25);
    const expected = Buffer.concat(Array.from({ length: 50 }, (_, i) => pattern(700, i + 1)));
    expectBytes(await tester.fs.readFile(`${dir}/f`), expected);
  });

  it('has everything in the file when it finishes', async (dir) => {
    const stream = tester.streams.createWriteStream(`${dir}/f`);
    for (let i = 0; i < 100; i++) stream.write(pattern(5000, i + 1));
    stream.end();
    await once(stream, 'finish');
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(500_000);
  });

  it('passes on why it could not open', async (dir) => {
    const stream = tester.streams.createWriteStream(`${dir}/none/f`);
    const [error] = await once(stream, 'error');
    expect(error).toMatchObject({ code: 'ENOENT', syscall: 'open' });
  });
}

function writingFlags(tester: Tester): void {
  const it = stories(tester);

  async function write(path: string, data: string, options: object): Promise<string> {
    const stream = tester.streams.createWriteStream(path, options);
    stream.end(data);
    await once(stream, 'close');
    return tester.fs.readFile(path, 'utf8');
  }

  it('replaces, appends, or overwrites from a start', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    expect(await write(`${dir}/f`, 'abc', { flags: 'r+', start: 4 })).toBe('0123abc789');
    expect(await write(`${dir}/f`, '+', { flags: 'a' })).toBe('0123abc789+');
    expect(await write(`${dir}/f`, 'new', {})).toBe('new');
    expect(await write(`${dir}/f`, 'ZZ', { flags: 'r+', start: 5 })).toBe('new\0\0ZZ');
  });

  it('wx refuses an existing file; mode and encoding are heeded', async (dir) => {
    expect(await write(`${dir}/f`, '6869', { flags: 'wx', mode: 0o600, encoding: 'hex' })).toBe('hi');
    expect((await tester.fs.stat(`${dir}/f`)).mode & 0o777).toBe(0o600);
    const again = tester.streams.createWriteStream(`${dir}/f`, { flags: 'wx' });
    const [error] = await once(again, 'error');
    expect(error.code).toBe('EEXIST');
  });
}

function ofHandles(tester: Tester): void {
  const it = stories(tester);

  it('reads a handle from a start, or from where it stands, and closes it', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    const one = await tester.fs.open(`${dir}/f`);
    expect(await text(one.createReadStream({ start: 2, end: 4 }))).toBe('234');
    await refused(one.stat(), 'EBADF');
    const two = await tester.fs.open(`${dir}/f`);
    await two.read(Buffer.alloc(6), 0, 6);
    expect(await text(two.createReadStream())).toBe('6789');
  });

  it('leaves the handle open when asked to', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using handle = await tester.fs.open(`${dir}/f`);
    expect(await text(handle.createReadStream({ autoClose: false, start: 0, end: 1 }))).toBe('01');
    expect((await handle.stat()).size).toBe(10);
  });

  it('writes through a handle', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    const handle = await tester.fs.open(`${dir}/f`, 'r+');
    const stream = handle.createWriteStream({ start: 3 });
    stream.write('ab');
    stream.end('c');
    await once(stream, 'close');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('012abc6789');
    await refused(handle.stat(), 'EBADF');
  });
}

function piping(tester: Tester): void {
  const it = stories(tester);

  it('copies a file by a pipeline', async (dir) => {
    await tester.fs.writeFile(`${dir}/a`, pattern(700_001));
    await pipeline(tester.streams.createReadStream(`${dir}/a`), tester.streams.createWriteStream(`${dir}/b`));
    expectBytes(await tester.fs.readFile(`${dir}/b`), pattern(700_001));
  });

  it('a source that breaks breaks the pipeline', async (dir) => {
    const source = Readable.from(
      (async function* () {
        yield 'some';
        throw new Error('the source broke');
      })(),
    );
    await expect(pipeline(source, tester.streams.createWriteStream(`${dir}/f`))).rejects.toThrow(
      'source broke',
    );
  });
}
