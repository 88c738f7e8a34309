/**
 * Losses of power after every call that changes the store, on a disk that loses what was not flushed: see
 * docs/testing.md.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { byChance, extremes } from './choices.ts';
import { cutEverywhere, isCut, type Recorded, record } from './cut.ts';
import { contents, ends, layouts, manySyncs, names } from './cut-steps.ts';
import { type Choice, Disk } from './disk.ts';
import { startRecorder } from './recorder.ts';

/** Subsets of the unflushed writes of each cut, on top of the extremes. */
const seeds = Number(process.env.CLUSTERFS_CUT_SEEDS ?? 1);
const chances: Record<string, Choice> = {};
for (let seed = 0; seed < seeds; seed++) chances[`what seed ${seed} says`] = byChance(seed);
const choices = { ...extremes, ...chances };
const { nothing, everything } = extremes;
/** Where there are many cuts, or large ones. */
const few = { nothing, everything, ...chances };

const everyStep = { contents, names, layouts, ends };

describe.each(Object.entries(everyStep))('a loss of power anywhere: %s', (_, steps) => {
  test('leaves what was synced, and nothing half', { timeout: 60_000 + seeds * 60_000 }, async () => {
    const recorded = await record(steps);
    expectComplete(recorded);
    const { findings, images } = await cutEverywhere(recorded, choices);
    expect(findings).toEqual([]);
    expect(images).toBeGreaterThan(recorded.calls.length);
  });
});

test('the same while everything is written back at once', { timeout: 60_000 + seeds * 60_000 }, async () => {
  const recorded = await record([...contents, ...names], { writeBackMs: 1 });
  const { findings } = await cutEverywhere(recorded, few);
  expect(findings).toEqual([]);
});

test('while SQLite takes over what is in the log, and the log is written over', {
  timeout: 120_000,
}, async () => {
  const recorded = await record(manySyncs);
  const { calls, store } = recorded;
  // Each begins with the first record of a file; the third is written over what the first file had.
  const begins = calls.flatMap(({ kind, path, offset }, i) =>
    kind === 'write' && path.startsWith(`${store}/log-`) && offset === 0 ? [i] : [],
  );
  expect(begins.length).toBeGreaterThanOrEqual(3);
  const wanted = new Set(begins.slice(1).flatMap((at) => calls.slice(at - 40, at + 30)));
  const { findings } = await cutEverywhere(recorded, few, (call) => wanted.has(call) && isCut(call));
  expect(findings).toEqual([]);
});

test('names and attributes are flushed by themselves after a while', async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  const recorder = startRecorder(store);
  onTestFinished(() => {
    recorder.close();
    rmSync(store, { recursive: true, force: true });
  });
  const node = await startNodeProcess({ store, writeBackMs: 20, env: recorder.env });
  const fs = await mountForTest(node);
  await fs.promises.mkdir('/directory');
  const isFlushed = (): boolean => {
    const ofLog = recorder.calls().filter(({ path }) => path === `${store}/log-a`);
    const since = ofLog.slice(ofLog.findLastIndex(({ kind }) => kind === 'write')).map(({ kind }) => kind);
    return since.includes('flushBegin') && since.includes('flushEnd');
  };
  await expect.poll(isFlushed, { timeout: 10_000 }).toBe(true);
});

/** All that was recorded, on an empty disk, is what is on the real one. */
function expectComplete({ store, calls }: Recorded): void {
  const disk = new Disk(store);
  for (const call of calls) disk.apply(call);
  const { files } = disk.image(everything);
  expect([...files.keys()].sort()).toEqual(readdirSync(store).sort());
  for (const [name, bytes] of files) expect(bytes.equals(readFileSync(join(store, name))), name).toBe(true);
}
