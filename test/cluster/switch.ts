/** Builds switch.cc, and starts it between devices. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { Badness } from './network.ts';

/** Where the program is, until the end of the test. */
export function buildSwitch(): string {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-switch-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const program = join(home, 'switch');
  const source = fileURLToPath(new URL('switch.cc', import.meta.url));
  execFileSync(process.env.CXX ?? 'g++', ['-std=c++17', '-O1', '-Wall', '-o', program, source]);
  return program;
}

/** Runs it until the end of the test. `enter`: what leads to the namespace of its devices. */
export async function startSwitch(
  program: string,
  [command = '', ...enter]: readonly string[],
  devices: readonly string[],
  { delayMs, jitterMs, lossPercent, seed }: Badness,
): Promise<void> {
  const what = [delayMs, jitterMs, lossPercent, seed].map(String);
  const child = spawn(command, [...enter, program, ...what, ...devices], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  onTestFinished(async () => {
    child.stdin.end();
    await exited;
  });
  const said = once(child.stdout, 'data');
  await Promise.race([said, exited.then(([code]) => Promise.reject(new Error(`the switch ended: ${code}`)))]);
}
