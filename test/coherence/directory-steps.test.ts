/** Steps of a directory that are remembered are those that its table says. */
import {
  atRest,
  type DirectoryEvent,
  DirectorySteps,
  directoryTable,
  type Entry,
  ownCache,
  stepDirectory,
} from 'cluster-fs/coherence';
import { expect, test } from 'vitest';

const events = Object.keys(directoryTable.idle) as DirectoryEvent[];

/** The step, or why there is none. */
function outcome(step: () => unknown): unknown {
  try {
    return step();
  } catch (error) {
    return String(error);
  }
}

test('a remembered step is what the table says, whoever comes and goes', () => {
  const steps = new DirectorySteps();
  let random = 42;
  const below = (limit: number): number => {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((random / 2 ** 32) * limit);
  };
  const entries: Entry[] = Array.from({ length: 8 }, () => atRest);
  const refused: unknown[] = [];
  for (let i = 0; i < 30_000; i++) {
    const which = below(entries.length);
    const entry = entries[which] as Entry;
    const event = events[below(events.length)] as DirectoryEvent;
    // Three at a time, and every hundred steps another one: more steps than are kept.
    const from = [ownCache, 1 + Math.floor(i / 100), 2 + Math.floor(i / 100)][below(3)] as number;
    const fresh = outcome(() => stepDirectory(entry, { event, from }));
    const remembered = outcome(() => steps.take(entry, event, from));
    if (typeof fresh === 'string') refused.push(fresh);
    expect(remembered).toEqual(fresh);
    if (typeof remembered === 'object') entries[which] = (remembered as { entry: Entry }).entry;
    if ((entries[which]?.queue.length ?? 0) > 4) entries[which] = atRest;
  }
  expect(refused.length).toBeGreaterThan(1000);
});

test('caches that take turns go round, and make nothing new', () => {
  const steps = new DirectorySteps();
  const turn = (entry: Entry, from: number, to: number): Entry => {
    const asked = steps.take(entry, 'getExclusive', to);
    return steps.take(asked.entry, 'returned', from).entry;
  };
  const round = (entry: Entry): Entry => turn(turn(entry, 1, 2), 2, 1);
  const first = round(turn(atRest, ownCache, 1));
  const seen = new Set<Entry>();
  let entry = first;
  for (let i = 0; i < 1000; i++) {
    entry = round(entry);
    seen.add(entry);
  }
  expect([...seen]).toEqual([first]);
  expect(first.owner).toBe(1);
});
