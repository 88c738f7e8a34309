/**
 * Whether the cuts can find anything: a disk that forgets to flush, or a node that flushes too late, is found
 * by the same checks that find nothing in cut.test.ts. The node is the same; what it did is recorded, and the
 * record is altered.
 */
import { expect, test } from 'vitest';
import { extremes } from './choices.ts';
import { cutEverywhere, record } from './cut.ts';
import { ends } from './cut-steps.ts';
import { type Found, History } from './durable-model.ts';
import type { Call } from './recorder.ts';

/** Without those that make the data file: a store that is not there is easily found. */
const ofContent = (calls: readonly Call[], store: string): Set<Call> => {
  const all = calls.filter(({ path }) => path === `${store}/data`);
  return new Set(all.slice(all.findIndex(({ kind }) => kind === 'flushEnd') + 1));
};

const isFlush = ({ kind }: Call): boolean => kind === 'flushBegin' || kind === 'flushEnd';

/** What is found when the disk did not do what the node asked for, but what `alter` says. */
async function findingsOf(alter: (calls: readonly Call[], store: string) => Call[]): Promise<string[]> {
  const recorded = await record(ends);
  const calls = alter(recorded.calls, recorded.store);
  expect(calls).not.toEqual(recorded.calls);
  return [...(await cutEverywhere({ ...recorded, calls }, extremes)).findings];
}

const stores = ['/metadata.db', '/metadata.db-wal', '/log-a', ''];
test.each(stores)('flushes of the store%s that are ignored', { timeout: 60_000 }, async (name) => {
  const findings = await findingsOf((calls, store) =>
    calls.filter((call) => !(isFlush(call) && call.path === store + name)),
  );
  expect(findings).not.toEqual([]);
});

test('flushes of the data that are ignored', { timeout: 60_000 }, async () => {
  const findings = await findingsOf((calls, store) => {
    const content = ofContent(calls, store);
    return calls.filter((call) => !(isFlush(call) && content.has(call)));
  });
  expect(findings.join()).toContain('as it was written');
});

test('a commit that is on the disk before the data that it names', { timeout: 60_000 }, async () => {
  const findings = await findingsOf((calls, store) => {
    const content = ofContent(calls, store);
    const altered: Call[] = [];
    const late: Call[] = [];
    for (const call of calls) {
      if (isFlush(call) && content.has(call)) late.push(call);
      else altered.push(call);
      if (call.kind === 'flushEnd' && call.path.endsWith('-wal'))
        altered.push(...late.splice(0).map((flush) => ({ ...flush, end: call.end })));
    }
    return altered;
  });
  expect(findings.join()).toContain('as it was written');
});

test('the model takes no mixture, nothing too old, nothing too new, and no name that is not', () => {
  const history = new History();
  const at = (begun: number) => ({ name: `step at ${begun}`, begun, answered: begun + 5 });
  history.step(at(10), (m) => m.put('/a', 'first'));
  history.step(at(20), () => undefined, ['/a']);
  history.step(at(30), (m) => m.put('/a', 'second'));
  history.step(at(40), (m) => m.put('/b', 'never synced'));
  history.step(at(50), (m) => m.rename('/a', '/c'));
  history.step(at(60), (m) => m.put('/d', 'over'));
  history.step(at(70), (m) => m.rename('/d', '/c'));
  const found = (files: Readonly<Record<string, string>>): Found =>
    new Map(
      Object.entries(files).map(([path, text]) => [
        path,
        { kind: 'file' as const, mode: 0o644, bytes: Buffer.from(text) },
      ]),
    );
  const judge = (cut: number, files: Readonly<Record<string, string>>) => history.judge(found(files), cut);
  const right: [number, Record<string, string>][] = [
    [15, {}],
    [15, { '/a': 'first' }],
    [30, { '/a': 'first' }],
    [36, { '/a': 'second' }],
    [46, { '/a': 'second', '/b': 'never synced' }],
    [56, { '/c': 'first' }],
    [99, { '/a': 'first' }],
    [99, { '/c': 'second', '/d': 'over' }],
    [99, { '/c': 'over' }],
  ];
  for (const [cut, files] of right) expect(judge(cut, files), `${cut}`).toBeUndefined();
  const wrong: [number, Record<string, string>][] = [
    [15, { '/a': 'fir' }],
    [25, {}],
    [25, { '/a': 'second' }],
    [36, { '/a': 'fircond' }],
    [36, { '/a': 'first', '/b': 'never synced' }],
    [46, { '/a': 'first', '/b': 'never' }],
    [56, { '/a': 'first', '/c': 'first' }],
    [99, { '/c': 'over', '/d': 'over' }],
    [99, {}],
  ];
  for (const [cut, files] of wrong) expect(judge(cut, files), `${cut}`).toBeTypeOf('string');
});
