import { describe, expect, onTestFinished, test, vi } from 'vitest';
import * as native from '../src/native.ts';
import { inProcess, inThread } from './native-elsewhere.ts';

const { pageSize } = native;

interface Words {
  readonly fd: number;
  readonly address: number;
  readonly words: Int32Array;
}

function sharedWords(): Words {
  const fd = native.createMemfd('futex-test', pageSize);
  const address = native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read-write' });
  onTestFinished(() => {
    native.unmap(address, pageSize);
    native.closeDescriptor(fd);
  });
  return { fd, address, words: new Int32Array(native.arrayBufferAt(address, pageSize)) };
}

/** Waits until somebody sleeps on the word, and wakes them. */
const wake = (address: number): Promise<void> =>
  vi.waitFor(() => expect(native.wakeFutex(address, 1)).toBe(1), { timeout: 10_000, interval: 1 });

describe('a futex', () => {
  test('wakes nobody when nobody waits', () => {
    expect(native.wakeFutex(sharedWords().address, 1)).toBe(0);
  });

  test('does not wait for what has changed already, or longer than it may', () => {
    const { address, words } = sharedWords();
    words[0] = -5;
    expect(native.waitFutex(address, 0, 1000)).toBe('not-equal');
    expect(native.waitFutex(address, -5, 0)).toBe('timed-out');
    expect(native.waitFutex(address, -5, 1.5)).toBe('timed-out');
    expect(native.waitFutexAny([{ address, expected: 0 }], 1000)).toBe('not-equal');
    expect(native.waitFutexAny([{ address, expected: -5 }], 0.5)).toBe('timed-out');
  });

  test('wakes a thread that waits for ever', async () => {
    const { address } = sharedWords();
    const thread = inThread(
      ({ native, tell }, address) => tell(native.waitFutex(address, 0, Number.POSITIVE_INFINITY)),
      address,
    );
    await wake(address);
    expect(await thread.heard()).toBe('woken');
  });

  test('wakes another process, which has the page at another address', async () => {
    const { address, words, fd } = sharedWords();
    const child = inProcess(
      ({ native, require, tell }, { path }) => {
        native.reserveAddressRange(1 << 30);
        const fd = require('node:fs').openSync(path, 'r+');
        const whole = { fd, offset: 0, length: native.pageSize, protection: 'read-write' } as const;
        const address = native.mapFile(whole);
        const words = new Int32Array(native.arrayBufferAt(address, native.pageSize));
        tell([native.waitFutex(address, 0, Number.POSITIVE_INFINITY), Atomics.load(words, 1)]);
      },
      { path: `/proc/${process.pid}/fd/${fd}` },
    );
    Atomics.store(words, 1, 7);
    await wake(address);
    expect(await child.heard()).toEqual(['woken', 7]);
  });

  test('tells which of many was woken', async () => {
    const { address } = sharedWords();
    const thread = inThread(({ native, tell }, address) => {
      const waits = Array.from({ length: 128 }, (_, i) => ({ address: address + i * 4, expected: 0 }));
      tell(native.waitFutexAny(waits, Number.POSITIVE_INFINITY));
      tell(native.waitFutexAny(waits, 10_000));
    }, address);
    await wake(address + 127 * 4);
    expect(await thread.heard()).toBe(127);
    await wake(address + 3 * 4);
    expect(await thread.heard()).toBe(3);
  });

  test('refuses what is no word', () => {
    const { address } = sharedWords();
    expect(() => native.waitFutex(address + 2, 0, 0)).toThrow(/EINVAL.*futex/);
    expect(() => native.waitFutex(8, 0, 0)).toThrow(/EFAULT/);
    expect(() => native.wakeFutex(address + 1, 1)).toThrow(/EINVAL/);
    expect(() => native.wakeFutex(address, -1)).toThrow(/count must be/);
    expect(() => native.waitFutex(address, 2 ** 31, 0)).toThrow(/expected must be/);
    expect(() => native.waitFutex(address, 0, Number.NaN)).toThrow(/timeoutMs must be/);
    expect(() => native.waitFutex(address, 0, -1)).toThrow(/timeoutMs must be/);
  });

  test('refuses a list that is none', () => {
    const { address } = sharedWords();
    const word = { address, expected: 0 };
    expect(() => native.waitFutexAny([], 0)).toThrow(/waits must be/);
    expect(() => native.waitFutexAny(Array(129).fill(word), 0)).toThrow(/waits must be 1 to 128/);
    expect(() => native.waitFutexAny([word, { address: Number.NaN, expected: 0 }], 0)).toThrow(TypeError);
    expect(() => native.waitFutexAny([word, { address, expected: 0.5 }], 0)).toThrow(TypeError);
    expect(() => native.waitFutexAny([word, { address: 8, expected: 0 }], 0)).toThrow(/EFAULT.*futex_waitv/);
  });
});
