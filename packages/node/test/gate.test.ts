import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Hold, LayoutGate } from '../src/coordinator/gate.ts';

const deadlineMs = 1000;
const file = 7;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Who has entered, in order. */
function scene() {
  const gate = new LayoutGate({ deadlineMs });
  const entered: string[] = [];
  const broken: string[] = [];
  const holds = new Map<string, Hold>();
  const ask = (name: string, kind: Hold['kind'], ino = file) => {
    const hold = gate.acquire(ino, kind, () => broken.push(name));
    const enter = (h: Hold): void => {
      entered.push(name);
      holds.set(name, h);
    };
    if (hold instanceof Promise) void hold.then(enter);
    else enter(hold);
  };
  const leave = (name: string): void => {
    const hold = holds.get(name);
    if (hold !== undefined) gate.release(hold);
  };
  return { gate, entered, broken, ask, leave, settle: () => vi.advanceTimersByTimeAsync(0) };
}

describe('a layout gate', () => {
  test('lets many share, and one alone', async () => {
    const { entered, ask, leave, settle } = scene();
    ask('a', 'shared');
    ask('b', 'shared');
    ask('c', 'exclusive');
    await settle();
    expect(entered).toEqual(['a', 'b']);
    leave('a');
    await settle();
    expect(entered).toEqual(['a', 'b']);
    leave('b');
    await settle();
    expect(entered).toEqual(['a', 'b', 'c']);
  });

  test('is first come first served: who shares does not overtake who waits to be alone', async () => {
    const { entered, ask, leave, settle } = scene();
    ask('a', 'shared');
    ask('b', 'exclusive');
    ask('c', 'shared');
    ask('d', 'shared');
    leave('a');
    await settle();
    expect(entered).toEqual(['a', 'b']);
    leave('b');
    await settle();
    expect(entered).toEqual(['a', 'b', 'c', 'd']);
  });

  test('knows one file from another', async () => {
    const { entered, ask } = scene();
    ask('a', 'exclusive', 1);
    ask('b', 'exclusive', 2);
    expect(entered).toEqual(['a', 'b']);
  });

  test('is nothing when nobody is there', async () => {
    const { gate, ask, leave } = scene();
    expect(gate.isBusy(file)).toBe(false);
    ask('a', 'shared');
    expect(gate.isBusy(file)).toBe(true);
    leave('a');
    leave('a');
    expect(gate.isBusy(file)).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('breaks the hold of one who stays too long while others wait, and not before', async () => {
    const { entered, broken, ask } = scene();
    ask('stopped', 'shared');
    await vi.advanceTimersByTimeAsync(10 * deadlineMs);
    expect(broken).toEqual([]);
    ask('waiting', 'exclusive');
    await vi.advanceTimersByTimeAsync(deadlineMs);
    expect(broken).toEqual(['stopped']);
    expect(entered).toEqual(['stopped', 'waiting']);
  });

  test('does not break the hold of one who has just come in', async () => {
    const { entered, broken, ask } = scene();
    ask('stopped', 'exclusive');
    await vi.advanceTimersByTimeAsync(deadlineMs / 2);
    for (const name of ['next', 'third', 'fourth']) ask(name, 'exclusive');
    await vi.advanceTimersByTimeAsync(deadlineMs / 2 + 5);
    expect(broken).toEqual(['stopped']);
    expect(entered).toEqual(['stopped', 'next']);
    await vi.advanceTimersByTimeAsync(deadlineMs + 5);
    expect(broken).toEqual(['stopped', 'next']);
  });

  test('never breaks a change of the node itself', async () => {
    const { gate, entered, broken, ask } = scene();
    let finish = (): void => undefined;
    const moved = gate.exclusive(
      file,
      () =>
        new Promise<string>((resolve) => {
          finish = () => resolve('moved');
        }),
    );
    ask('waiting', 'shared');
    await vi.advanceTimersByTimeAsync(20 * deadlineMs);
    expect([entered, broken]).toEqual([[], []]);
    finish();
    expect(await moved).toBe('moved');
    await vi.advanceTimersByTimeAsync(0);
    expect(entered).toEqual(['waiting']);
  });

  test('is left when a change fails', async () => {
    const { gate, entered, ask, settle } = scene();
    const failed = gate.exclusive(file, () => Promise.reject(new Error('no space')));
    ask('next', 'exclusive');
    await expect(failed).rejects.toThrow('no space');
    await settle();
    expect(entered).toEqual(['next']);
  });

  test('a release after the hold was broken lets nobody in twice', async () => {
    const { entered, ask, leave, settle } = scene();
    ask('stopped', 'shared');
    ask('next', 'exclusive');
    ask('third', 'exclusive');
    await vi.advanceTimersByTimeAsync(deadlineMs + 5);
    expect(entered).toEqual(['stopped', 'next']);
    leave('stopped');
    await settle();
    expect(entered).toEqual(['stopped', 'next']);
    leave('next');
    await settle();
    expect(entered).toEqual(['stopped', 'next', 'third']);
  });
});
