/** The model is right about Linux, and the comparison would notice if it were not. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sequence, sparseSequence } from './commands.ts';
import { compare, Disagreement, modelSubject } from './compare.ts';
import { counterexamples } from './counterexamples.ts';
import { linuxRules, type Rules } from './fs-model.ts';
import { agree, limitMs, linuxSubject, parameters } from './property.ts';

describe('the model agrees with node:fs', () => {
  test('on random sequences', { timeout: limitMs }, async () => {
    await fc.assert(agree([modelSubject(), await linuxSubject()]), parameters(500));
  });

  test('on random sequences of holes, zeros and pages in one file', { timeout: limitMs }, async () => {
    await fc.assert(agree([modelSubject(), await linuxSubject()], sparseSequence), parameters(500));
  });

  test.each(Object.entries(counterexamples))('%s', async (_, operations) => {
    await compare([modelSubject(), await linuxSubject()], operations);
  });
});

describe('canary: a model with one wrong rule is caught', () => {
  const rules = Object.keys(linuxRules) as (keyof Rules)[];

  test.each(rules)('%s', { timeout: limitMs }, async (rule) => {
    const linux = await linuxSubject();
    const wrong = modelSubject({ ...linuxRules, [rule]: false });
    const sequences = rule === 'punchingFreesPages' ? sparseSequence : sequence;
    const caught = await fc.check(agree([wrong, linux], sequences), { numRuns: 2000, seed: 1 });
    expect(caught.errorInstance).toBeInstanceOf(Disagreement);
    await compare([modelSubject(), linux], caught.counterexample?.[0] ?? []);
  });
});
