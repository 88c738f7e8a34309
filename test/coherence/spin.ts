/** Models for spin(1), run. CLUSTERFS_DEMAND=spin: to fail where that is missing, and not to skip. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, onTestFinished } from 'vitest';

const isThere = spawnSync('spin', ['-V']).status === 0;
const isDemanded = process.env.CLUSTERFS_DEMAND?.split(',').includes('spin') === true;

/** Of tests: where they are skipped, their title says why. */
export const withSpin = (title: string, tests: () => void): void => {
  describe.skipIf(!isThere && !isDemanded)(`${title}${isThere ? '' : ' (needs spin(1))'}`, tests);
};

export interface Check {
  /** For the preprocessor of the model. */
  readonly defines?: readonly string[];
  /** For the compiler of what checks it. */
  readonly flags: readonly string[];
  readonly args?: readonly string[];
  readonly limitMs?: number;
}

export interface Verdict {
  readonly errors: number;
  readonly states: number;
  /** What the first error is. */
  readonly found: string | undefined;
  /** The lines that the model prints on the way there. */
  readonly trail: readonly string[];
}

/** Looks at every state of a model, until the first error. */
export function check(model: string, { defines = [], flags, args = [], limitMs = 280_000 }: Check): Verdict {
  const run = inFolder(model, limitMs);
  run('spin', '-a', ...defines, 'model.pml');
  // Locals of the checker itself have the names of the model's.
  run('gcc', '-w', ...flags, '-o', 'pan', 'pan.c');
  const report = run('./pan', '-n', ...args);
  if (report.includes('max search depth too small')) throw new Error(report);
  const errors = Number(/errors: (\d+)/.exec(report)?.[1]);
  const states = Number(/(\d+(?:\.\d+e\+\d+)?) states, stored/.exec(report)?.[1]);
  const found = /^pan:1: (.*)$/m.exec(report)?.[1];
  const trail = errors === 0 ? [] : linesOf(run('spin', '-t', ...defines, 'model.pml'));
  return { errors, states, found, trail };
}

/** What the model prints on a way that is taken by chance. */
export function walk(model: string, defines: readonly string[], seed: number): readonly string[] {
  const run = inFolder(model, 20_000);
  return linesOf(run('spin', `-n${seed}`, '-u20000', ...defines, 'model.pml'));
}

const linesOf = (said: string): readonly string[] => said.split('\n').map((line) => line.trim());

function inFolder(model: string, timeout: number): (command: string, ...args: string[]) => string {
  const cwd = mkdtempSync(join(tmpdir(), 'cluster-fs-spin-'));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  writeFileSync(join(cwd, 'model.pml'), model);
  return (command, ...args) =>
    execFileSync(command, args, { cwd, encoding: 'utf8', timeout, maxBuffer: 2 ** 26 });
}
