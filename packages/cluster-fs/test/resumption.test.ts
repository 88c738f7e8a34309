/** What the two threads of a client say to each other about copies by a segment of before. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest';
import { DataAccess } from '../src/client/data-access.ts';
import { Resumption } from '../src/client/resumption.ts';
import { flag } from '../src/client/worker-protocol.ts';

const patienceMs = 1000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Something to hold: as good as a lock. */
function lock(): number {
  const fd = openSync('/dev/null', 'r');
  onTestFinished(() => {
    if (isOpen(fd)) closeSync(fd);
  });
  return fd;
}

const isOpen = (fd: number): boolean => {
  try {
    return fstatSync(fd).isCharacterDevice();
  } catch {
    return false;
  }
};

/** Both threads in one, with a session of before; `told` is how often the node was. */
function pair() {
  const flags = new Int32Array(new SharedArrayBuffer(flag.length * 4));
  const locks = [lock(), lock()] as const;
  const told = { times: 0 };
  const say = () => {
    // Before that the node would see that it has to wait still.
    expect(locks.map(isOpen)).toEqual([false, true]);
    told.times++;
    return Promise.resolve();
  };
  const resumption = new Resumption({ flags, say });
  for (const each of locks) resumption.opened(each);
  return { flags, told, locks, resumption, access: new DataAccess(flags) };
}

test('a thread that has the new segment says so, and nothing is forced', async () => {
  const { flags, told, locks, resumption, access } = pair();
  access.renew(resumption.back());
  expect(locks.map(isOpen)).toEqual([true, true]);
  resumption.drained(access.times);
  await vi.advanceTimersByTimeAsync(2 * patienceMs);
  expect(told.times).toBe(1);
  expect(Atomics.load(flags, flag.forced)).toBe(0);
  expect(access.begin()).toBe(true);
});

test('of several sessions of before the first is held', () => {
  const { locks, resumption } = pair();
  const third = lock();
  resumption.opened(third);
  expect([...locks, third].map(isOpen)).toEqual([true, false, true]);
});

test('at the end everything is let go', () => {
  const { locks, resumption } = pair();
  resumption.close();
  expect(locks.map(isOpen)).toEqual([false, false]);
});

test('for a thread that does not turn it is said, and it copies nothing by the old segment', async () => {
  const { told, resumption, access } = pair();
  const times = resumption.back();
  await vi.advanceTimersByTimeAsync(patienceMs - 1);
  expect(told.times).toBe(0);
  expect(access.begin()).toBe(true);
  access.end();
  await vi.advanceTimersByTimeAsync(1);
  expect(told.times).toBe(1);
  expect(access.begin()).toBe(false);
  const renewed = access.renewed();
  access.renew(times);
  await renewed;
  expect(access.renewed()).toBe(undefined);
  expect(access.begin()).toBe(true);
});

test('a copy that is under way is waited for', async () => {
  const { told, resumption, access } = pair();
  let end = (): void => undefined;
  expect(access.begin()).toBe(true);
  access.pooled(new Promise((resolve) => (end = resolve)));
  resumption.back();
  await vi.advanceTimersByTimeAsync(3 * patienceMs);
  expect(told.times).toBe(0);
  end();
  await access.drained();
  await vi.advanceTimersByTimeAsync(patienceMs);
  expect(told.times).toBe(1);
});

test('of a time that is over nothing is said', async () => {
  const { told, resumption } = pair();
  const first = resumption.back();
  resumption.stop();
  await vi.advanceTimersByTimeAsync(2 * patienceMs);
  resumption.back();
  resumption.drained(first);
  expect(told.times).toBe(0);
});

test('while the node is away again nothing is let go', async () => {
  const { told, locks, resumption } = pair();
  const times = resumption.back();
  resumption.stop();
  resumption.drained(times);
  await vi.advanceTimersByTimeAsync(2 * patienceMs);
  expect(locks.map(isOpen)).toEqual([true, true]);
  expect(told.times).toBe(0);
});
