/**
 * Every example runs to its end, by the one line its reader types, leaves with success, and leaves nothing.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const limitMs = 120_000;
const graceMs = 5000;
const names = readdirSync(join(root, 'examples')).filter((name) => /^\d\d-/.test(name));

describe('examples', () => {
  test.each(names)('%s', run, limitMs + 2 * graceMs);

  test('numbers are used once', () => {
    const numbers = names.map((name) => name.slice(0, 2));
    expect(numbers).toEqual([...new Set(numbers)]);
  });
});

async function run(name: string): Promise<void> {
  const temporary = mkdtempSync(join(tmpdir(), 'examples-test-'));
  onTestFinished(() => rmSync(temporary, { recursive: true }));
  const example = spawn('node_modules/.bin/tsx', [`examples/${name}/main.ts`], {
    cwd: root,
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    // An example that is told to end takes all that it has started with it.
    timeout: limitMs,
  });
  const { pid } = example;
  assert(pid !== undefined);
  // One that does not may sit in a page fault, where it hears no other signal.
  AbortSignal.timeout(limitMs + graceMs).addEventListener('abort', () => {
    if (example.exitCode === null && example.signalCode === null) process.kill(-pid, 'SIGKILL');
  });
  const [output, errors, [code]] = await Promise.all([
    text(example.stdout),
    text(example.stderr),
    once(example, 'exit'),
  ]);
  expect(code, `${output}\n${errors}`).toBe(0);
  expect(readdirSync(temporary).filter((entry) => entry.startsWith('cluster-fs'))).toEqual([]);
}
