/**
 * The protocol under everything that may go wrong, by seed. CLUSTERFS_SIMULATIONS=1000000 for a long run,
 * CLUSTERFS_SEED=42 for one seed.
 */
import { describe, expect, test } from 'vitest';
import { brokenRules, brokenTables } from './broken-rules.ts';
import { simulate } from './simulation.ts';

const seeds = Number(process.env.CLUSTERFS_SIMULATIONS ?? 10_000);
const only = process.env.CLUSTERFS_SEED;
const parts = 10;
/** What each of these found is mended. */
const oldSeeds = {
  'messages overtook those that were to be sent again over a new link': [3, 5],
  'the end of one piece of work was taken for that of the next': [128],
  'a process waited for what it had got by then': [8826],
  'what was on its way to a home that died was lost without a word': [21, 23, 32],
};

describe.runIf(only === undefined)('under chance', () => {
  test.each(Array.from({ length: parts }, (_, part) => part))('part %i', { timeout: 3_600_000 }, (part) => {
    const count = Math.ceil(seeds / parts);
    let accesses = 0;
    let lost = 0;
    for (let seed = 1 + part * count; seed <= (part + 1) * count; seed++) {
      const outcome = simulate({ seed, nodes: 2 + (seed % 3), blocks: 1 + (seed % 5) });
      accesses += outcome.accesses;
      lost += outcome.lost;
    }
    expect(accesses).toBeGreaterThan(count * 50);
    expect(lost).toBeGreaterThan(0);
  });

  test('nothing is lost when no node is', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const faults = { crashes: 0, stalls: 0, partitions: 0 };
      expect(simulate({ seed, faults }).lost).toBe(0);
    }
  });

  test('the same seed is the same run', () => {
    const hashes = [1, 2, 3, 1, 2, 3].map((seed) => simulate({ seed }).hash);
    expect(hashes.slice(3)).toEqual(hashes.slice(0, 3));
    expect(new Set(hashes).size).toBe(3);
  });

  test.each(Object.entries(oldSeeds))('%s', (_, found) => {
    for (const seed of found) simulate({ seed });
  });
});

test.runIf(only !== undefined)('one seed', () => {
  const seed = Number(only);
  simulate({ seed, nodes: 2 + (seed % 3), blocks: 1 + (seed % 5) });
  simulate({ seed });
});

describe('a broken rule is noticed', () => {
  const broken = {
    ...Object.fromEntries(Object.entries(brokenTables).map(([what, tables]) => [what, { rules: tables }])),
    ...brokenRules,
  };
  test.each(Object.entries(broken))('%s', (_, options) => {
    const tries = 500;
    const findings: string[] = [];
    for (let seed = 1; seed <= tries && findings.length === 0; seed++) {
      try {
        simulate({ seed, ...options });
      } catch (error) {
        findings.push((error as Error).message);
      }
    }
    expect(findings).toHaveLength(1);
    expect(findings[0]).toMatch(/^seed \d+: /);
  });
});
