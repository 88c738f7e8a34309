import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import * as native from '../src/native.ts';
import { inProcess, inThread } from './native-elsewhere.ts';

const readable = { readable: true, writable: false };
const writable = { readable: false, writable: true };
const nothing = { readable: false, writable: false };

/** Both ends of a connection. */
function pair(): [number, number] {
  const folder = mkdtempSync(join(tmpdir(), 'poll-'));
  const listener = native.listenUnix(join(folder, 's'));
  const near = native.connectUnix(join(folder, 's'));
  const far = native.acceptUnix(listener) ?? -1;
  native.closeDescriptor(listener);
  rmSync(folder, { recursive: true });
  return [near, far];
}

function keptPair(): [number, number] {
  const ends = pair();
  onTestFinished(() => ends.forEach(native.closeDescriptor));
  return ends;
}

function keptPoll(fd: number, callback: (bits: number) => void): native.DescriptorPoll {
  const poll = native.pollDescriptor(fd, callback);
  onTestFinished(() => poll.close());
  return poll;
}

const send = (fd: number, length = 1) => native.sendMessage(fd, new Uint8Array(length), 0, length, []);
const receive = (fd: number, length = 64) => native.receiveMessage(fd, new Uint8Array(length), []);

/** A path for a socket. */
function socket(): { path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'poll-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return { path: join(folder, 's') };
}

/** One turn of the event loop: everything that is ready now has been told. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await turn();
};

describe('a poll', () => {
  test('tells when there is something to read, for as long as there is', async () => {
    const [near, far] = keptPair();
    const told: number[] = [];
    keptPoll(far, (bits) => {
      told.push(bits);
      if (told.length === 3) receive(far);
    }).watch(readable);
    await turns(3);
    expect(told).toEqual([]);
    send(near);
    await turns(6);
    expect(told).toEqual([native.readableBit, native.readableBit, native.readableBit]);
  });

  test('tells when there is room to write', async () => {
    const [near, far] = keptPair();
    while (send(near, 1 << 20) !== undefined);
    let room = 0;
    const poll = keptPoll(near, (bits) => {
      expect(bits).toBe(native.writableBit);
      room++;
      poll.watch(nothing);
    });
    poll.watch(writable);
    await turns(3);
    expect(room).toBe(0);
    while (receive(far, 1 << 20) !== undefined);
    await turns(3);
    expect(room).toBe(1);
  });

  test('runs ticks and promises before the next callback', async () => {
    const [near, far] = keptPair();
    const order: string[] = [];
    for (const [name, fd] of [near, far].entries()) {
      const poll = keptPoll(fd, () => {
        poll.watch(nothing);
        order.push(`callback ${name}`);
        process.nextTick(() => order.push(`tick ${name}`));
        void Promise.resolve().then(() => order.push(`promise ${name}`));
      });
      poll.watch(writable);
    }
    await turns(3);
    expect(order).toEqual(['callback 0', 'tick 0', 'promise 0', 'callback 1', 'tick 1', 'promise 1']);
  });

  test('tells no more once it is closed, which it can be by its own callback', async () => {
    const [near] = keptPair();
    const callback = vi.fn(() => poll.close());
    const poll = keptPoll(near, callback);
    poll.watch(writable);
    await turns(3);
    expect(callback).toHaveBeenCalledTimes(1);
    poll.close();
    poll.watch(writable);
    poll.ref();
    poll.unref();
    await turns(3);
    expect(callback).toHaveBeenCalledTimes(1);
  });

  test('tells the bytes that came before an error, then the error', async () => {
    const [near, far] = pair();
    send(near, 3);
    send(far);
    native.closeDescriptor(near); // with a byte unread, which is what resets the connection
    const seen: (number | undefined | string)[] = [];
    const end = new Promise<void>((resolve) => {
      const poll = native.pollDescriptor(far, () => {
        try {
          seen.push(receive(far, 1));
        } catch (error) {
          seen.push(String((error as NodeJS.ErrnoException).code));
          poll.close();
          resolve();
        }
      });
      poll.watch(readable);
    });
    await end;
    native.closeDescriptor(far);
    expect(seen).toEqual([1, 1, 1, 'ECONNRESET']);
  });

  test('shows the end of a stream as readable', async () => {
    const [near, far] = keptPair();
    native.shutdownSocket(near);
    const end = new Promise((resolve) => {
      const poll = keptPoll(far, () => {
        resolve(receive(far));
        poll.close();
      });
      poll.watch(readable);
    });
    expect(await end).toBe(0);
  });

  test('takes no harm from a descriptor that is closed too early', async () => {
    const [near, far] = pair();
    const poll = keptPoll(far, () => undefined);
    poll.watch(readable);
    native.closeDescriptor(far);
    poll.watch(writable);
    await turns(3);
    poll.close();
    native.closeDescriptor(near);
    await turns(3);
  });

  test('shares a descriptor with another', async () => {
    const [near] = keptPair();
    const counts = [0, 0];
    const polls = counts.map((_, i) =>
      keptPoll(near, () => {
        counts[i] = (counts[i] ?? 0) + 1;
        polls[i]?.watch(nothing);
      }),
    );
    for (const poll of polls) poll.watch(writable);
    await turns(3);
    expect(counts).toEqual([1, 1]);
  });

  test('gives back its descriptor', async () => {
    const [near] = keptPair();
    const before = native.openDescriptorCount();
    for (let i = 0; i < 1000; i++) {
      const poll = native.pollDescriptor(near, () => undefined);
      poll.watch(readable);
      poll.close();
    }
    expect(native.openDescriptorCount()).toBe(before);
    await turn();
  });

  test('refuses what is always ready, or not open', () => {
    const file = openSync('/proc/self/exe', 'r');
    const before = native.openDescriptorCount();
    expect(() => native.pollDescriptor(file, () => undefined)).toThrow(/EPERM.*poll/);
    expect(native.openDescriptorCount()).toBe(before);
    native.closeDescriptor(file);
    expect(() => native.pollDescriptor(file, () => undefined)).toThrow(/EBADF/);
    // @ts-expect-error: callers without types
    expect(() => native.pollDescriptor(0)).toThrow(/callback must be a function/);
  });
});

describe('in a process of its own, a poll', () => {
  test('turns what its callback throws into an uncaughtException, and goes on', async () => {
    const child = inProcess(({ native, require, tell }, { path }) => {
      const process = require('node:process');
      const listener = native.listenUnix(path);
      native.connectUnix(path);
      let calls = 0;
      const poll = native.pollDescriptor(listener, () => {
        calls++;
        if (calls === 2) poll.close();
        throw new Error(`call ${calls}`);
      });
      process.on('uncaughtException', ({ message }: Error) => tell(message));
      poll.watch({ readable: true, writable: false });
      return new Promise<void>((resolve) => process.on('uncaughtException', () => calls === 2 && resolve()));
    }, socket());
    expect(await child.heard()).toBe('call 1');
    expect(await child.heard()).toBe('call 2');
    expect((await child.ended).code).toBe(0);
  });

  test('keeps it alive, unless it is told not to', async () => {
    const at = socket();
    const kept = inProcess(({ native, tell }, { path }) => {
      const poll = native.pollDescriptor(native.listenUnix(path), () => poll.close());
      poll.watch({ readable: true, writable: false });
      tell('watching');
    }, at);
    const free = inProcess(({ native }, { path }) => {
      const poll = native.pollDescriptor(native.listenUnix(path), () => undefined);
      poll.watch({ readable: true, writable: false });
      poll.unref();
    }, socket());
    expect((await free.ended).code).toBe(0);
    await kept.heard();
    expect(process.kill(kept.pid, 0)).toBe(true);
    const fd = native.connectUnix(at.path);
    expect((await kept.ended).code).toBe(0);
    native.closeDescriptor(fd);
  });
});

test('threads that end with live polls leave nothing behind', async () => {
  const [near] = keptPair();
  const before = native.openDescriptorCount();
  for (let round = 0; round < 5; round++) {
    const threads = Array.from({ length: 4 }, () =>
      inThread(({ native, tell }, fd) => {
        for (let i = 0; i < 10; i++) {
          native.pollDescriptor(fd, () => undefined).watch({ readable: true, writable: i % 2 === 0 });
        }
        const closed = native.pollDescriptor(fd, () => undefined);
        closed.watch({ readable: true, writable: true });
        closed.close();
        tell('watching');
      }, near),
    );
    await Promise.all(threads.map(({ heard }) => heard()));
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }
  expect(native.openDescriptorCount()).toBe(before);
});
