import { describe, expect, test } from 'vitest';
import { limitsWith } from '../src/limits.ts';
import { UserLoad, UserLoads } from '../src/user-load.ts';

describe('the turn of a user', () => {
  test('is shared by its connections, and comes again with the next turn of the event loop', async () => {
    const load = new UserLoad(limitsWith({ turnMs: 10 }));
    const first = load.turnMs();
    expect(first).toBeGreaterThan(0);
    expect(load.spend(9, 5)).toBe(0);
    expect(load.turnMs()).toBe(Math.min(first, 1));
    load.spend(3, 5);
    expect(load.turnMs()).toBeLessThanOrEqual(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(load.turnMs()).toBe(first);
  });
});

test('messages ahead of their time are paused for, but for a burst', () => {
  const load = new UserLoad(limitsWith({ messagesPerSecond: 1000 }));
  expect(load.spend(0, 50)).toBe(0);
  expect(load.spend(0, 1000)).toBeGreaterThan(0);
  expect(load.spend(0, 1_000_000)).toBeGreaterThan(900_000);
  expect(new UserLoad(limitsWith()).spend(0, 1_000_000)).toBe(0);
});

describe('the memory of a user', () => {
  const KiB = 1024;

  test('is what is kept less what was given back', () => {
    const load = new UserLoad(limitsWith({ keptBytes: 1000 * KiB }));
    expect([load.keep(600 * KiB, 600 * KiB), load.keep(400 * KiB, 1000 * KiB)]).toEqual([true, true]);
    expect(load.keep(1, 1000 * KiB + 1)).toBe(false);
    load.keep(-1, 0);
    expect([load.keep(-1000 * KiB, 0), load.keep(1000 * KiB, 1000 * KiB)]).toEqual([true, true]);
  });

  test('is not refused to a connection that keeps little', () => {
    const load = new UserLoad(limitsWith({ keptBytes: 1000 * KiB }));
    load.keep(2000 * KiB, 2000 * KiB);
    expect([load.keep(10, 64 * KiB), load.keep(10, 65 * KiB)]).toEqual([true, false]);
  });

  test('still counts when its connections are gone and a request of them is not done', () => {
    const loads = new UserLoads(limitsWith({ keptBytes: 100 }));
    loads.enter(1)?.keep(80, 80);
    loads.leave(1);
    expect(loads.enter(1)?.keptBytes).toBe(80);
    expect(loads.enter(2)?.keptBytes).toBe(0);
  });
});

test('a user has as many connections as it may, whatever others have', () => {
  const loads = new UserLoads(limitsWith({ connections: 2 }));
  const entered = [1, 1, 1, 2].map((uid) => loads.enter(uid) !== undefined);
  expect(entered).toEqual([true, true, false, true]);
  loads.leave(1);
  expect(loads.enter(1)).toBeDefined();
});

describe('limits', () => {
  test('are the defaults where nothing else is given', () => {
    expect(limitsWith({ views: 7, handles: undefined })).toEqual({ ...limitsWith(), views: 7 });
  });

  test.each([
    [{ view: 7 }, /no limit is called view; there are .*views/],
    [{ views: 0 }, /above 0/],
    [{ views: 1.5 }, /whole number/],
    [{ views: Number.NaN }, /whole number/],
  ])('%o is refused', (given, why) => {
    expect(() => limitsWith(given)).toThrow(why);
  });
});
