/**
 * Whether the tests of this folder can fail: the node with one rule broken, and the test that must notice.
 * See docs/testing.md.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type BrokenRule, brokenRules } from './broken-rules.ts';

const require = createRequire(import.meta.url);
const dist = join(dirname(require.resolve('@cluster-fs/node/package.json')), 'dist');
const vitest = join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs');
const preload = new URL('broken-rule.mjs', import.meta.url).href;
const root = fileURLToPath(new URL('../..', import.meta.url));
const limitMs = 180_000;

/** All of them take some minutes: in CI a part is broken, and of the others it is seen that they could be. */
const isAll = process.env.CLUSTERFS_BROKEN_RULES === 'all';
const few = brokenRules.filter(({ isQuick }) => isQuick === true);

test.each(brokenRules)('is a rule: $rule', ({ module, from, to }) => {
  expect(from).not.toBe(to);
  expect(readFileSync(join(dist, module), 'utf8').split(from).length - 1, `${from} in ${module}`).toBe(1);
});

describe('is noticed', () => {
  test.each(isAll ? brokenRules : few)('$rule', { timeout: limitMs }, (broken) => {
    const output = runBroken(broken);
    expect(output).toMatch(/Tests .*failed/);
    const failed = output.split('\n').filter((line) => line.includes(' FAIL '));
    expect(failed.join('\n')).toContain(`test/${broken.noticedBy} > `);
    // A node that does not start, or a machine that is slow, would be noticed too.
    expect(output).not.toMatch(/SyntaxError|Test timed out/);
  });

  test('and nothing is, when nothing is broken', { timeout: limitMs }, () => {
    const [broken] = few as [BrokenRule];
    expect(runBroken({ ...broken, to: broken.from })).toMatch(/Tests .*passed/);
  });
});

/** What is said of the tests that must notice. */
function runBroken({ module, from, to, noticedBy, named }: BrokenRule): string {
  const { VITEST_WORKER_ID, VITEST_POOL_ID, ...env } = process.env;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [vitest, 'run', `test/${noticedBy}`, '-t', named, '--bail', '1', '--no-color'],
    {
      cwd: root,
      encoding: 'utf8',
      // A test that says how two contents differ may say much.
      maxBuffer: Number.POSITIVE_INFINITY,
      timeout: limitMs,
      killSignal: 'SIGKILL',
      env: {
        ...env,
        NODE_OPTIONS: `--import ${preload}`,
        CLUSTERFS_BROKEN_RULE: JSON.stringify({ module: `/dist/${module}`, from, to }),
      },
    },
  );
  return stdout + stderr;
}
