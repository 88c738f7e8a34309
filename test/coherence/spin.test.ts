/**
 * Every state that some caches and the home of a block can be in, by spin(1). CLUSTERFS_DEMAND=spin: to fail
 * where that is missing, and not to skip.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { brokenTables } from './broken-rules.ts';
import { type ModelOptions, promelaModel } from './promela.ts';

const isThere = spawnSync('spin', ['-V']).status === 0;
const isDemanded = process.env.CLUSTERFS_DEMAND?.split(',').includes('spin') === true;

describe.skipIf(!isThere && !isDemanded)('the model (needs spin: apt-get install spin)', () => {
  test('of two caches and a home', { timeout: 120_000 }, () => {
    const { errors, states } = check({ caches: 2, losses: 2 });
    expect(errors).toBe(0);
    expect(states).toBeGreaterThan(10_000);
  });

  test('of three caches, of which one may be lost', { timeout: 300_000 }, () => {
    const { errors, states } = check({ caches: 3, losses: 1 });
    expect(errors).toBe(0);
    expect(states).toBeGreaterThan(1_000_000);
  });

  test.each(Object.entries(brokenTables))('is wrong when %s', { timeout: 60_000 }, (_, broken) => {
    const { cacheTable: cache, directoryTable: directory } = broken;
    const tables = {
      ...(cache === undefined ? {} : { cache }),
      ...(directory === undefined ? {} : { directory }),
    };
    expect(check({ caches: 3, losses: 0, tables }).errors).toBe(1);
  });
});

function check(options: ModelOptions): { errors: number; states: number } {
  const cwd = mkdtempSync(join(tmpdir(), 'cluster-fs-spin-'));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  writeFileSync(join(cwd, 'model.pml'), promelaModel(options));
  const run = (command: string, ...args: string[]): string =>
    execFileSync(command, args, { cwd, encoding: 'utf8', timeout: 280_000, maxBuffer: 2 ** 26 });
  run('spin', '-a', 'model.pml');
  run('gcc', '-O1', '-DSAFETY', '-DVECTORSZ=4096', '-DCOLLAPSE', '-o', 'pan', 'pan.c');
  const report = run('./pan', '-n', '-m2000000');
  const errors = Number(/errors: (\d+)/.exec(report)?.[1]);
  const states = Number(/(\d+(?:\.\d+e\+\d+)?) states, stored/.exec(report)?.[1]);
  if (report.includes('max search depth too small')) throw new Error(report);
  return { errors, states };
}
