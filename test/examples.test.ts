/** Every example runs to its end, by the one line its reader types, and leaves with success. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const limitMs = 120_000;
const names = readdirSync(join(root, 'examples')).filter((name) => /^\d\d-/.test(name));

describe('examples', () => {
  test.each(names)(
    '%s',
    (name) => {
      const run = spawnSync('node_modules/.bin/tsx', [`examples/${name}/main.ts`], {
        cwd: root,
        encoding: 'utf8',
        timeout: limitMs,
        // One that hangs may sit in a page fault, where it hears no other signal.
        killSignal: 'SIGKILL',
      });
      expect(run.status, `${run.stdout}\n${run.stderr}\n${run.error?.message ?? ''}`).toBe(0);
    },
    limitMs + 5_000,
  );

  test('numbers are used once', () => {
    const numbers = names.map((name) => name.slice(0, 2));
    expect(numbers).toEqual([...new Set(numbers)]);
  });
});
