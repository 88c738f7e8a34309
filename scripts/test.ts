/**
 * `npm test`: type check, lint and format check, every test. `npm run check` is the same with a few paths as
 * filter.
 *
 * Arguments are handed to vitest, so `npm test -- packages/transport -t frames` works. All parts run even
 * when one fails; the last line counts vitest's tests, plus one failure for each other part that failed.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, succeeds } from './command.ts';

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What we read of vitest's JSON report. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly testResults: readonly { readonly status: string; readonly assertionResults: readonly unknown[] }[];
}

const reportFile = join(root, '.test-results/vitest.json');

const colors = process.stdout.isTTY ? 'force' : 'off';

const checks = [
  succeeds('test: types', 'tsc', ['-b', 'tsconfig.check.json']),
  succeeds('test: lint and format', 'biome', ['ci', `--colors=${colors}`, '--max-diagnostics=100']),
];
const counts = runVitest(process.argv.slice(2));
const failed = counts.failed + checks.filter((ok) => !ok).length;

const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
console.log(`tests: ${counts.passed} passed, ${failed} failed${skipped}`);
process.exitCode = failed === 0 ? 0 : 1;

function runVitest(filters: readonly string[]): Counts {
  rmSync(reportFile, { force: true });
  mkdirSync(join(root, '.test-results'), { recursive: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`];
  const ok = succeeds('test: vitest', 'vitest', ['run', ...reporters, ...filters]);
  if (!existsSync(reportFile)) return { passed: 0, failed: 1, skipped: 0 };

  const report: Report = JSON.parse(readFileSync(reportFile, 'utf8'));
  const unloadable = report.testResults.filter(isUnloadable).length;
  const reported = report.numFailedTests + unloadable;
  return {
    passed: report.numPassedTests,
    // Unhandled errors and "no tests found" fail the run without failing a test.
    failed: ok ? reported : Math.max(1, reported),
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** A test file that threw while it was loaded: it failed, but none of its tests is in the report. */
function isUnloadable(file: Report['testResults'][number]): boolean {
  return file.status === 'failed' && file.assertionResults.length === 0;
}
