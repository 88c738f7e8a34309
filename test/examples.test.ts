/**
 * Every example runs to its end, by the one line its reader types, leaves with success, and leaves nothing;
 * nor does one that is interrupted.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const limitMs = 120_000;
const graceMs = 5000;
const names = readdirSync(join(root, 'examples')).filter((name) => /^\d\d-/.test(name));

/** Examples with two hosts, and what the end of each says. */
const severalHosts = [
  ['05-two-hosts', 'what was stored on one host'],
  ['06-vector-search', 'There was one table on each host'],
] as const;

/** Whether a machine without network namespaces is a failure. */
const isDemanded = process.env.CLUSTERFS_DEMAND?.split(',').includes('netns') === true;

/** Where ip-netns(8) has them. */
const namespaces = '/run/netns';

describe('examples', () => {
  test.each(names)('%s', (name) => succeeds(name), limitMs + 2 * graceMs);

  // Elsewhere the example says why there are none, and uses two ports.
  test.runIf(isDemanded)(
    '05-two-hosts has network namespaces here',
    async () => {
      const { output } = await start('05-two-hosts').ended;
      expect(output).toContain('two network namespaces');
    },
    limitMs + 2 * graceMs,
  );

  test.each(severalHosts)(
    '%s without network namespaces',
    (name) => succeeds(name, '--loopback'),
    limitMs + 2 * graceMs,
  );

  const interruptions = severalHosts.flatMap(([name, end]) =>
    (['SIGINT', 'SIGTERM'] as const).map((signal) => ({ name, end, signal })),
  );
  test.each(interruptions)(
    '$name leaves nothing after $signal',
    async ({ name, end, signal }) => {
      const example = start(name);
      await expect.poll(example.output, { timeout: limitMs }).toMatch(/^b\$ .*\n.*ready on/m);
      example.signalAll(signal);
      const { code, output } = await example.ended;
      expect(code, output).not.toBe(0);
      expect(output).not.toContain(end);
    },
    limitMs + 2 * graceMs,
  );

  test('numbers are used once', () => {
    const numbers = names.map((name) => name.slice(0, 2));
    expect(numbers).toEqual([...new Set(numbers)]);
  });
});

async function succeeds(name: string, ...args: readonly string[]): Promise<void> {
  const { code, output } = await start(name, args).ended;
  expect(code, output).toBe(0);
}

interface Example {
  /** What it has said so far. */
  output(): string;
  /** To it and to what it started, as a terminal does. */
  signalAll(signal: NodeJS.Signals): void;
  /** It and everything that writes to its output is gone, and nothing is left. */
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
}

function start(name: string, args: readonly string[] = []): Example {
  const temporary = mkdtempSync(join(tmpdir(), 'examples-test-'));
  onTestFinished(() => rmSync(temporary, { recursive: true }));
  const example = spawn(process.execPath, ['--import', 'tsx', `examples/${name}/main.ts`, ...args], {
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
  let output = '';
  for (const stream of [example.stdout, example.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const ended = once(example, 'close').then(([code]) => {
    expectNothingLeft(temporary, output);
    return { code, output };
  });
  return { output: () => output, signalAll: (signal) => process.kill(-pid, signal), ended };
}

function expectNothingLeft(temporary: string, output: string): void {
  expect(readdirSync(temporary).filter((entry) => entry.startsWith('cluster-fs'))).toEqual([]);
  const segments = [...output.matchAll(/\(segment .* in (.*), pid \d+\)/g)].map(([, path = '']) => path);
  expect(segments.filter((path) => existsSync(path))).toEqual([]);
  if (!existsSync(namespaces)) return;
  const left = readdirSync(namespaces).filter((entry) => {
    const pid = /^cluster-fs-example-(\d+)-/.exec(entry)?.[1];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  });
  expect(left).toEqual([]);
}
