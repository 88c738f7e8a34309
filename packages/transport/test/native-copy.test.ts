import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { inThread } from './native-elsewhere.ts';

const { pageSize } = native;

const kept = (fd: number): number => {
  onTestFinished(() => closeSync(fd));
  return fd;
};

/** A file with `content` at its begin. */
function file(content: Uint8Array, size: number): number {
  const fd = kept(native.createMemfd('copy-test', size));
  writeSync(fd, content, 0, content.length, 0);
  return fd;
}

function contentOf(fd: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, from);
  return bytes;
}

const counting = (length: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: length / 4 }, (_, i) => i).buffer);

describe.each([
  ['on the pool', native.copyInFile],
  ['at once', native.copyInFileSync],
])('a copy in a file, %s', (_, copyInFile) => {
  // More than what goes through memory at once, and a rest.
  test.each([pageSize, 2 ** 18, 2 ** 20 + pageSize])('of %i bytes', async (length) => {
    const content = counting(length);
    const fd = file(content, 3 * length);
    await copyInFile({ fd, from: 0, to: length + 10, length });
    expect(contentOf(fd, length + 10, length).equals(content)).toBe(true);
    expect(contentOf(fd, length, 10).equals(Buffer.alloc(10))).toBe(true);
    expect(contentOf(fd, 2 * length + 10, 10).equals(Buffer.alloc(10))).toBe(true);
  });

  test('into holes takes their pages, and from holes brings zeros', async () => {
    const fd = file(Buffer.alloc(0), 4 * pageSize);
    writeSync(fd, Buffer.alloc(pageSize, 7), 0, pageSize, 3 * pageSize);
    await copyInFile({ fd, from: 0, to: 2 * pageSize, length: 2 * pageSize });
    expect(contentOf(fd, 2 * pageSize, 2 * pageSize).equals(Buffer.alloc(2 * pageSize))).toBe(true);
    expect(native.seekData(fd, 0)).toBe(2 * pageSize);
  });

  test('says what the kernel says', async () => {
    const copy = async (fd: number) => copyInFile({ fd, from: 0, to: pageSize, length: pageSize });
    await expect(copy(kept(openSync('/dev/full', 'r+')))).rejects.toMatchObject({
      code: 'ENOSPC',
      syscall: 'copy',
    });
    await expect(copy(kept(openSync('/dev/null', 'w')))).rejects.toMatchObject({ code: 'EBADF' });
    const short = kept(native.createMemfd('copy-test', pageSize));
    const beyond = async () => copyInFile({ fd: short, from: pageSize, to: 0, length: pageSize });
    await expect(beyond()).rejects.toMatchObject({ code: 'EIO' });
  });

  test('of nothing does nothing', async () => {
    await copyInFile({ fd: kept(openSync('/dev/full', 'r+')), from: 0, to: 0, length: 0 });
  });
});

test('a thread may end while its copies run', async () => {
  const length = 2 ** 24;
  const fd = file(counting(length), 2 * length);
  for (let i = 0; i < 5; i++) {
    const thread = inThread(
      ({ native, tell }, { fd, length }) => {
        for (let i = 0; i < 8; i++) void native.copyInFile({ fd, from: 0, to: length, length });
        tell('copying');
      },
      { fd, length },
    );
    await thread.heard();
    await thread.worker.terminate();
  }
});
