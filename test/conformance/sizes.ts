/** Sizes around the page boundary and beyond: every operation, where off-by-one lives. */
import { describe, expect } from 'vitest';
import { expectBytes, pattern, stories, type Tester } from './tester.ts';

const sizes = [0, 1, 4095, 4096, 4097, 8191, 8192, 65_535, 65_537, 1_048_577];

export function pageSizes(tester: Tester): void {
  describe('sizes', () => {
    eachSize(tester);
    growth(tester);
  });
}

function eachSize(tester: Tester): void {
  const it = stories(tester);

  for (const size of sizes) {
    it(`a file of ${size} bytes is written, read, copied and cut`, async (dir) => {
      const bytes = pattern(size);
      await tester.fs.writeFile(`${dir}/f`, bytes);
      const stats = await tester.fs.stat(`${dir}/f`);
      expect([stats.size, stats.blocks]).toEqual([size, Math.ceil(size / 4096) * 8]);
      expectBytes(await tester.fs.readFile(`${dir}/f`), bytes);
      expectBytes(tester.sync.readFileSync(`${dir}/f`), bytes);
      await tester.fs.copyFile(`${dir}/f`, `${dir}/g`);
      expectBytes(await tester.fs.readFile(`${dir}/g`), bytes);
      await tester.fs.truncate(`${dir}/g`, Math.max(0, size - 1));
      expectBytes(await tester.fs.readFile(`${dir}/g`), bytes.subarray(0, Math.max(0, size - 1)));
    });

    it(`a file of ${size} bytes grows by one, and is read around its end`, async (dir) => {
      const bytes = pattern(size + 1);
      await tester.fs.writeFile(`${dir}/f`, bytes.subarray(0, size));
      await tester.fs.appendFile(`${dir}/f`, bytes.subarray(size));
      expectBytes(await tester.fs.readFile(`${dir}/f`), bytes);
      await using handle = await tester.fs.open(`${dir}/f`, 'r+');
      const last = await handle.read(Buffer.alloc(4), 0, 4, size);
      expect([last.bytesRead, last.buffer[0]]).toEqual([1, bytes[size]]);
      expect((await handle.read(Buffer.alloc(4), 0, 4, size + 1)).bytesRead).toBe(0);
      await handle.write(Buffer.from([1, 2, 3, 4]), 0, 4, size);
      expect((await handle.stat()).size).toBe(size + 4);
    });
  }

  it('a write across a boundary changes exactly its bytes', async (dir) => {
    const bytes = pattern(20_000);
    await tester.fs.writeFile(`${dir}/f`, bytes);
    await using handle = await tester.fs.open(`${dir}/f`, 'r+');
    for (const [at, length] of [
      [4090, 12],
      [4095, 1],
      [4096, 1],
      [8192, 4096],
      [8190, 4100],
      [19_990, 10],
    ] as const) {
      const patch = pattern(length, at);
      await handle.write(patch, 0, length, at);
      patch.copy(bytes, at);
      expectBytes(await tester.fs.readFile(`${dir}/f`), bytes);
    }
  });
}

function growth(tester: Tester): void {
  const it = stories(tester);

  it('two files that grow in turns do not mix', async (dir) => {
    await using one = await tester.fs.open(`${dir}/one`, 'a');
    await using two = await tester.fs.open(`${dir}/two`, 'a');
    const expected: [Buffer[], Buffer[]] = [[], []];
    for (let i = 0; i < 60; i++) {
      expected[0].push(pattern(4097, i));
      expected[1].push(pattern(9001, -i));
      await one.write(pattern(4097, i));
      await two.write(pattern(9001, -i));
    }
    expectBytes(await tester.fs.readFile(`${dir}/one`), Buffer.concat(expected[0]));
    expectBytes(await tester.fs.readFile(`${dir}/two`), Buffer.concat(expected[1]));
  });

  it('space that is given back is used again: fifty times 4 MiB fit where not all would', async (dir) => {
    for (let i = 0; i < 50; i++) {
      await tester.fs.writeFile(`${dir}/f`, Buffer.alloc(4 << 20, i));
      if (i % 2 === 0) await tester.fs.unlink(`${dir}/f`);
    }
    expect((await tester.fs.readFile(`${dir}/f`)).every((byte) => byte === 49)).toBe(true);
  });

  it('a file written byte by byte backwards is whole', async (dir) => {
    const bytes = pattern(600);
    await using handle = await tester.fs.open(`${dir}/f`, 'w');
    for (let i = bytes.length - 1; i >= 0; i--) await handle.write(bytes, i, 1, 4000 + i);
    expectBytes((await tester.fs.readFile(`${dir}/f`)).subarray(4000), bytes);
  });
}
