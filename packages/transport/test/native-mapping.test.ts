import { closeSync, constants, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';

const { pageSize } = native;

function memfd(pages: number): number {
  const fd = native.createMemfd('mapping-test', pages * pageSize);
  onTestFinished(() => closeSync(fd));
  return fd;
}

/** `count` pages filled with `first`, `first` + 1, ... */
function numberedPages(count: number, first = 1): number {
  const fd = memfd(count);
  for (let page = 0; page < count; page++) {
    writeSync(fd, Buffer.alloc(pageSize, first + page), 0, pageSize, page * pageSize);
  }
  return fd;
}

function bytesAt(address: number, length: number): Uint8Array {
  return new Uint8Array(native.arrayBufferAt(address, length));
}

function reserve(pages: number): number {
  const address = native.reserveAddressRange(pages * pageSize);
  onTestFinished(() => native.unmap(address, pages * pageSize));
  return address;
}

const mappingAt = (address: number): string | undefined =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((line) => line.startsWith(`${address.toString(16)}-`));

describe('a mapping', () => {
  test('a page is 4096 bytes', () => {
    expect(pageSize).toBe(4096);
  });

  test('a reserved range takes addresses and no memory', () => {
    const length = 2 ** 40;
    const address = native.reserveAddressRange(length);
    expect(mappingAt(address)).toMatch(/ ---p /);
    native.unmap(address, length);
    expect(mappingAt(address)).toBeUndefined();
  });

  test('shows a file, and stores reach it', () => {
    const fd = numberedPages(2);
    const address = native.mapFile({ fd, offset: pageSize, length: pageSize, protection: 'read-write' });
    onTestFinished(() => native.unmap(address, pageSize));
    const bytes = bytesAt(address, pageSize);
    expect(bytes[0]).toBe(2);
    bytes[1] = 77;
    const read = Buffer.alloc(2);
    readSync(fd, read, 0, 2, pageSize);
    expect([...read]).toEqual([2, 77]);
  });

  test('is replaced under a live array', () => {
    const fd = numberedPages(2);
    const address = reserve(1);
    native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read', address });
    const bytes = bytesAt(address, pageSize);
    expect(bytes[9]).toBe(1);
    const again = native.mapFile({ fd, offset: pageSize, length: pageSize, protection: 'read', address });
    expect(again).toBe(address);
    expect(bytes[9]).toBe(2);
  });

  test('becomes zeros under a live array', () => {
    const fd = numberedPages(1);
    const address = reserve(1);
    native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read', address });
    const bytes = bytesAt(address, pageSize);
    native.mapAnonymous({ address, length: pageSize, protection: 'read-write' });
    expect(bytes[0]).toBe(0);
    bytes[0] = 9;
    expect(readFileSync(`/proc/self/fd/${fd}`)[0]).toBe(1);
  });

  test('moves over another in one step', () => {
    const fd = numberedPages(2);
    const to = reserve(1);
    native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read', address: to });
    const bytes = bytesAt(to, pageSize);
    const from = native.mapFile({ fd, offset: pageSize, length: pageSize, protection: 'read' });
    expect(native.moveMapping({ from, to, length: pageSize })).toBe(to);
    expect(bytes[0]).toBe(2);
    expect(mappingAt(from)).toBeUndefined();
  });

  test('changes its protection', () => {
    const fd = numberedPages(1);
    const address = native.mapFile({ fd, offset: 0, length: pageSize, protection: 'none' });
    onTestFinished(() => native.unmap(address, pageSize));
    expect(mappingAt(address)).toMatch(/ ---s /);
    native.protectMapping(address, pageSize, 'read-write');
    expect(mappingAt(address)).toMatch(/ rw-s /);
    native.protectMapping(address, pageSize, 'read');
    expect(mappingAt(address)).toMatch(/ r--s /);
  });

  test('takes memory at the first touch, or at once when populated', () => {
    const fd = memfd(8);
    const lazy = native.mapFile({ fd, offset: 0, length: 4 * pageSize, protection: 'read-write' });
    expect(fstatSync(fd).blocks).toBe(0);
    const now = { fd, offset: 4 * pageSize, length: 4 * pageSize, protection: 'read-write' } as const;
    const eager = native.mapFile({ ...now, populate: true });
    expect(fstatSync(fd).blocks * 512).toBe(4 * pageSize);
    native.unmap(lazy, 4 * pageSize);
    native.unmap(eager, 4 * pageSize);
  });

  test('takes every advice', () => {
    const fd = memfd(2);
    const length = 2 * pageSize;
    const address = native.mapFile({ fd, offset: 0, length, protection: 'read-write' });
    onTestFinished(() => native.unmap(address, length));
    native.adviseMapping(address, length, 'populate-write');
    expect(fstatSync(fd).blocks * 512).toBe(length);
    for (const advice of ['random', 'sequential', 'normal', 'will-need', 'populate-read'] as const) {
      native.adviseMapping(address, length, advice);
    }
    for (const advice of ['dont-need', 'no-huge-page', 'huge-page', 'dont-dump'] as const) {
      native.adviseMapping(address, length, advice);
    }
    native.syncMapping(address, length);
  });

  test('populating past the end of a file is an error, where a touch would be SIGBUS', () => {
    const fd = memfd(1);
    const address = native.mapFile({ fd, offset: 0, length: 2 * pageSize, protection: 'read-write' });
    onTestFinished(() => native.unmap(address, 2 * pageSize));
    expect(() => native.adviseMapping(address, 2 * pageSize, 'populate-write')).toThrow(/EFAULT.*madvise/);
  });
});

describe('a mapping is refused', () => {
  test('for more than the descriptor allows', () => {
    const fd = openSync('/dev/zero', constants.O_RDONLY);
    onTestFinished(() => closeSync(fd));
    const writable = { fd, offset: 0, length: pageSize, protection: 'read-write' } as const;
    expect(() => native.mapFile(writable)).toThrow(
      expect.objectContaining({ code: 'EACCES', errno: -13, syscall: 'mmap' }),
    );
  });

  test('off a page', () => {
    const fd = memfd(2);
    expect(() => native.mapFile({ fd, offset: 1, length: pageSize, protection: 'read' })).toThrow(/EINVAL/);
  });

  test('over anything but whole pages, whose other bytes would go too', () => {
    const fd = numberedPages(1);
    const address = reserve(2);
    native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read', address });
    const bytes = bytesAt(address, pageSize);
    const short = { length: 100, protection: 'read' } as const;
    expect(() => native.mapAnonymous({ address, ...short })).toThrow(/EINVAL/);
    expect(() => native.mapFile({ fd, offset: 0, address, ...short })).toThrow(/EINVAL/);
    expect(() => native.protectMapping(address, 100, 'none')).toThrow(/EINVAL/);
    expect(() => native.adviseMapping(address, 100, 'dont-need')).toThrow(/EINVAL/);
    expect(() => native.moveMapping({ from: address + pageSize, to: address, length: 100 })).toThrow(
      /EINVAL/,
    );
    expect(bytes[0]).toBe(1);
  });

  test('where null points to', () => {
    const fd = memfd(1);
    const there = { address: 0, length: pageSize, protection: 'read-write' } as const;
    expect(() => native.mapAnonymous(there)).toThrow(/EINVAL/);
    expect(() => native.mapFile({ fd, offset: 0, ...there })).toThrow(/EINVAL/);
  });

  test('for a length that no address space has', () => {
    expect(() => native.reserveAddressRange(2 ** 50)).toThrow(/ENOMEM/);
    expect(() => native.reserveAddressRange(0)).toThrow(/EINVAL/);
  });

  test('with a word that is not one', () => {
    const address = reserve(1);
    // @ts-expect-error: callers without types
    expect(() => native.protectMapping(address, pageSize, 'execute')).toThrow(TypeError);
    // @ts-expect-error: callers without types
    expect(() => native.adviseMapping(address, pageSize, 'remove')).toThrow(/advice must be one of/);
  });
});
