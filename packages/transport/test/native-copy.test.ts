import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { inThread } from './native-elsewhere.ts';

const { pageSize } = native;

function memory(pages: number): { address: number; bytes: Uint8Array; length: number } {
  const length = pages * pageSize;
  const address = native.reserveAddressRange(length);
  native.mapAnonymous({ address, length, protection: 'read-write' });
  onTestFinished(() => native.unmap(address, length));
  return { address, length, bytes: new Uint8Array(native.arrayBufferAt(address, length)) };
}

const kept = (fd: number): number => {
  onTestFinished(() => closeSync(fd));
  return fd;
};

describe.each([
  ['on the pool', native.copyMemory, native.writeMemory, native.prepareWrite],
  ['at once', native.copyMemorySync, native.writeMemorySync, native.prepareWriteSync],
])('%s', (_, copyMemory, writeMemory, prepareWrite) => {
  test('memory is copied', async () => {
    const from = memory(2);
    const to = memory(2);
    from.bytes.fill(7);
    await copyMemory({ from: from.address + 10, to: to.address, length: pageSize });
    expect(to.bytes[pageSize - 1]).toBe(7);
    expect(to.bytes[pageSize]).toBe(0);
  });

  test('ranges may overlap', async () => {
    const { address, bytes } = memory(1);
    bytes.set([1, 2, 3, 4]);
    await copyMemory({ from: address, to: address + 1, length: 4 });
    expect([...bytes.subarray(0, 5)]).toEqual([1, 1, 2, 3, 4]);
  });

  test('memory is written to a file', async () => {
    const { address, length, bytes } = memory(3);
    bytes.fill(5);
    const fd = kept(native.createMemfd('copy-test', 0));
    await writeMemory({ fd, offset: pageSize, address, length });
    const content = readFileSync(`/proc/self/fd/${fd}`);
    expect(content.length).toBe(pageSize + length);
    expect([content[pageSize - 1], content[pageSize], content.at(-1)]).toEqual([0, 5, 5]);
  });

  test('a full file system and a wrong address are errors', async () => {
    const { address, length } = memory(1);
    const full = kept(openSync('/dev/full', 'w'));
    const failing = async (fd: number, from: number) => writeMemory({ fd, offset: 0, address: from, length });
    await expect(failing(full, address)).rejects.toMatchObject({ code: 'ENOSPC', syscall: 'write' });
    const fd = kept(native.createMemfd('copy-test', 0));
    await expect(failing(fd, pageSize)).rejects.toMatchObject({ code: 'EFAULT' });
    await expect(failing(kept(openSync('/dev/null', 'r')), address)).rejects.toMatchObject({ code: 'EBADF' });
  });

  test('a write is prepared: its pages are allocated', async () => {
    const { address, length } = memory(3);
    const fd = kept(native.createMemfd('copy-test', 4 * pageSize));
    const blocks = (): number => fstatSync(fd).blocks * 512;
    expect(blocks()).toBe(0);
    await prepareWrite({ fd, offset: pageSize, address, length });
    expect(blocks()).toBe(length);
    await prepareWrite({ fd, offset: 0, address: pageSize, length });
    const none = kept(openSync('/dev/null', 'r'));
    const refused = (async () => prepareWrite({ fd: none, offset: 0, address, length }))();
    await expect(refused).rejects.toMatchObject({ code: 'EBADF', syscall: 'fallocate' });
  });

  test('a write is prepared where the file is mapped too: the copy is a memmove', async () => {
    const { address, length, bytes } = memory(3);
    bytes.fill(5);
    const fd = kept(native.createMemfd('copy-test', 3 * pageSize));
    const window = native.mapFile({ fd, offset: 0, length, protection: 'read-write' });
    const mappedKiB = (): number => {
      const smaps = readFileSync('/proc/self/smaps', 'utf8');
      const mapping = smaps.slice(smaps.indexOf(`\n${window.toString(16)}-`));
      return Number(/^Rss:\s+(\d+)/m.exec(mapping)?.[1]);
    };
    expect(mappedKiB()).toBe(0);
    await prepareWrite({ fd, offset: 0, address, length, window });
    expect(mappedKiB()).toBe(length / 1024);
    await copyMemory({ from: address, to: window, length });
    expect(readFileSync(`/proc/self/fd/${fd}`).equals(bytes)).toBe(true);
    native.unmap(window, length);
    const unmapped = (async () => prepareWrite({ fd, offset: 0, address, length, window }))();
    await expect(unmapped).rejects.toMatchObject({ code: 'ENOMEM' });
  });

  test('wrong arguments are refused', async () => {
    const { address } = memory(1);
    const wrong = [
      { from: 0, to: address, length: 1 },
      { from: address, to: 0, length: 1 },
      { from: address, to: Number.NaN, length: 1 },
      { from: address, to: address, length: -1 },
    ];
    for (const copy of wrong) await expect(async () => copyMemory(copy)).rejects.toThrow(TypeError);
  });
});

test('a thread may end while its copies run', async () => {
  const { address, length } = memory(4096);
  for (let i = 0; i < 5; i++) {
    const thread = inThread(
      ({ native, tell }, { address, length }) => {
        const half = length / 2;
        for (let i = 0; i < 8; i++)
          void native.copyMemory({ from: address, to: address + half, length: half });
        tell('copying');
      },
      { address, length },
    );
    await thread.heard();
    await thread.worker.terminate();
  }
});
