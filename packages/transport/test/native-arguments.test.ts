import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import type { Addon } from '../src/native/binding.ts';
import { inThread } from './native-elsewhere.ts';

const addon = createRequire(import.meta.url)('../build/Release/cluster_fs.node') as Addon;

type Kind = 'address' | 'bytes' | 'flag' | 'int' | 'numbers' | 'sums' | 'text' | 'time';

/** What each function takes. Those that take something are here: the first test says so. */
const functions: Readonly<Record<Exclude<keyof Addon, 'pageSize' | 'createSpin'>, readonly Kind[]>> = {
  reserve: ['address'],
  mapFile: ['int', 'address', 'address', 'int', 'flag', 'flag', 'address'],
  mapAnonymous: ['address', 'address', 'int'],
  moveMapping: ['address', 'address', 'address'],
  protectMapping: ['address', 'address', 'int'],
  adviseMapping: ['address', 'address', 'int'],
  syncMapping: ['address', 'address'],
  unmap: ['address', 'address'],
  arrayBufferAt: ['address', 'address'],
  sharedArrayBufferAt: ['address', 'address'],
  detachArrayBuffer: ['bytes'],
  addressOf: ['numbers'],
  createMemfd: ['text', 'address'],
  sealFutureWrites: ['int'],
  allocateRange: ['int', 'address', 'address'],
  punchHole: ['int', 'address', 'address'],
  seekData: ['int', 'address'],
  seekHole: ['int', 'address'],
  fileSystemStats: ['int', 'numbers'],
  lockFile: ['int'],
  duplicate: ['int'],
  listenUnix: ['text', 'int', 'int'],
  connectUnix: ['text'],
  acceptUnix: ['int'],
  sendMessage: ['int', 'bytes', 'address', 'address', 'bytes'],
  sendParts: ['int', 'bytes'],
  receiveMessage: ['int', 'bytes', 'bytes'],
  peerCredentials: ['int', 'numbers'],
  peerGroups: ['int', 'numbers'],
  unreadBytes: ['int'],
  closeDescriptor: ['int'],
  shutdownSocket: ['int'],
  pollDescriptor: ['int', 'bytes'],
  watchPoll: ['bytes', 'int'],
  closePoll: ['bytes'],
  refPoll: ['bytes', 'flag'],
  spinOnce: ['bytes', 'int'],
  closeSpin: ['bytes'],
  createUserfault: ['int', 'flag', 'numbers'],
  registerUserfault: ['int', 'address', 'address', 'flag', 'flag', 'flag'],
  unregisterUserfault: ['int', 'address', 'address'],
  wakeUserfault: ['int', 'address', 'address'],
  writeProtectUserfault: ['int', 'address', 'address', 'flag'],
  copyUserfault: ['int', 'address', 'address', 'address', 'flag', 'flag'],
  continueUserfault: ['int', 'address', 'address'],
  poisonUserfault: ['int', 'address', 'address'],
  zeroUserfault: ['int', 'address', 'address'],
  readUserfaultEvents: ['int', 'numbers'],
  wakeFutex: ['address', 'int'],
  waitFutex: ['address', 'int', 'time'],
  waitFutexAny: ['numbers', 'time'],
  copyInFile: ['int', 'address', 'address', 'address'],
  copyInFileSync: ['int', 'address', 'address', 'address'],
  sumPages: ['bytes', 'sums', 'int'],
  readPages: ['int', 'numbers', 'bytes', 'sums', 'int'],
  readPagesNow: ['int', 'numbers', 'bytes', 'sums', 'int', 'flag'],
  guardRange: ['address', 'address', 'text'],
  unguardRange: ['address'],
  pauseGuarded: ['address', 'flag'],
};

const never = [undefined, null, '1', 1n, {}, () => 1, Symbol('x'), Number.NaN];
const noNumber = [...never, [], true, new Uint8Array(4)];
/** What no argument of a kind may be. */
const wrong: Readonly<Record<Kind, readonly unknown[]>> = {
  address: [...noNumber, -1, 0.5, 2 ** 53, -0.5, Number.NEGATIVE_INFINITY],
  int: [...noNumber, 0.5, 2 ** 32, -(2 ** 32), Number.POSITIVE_INFINITY],
  time: [...noNumber, -1, -0.5, Number.NEGATIVE_INFINITY],
  flag: [undefined, null, 0, 1, 'true', {}],
  text: [undefined, null, 1, {}, [], Symbol('x'), 'zero\0byte'],
  bytes: [undefined, null, 1, 'bytes', {}, new Uint16Array(4), new DataView(new ArrayBuffer(8))],
  numbers: [undefined, null, 1, 'bytes', {}, [1], []],
  sums: [undefined, null, 1n, 'bytes', {}, [1n], new BigInt64Array(8), new Float64Array(8)],
};
/** What an argument of a kind may be, and no call succeeds with. */
const right: Readonly<Record<Kind, unknown>> = {
  address: 0,
  int: 0,
  time: 0,
  flag: false,
  text: '',
  bytes: new Uint8Array(256),
  numbers: new Float64Array(8),
  sums: new BigUint64Array(8),
};

describe('the addon', () => {
  test('has these functions and no others', () => {
    expect(Object.keys(addon).sort()).toEqual([...Object.keys(functions), 'pageSize', 'createSpin'].sort());
  });

  test.each(Object.entries(functions))('%s refuses whatever it does not take', (name, kinds) => {
    const call = addon[name as keyof Addon] as (...args: unknown[]) => unknown;
    for (const [i, kind] of kinds.entries()) {
      for (const value of wrong[kind]) {
        const args = kinds.map((each) => right[each]);
        args[i] = value;
        expect(() => call(...args), `argument ${i}: ${String(value)}`).toThrow(TypeError);
      }
    }
    expect(() => call()).toThrow(TypeError);
  });

  test('reads descriptors before bytes, which a getter may take away', () => {
    const bytes = new Uint8Array(new ArrayBuffer(8));
    const trap = Object.defineProperty([], 0, {
      get: () => {
        addon.detachArrayBuffer(bytes.buffer);
        return 0;
      },
    });
    expect(() => addon.sendMessage(0, bytes, 0, 8, trap)).toThrow(/bytes must be/);
  });

  test('reads all parts before the bytes of the first, which a getter may take away', () => {
    const first = new Uint8Array(new ArrayBuffer(8));
    const trap = Object.defineProperty([first], 1, {
      get: () => {
        addon.detachArrayBuffer(first.buffer);
        return new Uint8Array(1);
      },
    });
    expect(() => addon.sendParts(0, trap)).toThrow(/parts must be/);
  });

  test('loads and ends in many threads at once', async () => {
    const threads = Array.from({ length: 8 }, () =>
      inThread(({ native, tell }, _) => {
        const address = native.reserveAddressRange(native.pageSize);
        native.mapAnonymous({ address, length: native.pageSize, protection: 'read-write' });
        const bytes = new Uint8Array(native.arrayBufferAt(address, native.pageSize));
        bytes[0] = 5;
        tell(bytes[0]);
      }, undefined),
    );
    expect(await Promise.all(threads.map(({ heard }) => heard()))).toEqual(Array(8).fill(5));
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  });
});
