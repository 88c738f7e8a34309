/** truncate(2) and ftruncate(2): what is cut is gone, what is grown is zeros, also the second time. */
import { describe, expect } from 'vitest';
import { expectBytes, pattern, refused, stories, type Tester } from './tester.ts';

export function truncate(tester: Tester): void {
  describe('truncate', () => {
    cutting(tester);
    growing(tester);
    throughHandles(tester);
    refusing(tester);
  });
}

function cutting(tester: Tester): void {
  const it = stories(tester);

  it('cuts to the length, and to nothing when none is given', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(10_000));
    expect(await tester.fs.truncate(`${dir}/f`, 5000)).toBeUndefined();
    expectBytes(await tester.fs.readFile(`${dir}/f`), pattern(10_000).subarray(0, 5000));
    await tester.fs.truncate(`${dir}/f`);
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(0);
  });

  it('to the same length changes nothing', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, pattern(5000));
    await tester.fs.truncate(`${dir}/f`, 5000);
    expectBytes(await tester.fs.readFile(`${dir}/f`), pattern(5000));
  });

  it('takes a negative length for zero, as node does', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await tester.fs.truncate(`${dir}/f`, -5);
    expect((await tester.fs.stat(`${dir}/f`)).size).toBe(0);
  });

  it('gives blocks back', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, Buffer.alloc(100_000, 1));
    await tester.fs.truncate(`${dir}/f`, 4097);
    expect((await tester.fs.stat(`${dir}/f`)).blocks).toBe(16);
    await tester.fs.truncate(`${dir}/f`, 0);
    expect((await tester.fs.stat(`${dir}/f`)).blocks).toBe(0);
  });
}

function growing(tester: Tester): void {
  const it = stories(tester);

  it('grows with zeros', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await tester.fs.truncate(`${dir}/f`, 100_000);
    const expected = Buffer.alloc(100_000);
    expected.write('abc');
    expectBytes(await tester.fs.readFile(`${dir}/f`), expected);
  });

  it('down and up again shows zeros, not the old bytes, at every place in a page', async (dir) => {
    for (const cut of [0, 1, 100, 4095, 4096, 4097, 8191, 8192, 12_000]) {
      await tester.fs.writeFile(`${dir}/f`, Buffer.alloc(16_384, 0xaa));
      await tester.fs.truncate(`${dir}/f`, cut);
      await tester.fs.truncate(`${dir}/f`, 16_384);
      const expected = Buffer.alloc(16_384);
      expected.fill(0xaa, 0, cut);
      expectBytes(await tester.fs.readFile(`${dir}/f`), expected);
    }
  });

  it('a write beyond a cut leaves zeros between', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, Buffer.alloc(8000, 0xaa));
    await tester.fs.truncate(`${dir}/f`, 10);
    await using handle = await tester.fs.open(`${dir}/f`, 'r+');
    await handle.write('Z', 7000);
    const expected = Buffer.alloc(7001);
    expected.fill(0xaa, 0, 10);
    expected.write('Z', 7000);
    expectBytes(await tester.fs.readFile(`${dir}/f`), expected);
  });

  it('an append after growing starts at the new end', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'a');
    await tester.fs.truncate(`${dir}/f`, 4100);
    await tester.fs.appendFile(`${dir}/f`, 'z');
    const content = await tester.fs.readFile(`${dir}/f`);
    expect([content.length, content[4099], content[4100]]).toEqual([4101, 0, 0x7a]);
  });
}

function throughHandles(tester: Tester): void {
  const it = stories(tester);

  it('works on a handle and does not move its position', async (dir) => {
    await using handle = await tester.fs.open(`${dir}/f`, 'w+');
    await handle.write('0123456789');
    expect(await handle.truncate(4)).toBeUndefined();
    await handle.write('X');
    expectBytes(await tester.fs.readFile(`${dir}/f`), Buffer.from('0123\0\0\0\0\0\0X'));
    await handle.truncate();
    expect((await handle.stat()).size).toBe(0);
  });

  it('is seen by other handles at once', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, '0123456789');
    await using reader = await tester.fs.open(`${dir}/f`);
    await reader.read(Buffer.alloc(6), 0, 6);
    await tester.fs.truncate(`${dir}/f`, 3);
    expect((await reader.read(Buffer.alloc(6), 0, 6)).bytesRead).toBe(0);
    expect((await reader.stat()).size).toBe(3);
    await tester.fs.truncate(`${dir}/f`, 8);
    const { bytesRead, buffer } = await reader.read(Buffer.alloc(6, 1), 0, 6);
    expect([bytesRead, ...buffer]).toEqual([2, 0, 0, 1, 1, 1, 1]);
  });
}

function refusing(tester: Tester): void {
  const it = stories(tester);

  it('refuses directories, missing files and handles for reading', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await refused(tester.fs.truncate(dir, 0), 'EISDIR');
    await refused(tester.fs.truncate(`${dir}/none`, 0), 'ENOENT');
    await using handle = await tester.fs.open(`${dir}/f`, 'r');
    await refused(handle.truncate(1), 'EINVAL');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('abc');
  });

  it('refuses half a byte, and leaves the file as it was', async (dir) => {
    await tester.fs.writeFile(`${dir}/f`, 'abc');
    await refused(tester.fs.truncate(`${dir}/f`, 1.5), 'ERR_OUT_OF_RANGE');
    expect(await tester.fs.readFile(`${dir}/f`, 'utf8')).toBe('abc');
  });
}
