/**
 * Losses of power after every call that changes the store, on a disk that loses what was not flushed: see
 * docs/testing.md.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { byChance, extremes } from './choices.ts';
import { cutEverywhere, type Recorded, record } from './cut.ts';
import { contents, ends, layouts, names } from './cut-steps.ts';
import { type Choice, Disk } from './disk.ts';

/** Subsets of the unflushed writes of each cut, on top of the extremes. */
const seeds = Number(process.env.CLUSTERFS_CUT_SEEDS ?? 1);
const choices: Record<string, Choice> = { ...extremes };
for (let seed = 0; seed < seeds; seed++) choices[`what seed ${seed} says`] = byChance(seed);

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
  const { nothing, everything, ...others } = choices as typeof extremes;
  const some = Object.entries(others).slice(-seeds);
  const kept = Object.fromEntries([...some, ['nothing', nothing], ['everything', everything]]);
  const { findings } = await cutEverywhere(recorded, kept as typeof choices);
  expect(findings).toEqual([]);
});

/** All that was recorded, on an empty disk, is what is on the real one. */
function expectComplete({ store, calls }: Recorded): void {
  const disk = new Disk(store);
  for (const call of calls) disk.apply(call);
  const { files } = disk.image(extremes.everything as Choice);
  expect([...files.keys()].sort()).toEqual(readdirSync(store).sort());
  for (const [name, bytes] of files) expect(bytes.equals(readFileSync(join(store, name))), name).toBe(true);
}
