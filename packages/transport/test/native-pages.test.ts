import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';

const { pageSize } = native;

/** Random pages in a file, from its second page on, and what one needs to read them back. */
function storedPages(count: number) {
  const fd = native.createMemfd('pages-test', 0);
  onTestFinished(() => closeSync(fd));
  const content = randomBytes(count * pageSize);
  writeSync(fd, content, 0, content.length, pageSize);
  const sums = new BigUint64Array(count);
  native.sumPages({ bytes: content, sums, count });
  const places = Float64Array.from({ length: count }, (_, i) => i + 1);
  return { fd, content, places, sums, count, bytes: Buffer.alloc(content.length, 1) };
}

test('sums are those of xxHash64', () => {
  // Of its specification and of other implementations, with seed 0.
  const sumOf = (bytes: Buffer): string => {
    const sums = new BigUint64Array(1);
    native.sumPages({ bytes, sums, count: 1 });
    return (sums[0] ?? 0n).toString(16);
  };
  expect(sumOf(Buffer.alloc(32))).toBe('f6e9be5d70632cf5');
  expect(sumOf(Buffer.from('abcdefghijklmnopqrstuvwxyz012345'))).toBe('bf2cd639b4143b80');
  expect(sumOf(Buffer.from(Array.from({ length: pageSize }, (_, i) => i * 7)))).toBe('c8066d80a6fe1426');
});

test.each([32, 96, pageSize])('pages of %i bytes have the same sums together as each alone', (each) => {
  for (const count of [1, 15, 16, 17, 40]) {
    const bytes = randomBytes(count * each);
    const together = new BigUint64Array(count);
    native.sumPages({ bytes, sums: together, count });
    for (let i = 0; i < count; i++) {
      const alone = new BigUint64Array(1);
      native.sumPages({ bytes: bytes.subarray(i * each, (i + 1) * each), sums: alone, count: 1 });
      expect(together[i], `page ${i} of ${count}`).toBe(alone[0]);
    }
  }
});

const ways = [
  ['on the pool', (fd: number, pages: native.PagesRead) => native.readPages(fd, pages)],
  ['at once', async (fd: number, pages: native.PagesRead) => native.readPagesNow(fd, pages)],
] as const;

test.each(ways)('pages are read and compared %s', async (_, read) => {
  const { fd, content, ...pages } = storedPages(50);
  expect(await read(fd, pages)).toBe(50);
  expect(pages.bytes.equals(content)).toBe(true);
  writeSync(fd, Buffer.of((content[30 * pageSize] ?? 0) ^ 1), 0, 1, 31 * pageSize);
  expect(await read(fd, pages)).toBe(30);
  expect(pages.bytes.subarray(31 * pageSize).equals(content.subarray(31 * pageSize))).toBe(true);
});

test.each(ways)('pages come from where they are, and zeros from nowhere, %s', async (_, read) => {
  const { fd, content, places, sums, bytes } = storedPages(6);
  const order = [3, 2, 6, 0, 1, 2];
  places.set(order);
  sums.set(order.map((place) => (place === 0 ? 0n : (sums[place - 1] ?? 0n))));
  expect(await read(fd, { places, sums, bytes, count: 5 })).toBe(5);
  for (const [i, place] of order.slice(0, 5).entries()) {
    const expected =
      place === 0 ? Buffer.alloc(pageSize) : content.subarray((place - 1) * pageSize, place * pageSize);
    expect(bytes.subarray(i * pageSize, (i + 1) * pageSize).equals(expected), `page ${i}`).toBe(true);
  }
  expect(bytes.subarray(5 * pageSize).equals(Buffer.alloc(pageSize, 1)), 'not asked for').toBe(true);
});

test.each(ways)('what the file does not have is zeros, and not as it should be, %s', async (_, read) => {
  const { fd, content, ...pages } = storedPages(4);
  pages.places.set([1, 2, 400, 401]);
  expect(await read(fd, pages)).toBe(2);
  expect(pages.bytes.subarray(2 * pageSize).equals(Buffer.alloc(2 * pageSize))).toBe(true);
});

test.each(ways)('a descriptor that cannot be read is an error, %s', async (_, read) => {
  const { fd: own, ...pages } = storedPages(1);
  const fd = openSync('/dev/null', 'w');
  onTestFinished(() => closeSync(fd));
  await expect(read(fd, pages)).rejects.toMatchObject({ code: 'EBADF', syscall: 'read' });
});

test('arrays that do not fit each other are refused', () => {
  const { fd, ...pages } = storedPages(2);
  const refused = (wrong: Partial<native.PagesRead>): void =>
    expect(() => native.readPagesNow(fd, { ...pages, ...wrong })).toThrow(TypeError);
  refused({ count: 3 });
  refused({ sums: new BigUint64Array(3) });
  refused({ places: new Float64Array(1) });
  refused({ places: Float64Array.of(1, -1) });
  refused({ places: Float64Array.of(1, 1.5) });
  refused({ places: Float64Array.of(1, Number.NaN) });
  refused({ bytes: Buffer.alloc(2 * 40) });
});
