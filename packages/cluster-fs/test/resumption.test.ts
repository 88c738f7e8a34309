/** What the two threads of a client say to each other about copies by a segment of before. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
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

/** Both threads in one: `said` are the sessions that the node was told of. */
function pair() {
  const flags = new Int32Array(new SharedArrayBuffer(flag.length * 4));
  const said: (readonly number[])[] = [];
  const say = (sessions: readonly number[]) => {
    said.push(sessions);
    return Promise.resolve();
  };
  const resumption = new Resumption({ flags, say, said: () => undefined });
  resumption.opened(1);
  resumption.opened(2);
  return { flags, said, resumption, access: new DataAccess(flags) };
}

test('a thread that has the new segment says so, and nothing is forced', async () => {
  const { flags, said, resumption, access } = pair();
  access.renew(resumption.back());
  resumption.drained(access.times, [7]);
  await vi.advanceTimersByTimeAsync(2 * patienceMs);
  expect(said).toEqual([[1, 7]]);
  expect(resumption.sessions).toEqual([2]);
  expect(Atomics.load(flags, flag.forced)).toBe(0);
  expect(access.begin()).toBe(true);
});

test('for a thread that does not turn it is said, and it copies nothing by the old segment', async () => {
  const { said, resumption, access } = pair();
  const times = resumption.back();
  await vi.advanceTimersByTimeAsync(patienceMs - 1);
  expect(said).toEqual([]);
  expect(access.begin()).toBe(true);
  access.end();
  await vi.advanceTimersByTimeAsync(1);
  expect(said).toEqual([[1]]);
  expect(access.begin()).toBe(false);
  const renewed = access.renewed();
  access.renew(times);
  await renewed;
  expect(access.renewed()).toBe(undefined);
  expect(access.begin()).toBe(true);
});

test('a copy that is under way is waited for', async () => {
  const { said, resumption, access } = pair();
  let end = (): void => undefined;
  expect(access.begin()).toBe(true);
  access.pooled(new Promise((resolve) => (end = resolve)));
  resumption.back();
  await vi.advanceTimersByTimeAsync(3 * patienceMs);
  expect(said).toEqual([]);
  end();
  await access.drained();
  await vi.advanceTimersByTimeAsync(patienceMs);
  expect(said).toEqual([[1]]);
});

test('of a time that is over nothing is said', async () => {
  const { said, resumption } = pair();
  const first = resumption.back();
  resumption.stop();
  await vi.advanceTimersByTimeAsync(2 * patienceMs);
  resumption.back();
  resumption.drained(first, []);
  expect(said).toEqual([]);
});
