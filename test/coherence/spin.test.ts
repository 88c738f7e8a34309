/** Every state that some caches and the home of a block can be in, by spin(1). */
import { expect, test } from 'vitest';
import { brokenTables } from './broken-rules.ts';
import { type ModelOptions, promelaModel } from './promela.ts';
import { check as checkModel, withSpin } from './spin.ts';

withSpin('the model of a block', () => {
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

const check = (options: ModelOptions) =>
  checkModel(promelaModel(options), {
    flags: [options.tables === undefined ? '-O1' : '-O0', '-DSAFETY', '-DVECTORSZ=4096', '-DCOLLAPSE'],
    args: ['-m2000000'],
  });
