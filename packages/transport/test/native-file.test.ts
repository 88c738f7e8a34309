import { closeSync, fstatSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { inProcess } from './native-elsewhere.ts';

const { pageSize } = native;
const kept = (fd: number): number => {
  onTestFinished(() => closeSync(fd));
  return fd;
};
const memfd = (pages: number): number => kept(native.createMemfd('file-test', pages * pageSize));
const memoryOf = (fd: number): number => fstatSync(fd).blocks * 512;

function pathOnTmpfs(): string {
  const folder = mkdtempSync('/dev/shm/cluster-fs-native-');
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'file');
}

describe('a memfd', () => {
  test('has a length, no memory, and no path', () => {
    const fd = memfd(16);
    expect(fstatSync(fd).size).toBe(16 * pageSize);
    expect(memoryOf(fd)).toBe(0);
    expect(fstatSync(fd).nlink).toBe(0);
  });

  test('is closed when another program is started', () => {
    const closeOnExec = 0o2000000;
    const flagsOf = (fd: number): number => {
      const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      return Number.parseInt(/flags:\s*(\d+)/.exec(info)?.[1] ?? '', 8);
    };
    const fd = memfd(1);
    expect(flagsOf(fd) & closeOnExec).not.toBe(0);
    expect(flagsOf(kept(native.duplicate(fd))) & closeOnExec).not.toBe(0);
  });

  test('that is sealed gives no writable mapping, and keeps those it has', () => {
    const fd = memfd(1);
    const whole = { fd, offset: 0, length: pageSize } as const;
    const writer = native.mapFile({ ...whole, protection: 'read-write' });
    native.sealFutureWrites(fd);
    expect(() => native.mapFile({ ...whole, protection: 'read-write' })).toThrow(/EPERM.*mmap/);
    expect(() => writeSync(fd, 'x')).toThrow(/EPERM/);
    const reader = native.mapFile({ ...whole, protection: 'read' });
    new Uint8Array(native.arrayBufferAt(writer, pageSize))[0] = 9;
    expect(new Uint8Array(native.arrayBufferAt(reader, pageSize))[0]).toBe(9);
    expect(() => native.sealFutureWrites(fd)).toThrow(/EPERM.*fcntl/);
    native.unmap(writer, pageSize);
    native.unmap(reader, pageSize);
  });

  test('is not made with a name that is too long', () => {
    native.closeDescriptor(native.createMemfd('x'.repeat(249), 0));
    expect(() => native.createMemfd('x'.repeat(250), 0)).toThrow(/EINVAL.*memfd_create/);
    expect(() => native.createMemfd('x'.repeat(300), 0)).toThrow(/EINVAL.*memfd_create/);
  });
});

describe('memory of a file', () => {
  test('is taken ahead of stores, and the file stays as long as it was', () => {
    const fd = memfd(2);
    native.allocateRange(fd, 0, 8 * pageSize);
    expect(memoryOf(fd)).toBe(8 * pageSize);
    expect(fstatSync(fd).size).toBe(2 * pageSize);
  });

  test('is refused as ENOSPC when the file system is too small, and none is taken', () => {
    const fd = kept(openSync(pathOnTmpfs(), 'w+'));
    expect(() => native.allocateRange(fd, 0, 2 ** 45)).toThrow(/ENOSPC.*fallocate/);
    expect(memoryOf(fd)).toBe(0);
  });

  test('is given back by a hole, under a live array', () => {
    const fd = memfd(3);
    const length = 3 * pageSize;
    const address = native.mapFile({ fd, offset: 0, length, protection: 'read-write' });
    onTestFinished(() => native.unmap(address, length));
    const bytes = new Uint8Array(native.arrayBufferAt(address, length)).fill(7);
    native.punchHole(fd, pageSize, pageSize);
    expect(memoryOf(fd)).toBe(2 * pageSize);
    expect([bytes[0], bytes[pageSize], bytes[2 * pageSize]]).toEqual([7, 0, 7]);
  });

  test('is found by looking for data and holes', () => {
    const fd = memfd(8);
    writeSync(fd, Buffer.alloc(pageSize, 1), 0, pageSize, 2 * pageSize);
    writeSync(fd, Buffer.alloc(pageSize, 1), 0, pageSize, 5 * pageSize);
    expect(native.seekData(fd, 0)).toBe(2 * pageSize);
    expect(native.seekHole(fd, 2 * pageSize)).toBe(3 * pageSize);
    expect(native.seekData(fd, 3 * pageSize)).toBe(5 * pageSize);
    expect(native.seekData(fd, 6 * pageSize)).toBeUndefined();
    expect(native.seekHole(fd, 6 * pageSize)).toBe(6 * pageSize);
    expect(native.seekHole(fd, 8 * pageSize)).toBeUndefined();
  });
});

describe('a file system', () => {
  test('says that it is tmpfs, and how much is left', () => {
    const stats = native.fileSystemStats(kept(openSync(pathOnTmpfs(), 'w')));
    expect(stats).toMatchObject({ type: 'tmpfs', blockSize: pageSize });
    expect(stats.free).toBeLessThanOrEqual(stats.blocks);
    expect(stats.available).toBeLessThanOrEqual(stats.free);
  });

  test('says which other it is by number', () => {
    expect(native.fileSystemStats(kept(openSync('/proc/self/stat', 'r'))).type).toBe('0x9fa0');
  });
});

describe('a lock', () => {
  test('is one open file, until its last descriptor is closed', () => {
    const path = pathOnTmpfs();
    const first = openSync(path, 'w');
    const second = kept(openSync(path, 'r+'));
    expect(native.lockFile(first)).toBe(true);
    expect(native.lockFile(first)).toBe(true);
    expect(native.lockFile(second)).toBe(false);
    const copy = native.duplicate(first);
    closeSync(first);
    expect(native.lockFile(second)).toBe(false);
    closeSync(copy);
    expect(native.lockFile(second)).toBe(true);
  });

  test('goes with the process that has it', async () => {
    const path = pathOnTmpfs();
    const fd = kept(openSync(path, 'w'));
    const holder = inProcess(
      async ({ native, require, tell, told }, { path }) => {
        tell(native.lockFile(require('node:fs').openSync(path, 'r+')));
        await told();
        process.kill(process.pid, 'SIGKILL');
      },
      { path },
    );
    expect(await holder.heard()).toBe(true);
    expect(native.lockFile(fd)).toBe(false);
    holder.say('die');
    await holder.ended;
    expect(native.lockFile(fd)).toBe(true);
  });
});
