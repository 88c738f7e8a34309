import { closeSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { markAsUntransferable } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { inProcess, inThread } from './native-elsewhere.ts';

const { pageSize } = native;

function writablePages(count: number): number {
  const length = count * pageSize;
  const address = native.reserveAddressRange(length);
  native.mapAnonymous({ address, length, protection: 'read-write' });
  onTestFinished(() => native.unmap(address, length));
  return address;
}

describe('an ArrayBuffer over a mapping', () => {
  test('is nothing after it was detached, and so is every array on it', () => {
    const buffer = native.arrayBufferAt(writablePages(1), pageSize);
    const bytes = new Uint8Array(buffer);
    const words = new Int32Array(buffer, 64, 4);
    bytes[64] = 5;
    expect(words[0]).toBe(5);
    native.detachArrayBuffer(buffer);
    expect([buffer.byteLength, bytes.length, words.length, bytes[64]]).toEqual([0, 0, 0, undefined]);
  });

  test('shares its memory with others, in any thread', async () => {
    const address = writablePages(1);
    const bytes = new Uint8Array(native.arrayBufferAt(address, pageSize));
    const again = new Uint8Array(native.arrayBufferAt(address, pageSize));
    bytes[0] = 7;
    const thread = inThread(({ native, tell }, address) => {
      const bytes = new Uint8Array(native.arrayBufferAt(address, native.pageSize));
      bytes[1] = 42;
      tell(bytes[0]);
    }, address);
    expect(await thread.heard()).toBe(7);
    expect([bytes[1], again[1]]).toEqual([42, 42]);
  });

  test('cannot slip away into another thread, where nobody could detach it', () => {
    const buffer = native.arrayBufferAt(writablePages(1), pageSize);
    try {
      structuredClone(buffer, { transfer: [buffer] });
    } catch (error) {
      // Newer Nodes say so; older ones copy.
      expect(String(error)).toMatch(/Cannot transfer object|key doesn't match/);
    }
    expect(buffer.byteLength).toBe(pageSize);
    native.detachArrayBuffer(buffer);
  });

  test('a hundred views of a gigabyte start no garbage collection', async () => {
    const process = inProcess(
      async ({ native, require, tell }) => {
        const { constants, PerformanceObserver } = require('node:perf_hooks');
        const kinds: number[] = [];
        // Records come late and in order: when the one that is forced at the end has come, all have.
        const all = new Promise<void>((resolve) => {
          new PerformanceObserver((list: { getEntries(): { detail: { kind: number; flags: number } }[] }) => {
            for (const { detail } of list.getEntries()) {
              if ((detail.flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0) resolve();
              else kinds.push(detail.kind);
            }
          }).observe({ entryTypes: ['gc'] });
        });
        const address = native.reserveAddressRange(2 ** 30);
        const buffers = Array.from({ length: 100 }, () => native.arrayBufferAt(address, 2 ** 30));
        const { external } = require('node:process').memoryUsage();
        for (const buffer of buffers) native.detachArrayBuffer(buffer);
        globalThis.gc?.();
        await all;
        tell({ external, full: kinds.filter((kind) => kind !== constants.NODE_PERFORMANCE_GC_MINOR) });
      },
      {},
      { execArgv: ['--expose-gc'] },
    );
    const { external, full } = (await process.heard()) as { external: number; full: number[] };
    expect(full).toEqual([]);
    expect(external).toBeLessThan(2 ** 30);
  });

  test('ten thousand of them leave nothing behind', async () => {
    const process = inProcess(
      async ({ native, require, tell }) => {
        const { readFileSync } = require('node:fs');
        const { setImmediate: turn } = require('node:timers/promises');
        const { pageSize } = native;
        const cycle = () => {
          const fd = native.createMemfd('cycle', pageSize);
          const address = native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read-write' });
          const buffer = native.arrayBufferAt(address, pageSize);
          new Uint8Array(buffer)[0] = 1;
          native.detachArrayBuffer(buffer);
          native.unmap(address, pageSize);
          native.closeDescriptor(fd);
        };
        const measure = async () => {
          await turn();
          globalThis.gc?.();
          const mappings = readFileSync('/proc/self/maps', 'utf8').split('\n');
          return {
            descriptors: native.openDescriptorCount(),
            files: mappings.filter((line: string) => line.includes('memfd:cycle')).length,
            rss: require('node:process').memoryUsage.rss(),
          };
        };
        for (let i = 0; i < 2000; i++) cycle();
        const before = await measure();
        for (let i = 0; i < 10_000; i++) cycle();
        tell({ before, after: await measure() });
      },
      {},
      { execArgv: ['--expose-gc'] },
    );
    const { before, after } = (await process.heard()) as Record<string, Record<string, number>>;
    expect(after?.descriptors).toBe(before?.descriptors);
    expect(after?.files).toBe(0);
    expect(Number(after?.rss) - Number(before?.rss)).toBeLessThan(16 << 20);
  });

  test.each([
    [0, 4096],
    [4096, 0],
    [-4096, 4096],
    [Number.NaN, 4096],
    [4096, Number.NaN],
    [4096.5, 4096],
    [4096, 2 ** 47],
    [2 ** 52, 4096],
  ])('is refused at %d with %d bytes', (address, length) => {
    expect(() => native.arrayBufferAt(address, length)).toThrow(TypeError);
    expect(() => native.sharedArrayBufferAt(address, length)).toThrow(TypeError);
  });

  test('stays or goes, and nothing worse, when it is marked by others', () => {
    const marked = new ArrayBuffer(8);
    markAsUntransferable(marked);
    let left = 0;
    try {
      native.detachArrayBuffer(marked);
    } catch (error) {
      // Newer Nodes mark by a key, which they keep.
      expect(error).toMatchObject({ code: 'EINVAL' });
      left = 8;
    }
    expect(marked.byteLength).toBe(left);
  });

  test('is refused for what is none', () => {
    // @ts-expect-error: callers without types
    expect(() => native.detachArrayBuffer(new Uint8Array(8))).toThrow(/buffer must be an ArrayBuffer/);
    const shared = native.sharedArrayBufferAt(writablePages(1), pageSize);
    // @ts-expect-error: callers without types
    expect(() => native.detachArrayBuffer(shared)).toThrow(TypeError);
  });
});

describe('a SharedArrayBuffer over a mapping', () => {
  test('is the same memory in every thread that gets it', async () => {
    const address = writablePages(1);
    const words = new Int32Array(native.sharedArrayBufferAt(address, pageSize));
    words[3] = 5;
    const thread = inThread(({ tell }, words) => tell(Atomics.add(words, 3, 10)), words);
    expect(await thread.heard()).toBe(5);
    expect(new Int32Array(native.arrayBufferAt(address, pageSize))[3]).toBe(15);
  });
});

/** What a Node gets for which v8_buffer.cc was not built. */
describe('by Node-API alone', () => {
  const addon = createRequire(import.meta.url)('../build/Release/cluster_fs.node');

  test('an ArrayBuffer works and detaches', () => {
    const buffer = addon.arrayBufferAt(writablePages(1), pageSize);
    expect(buffer.byteLength).toBe(pageSize);
    expect(addon.detachArrayBuffer(buffer)).toBe(0);
    expect(buffer.byteLength).toBe(0);
  });

  test('a SharedArrayBuffer works, or is not supported', () => {
    const made = addon.sharedArrayBufferAt(writablePages(1), pageSize);
    const supported = made instanceof SharedArrayBuffer;
    expect(supported ? made.byteLength : made).toBe(supported ? pageSize : -95);
  });
});

describe('the address of an array', () => {
  test('is where its first element is', () => {
    const address = writablePages(1);
    const buffer = native.arrayBufferAt(address, pageSize);
    expect(native.addressOf(new Uint8Array(buffer))).toBe(address);
    expect(native.addressOf(new Float64Array(buffer, 64))).toBe(address + 64);
    expect(native.addressOf(new DataView(buffer, 3))).toBe(address + 3);
    expect(native.addressOf(new Uint8Array(native.sharedArrayBufferAt(address, 8), 4))).toBe(address + 4);
  });

  test('holds for memory of the heap too', () => {
    const from = Buffer.from('some bytes');
    const memory = openSync('/proc/self/mem', 'r');
    const to = Buffer.alloc(from.length);
    readSync(memory, to, 0, to.length, native.addressOf(from));
    closeSync(memory);
    expect(to.toString()).toBe('some bytes');
  });

  test('is refused where there is none', () => {
    const gone = new Uint8Array(native.arrayBufferAt(writablePages(1), pageSize));
    native.detachArrayBuffer(gone.buffer as ArrayBuffer);
    expect(() => native.addressOf(gone)).toThrow(TypeError);
    // @ts-expect-error: callers without types
    expect(() => native.addressOf({})).toThrow(/view must be/);
  });
});
