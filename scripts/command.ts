/** Runs the steps of a script: one line before, one line after, the command's own output between. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs a command from the repository's root and says whether it succeeded. */
export function succeeds(label: string, command: string, args: readonly string[]): boolean {
  const beganMs = Date.now();
  console.log(`${label} ...`);
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', env: environment() });
  const seconds = ((Date.now() - beganMs) / 1000).toFixed(1);
  const outcome =
    result.status === 0 ? 'ok' : `FAILED (${result.error?.message ?? result.signal ?? result.status})`;
  console.log(`${label}: ${outcome} in ${seconds} s`);
  return result.status === 0;
}

/** Our own binaries first; plain text where nobody looks at colours. */
function environment(): NodeJS.ProcessEnv {
  const path = `${join(root, 'node_modules/.bin')}:${process.env.PATH ?? ''}`;
  return { ...process.env, PATH: path, ...(process.stdout.isTTY ? {} : { NO_COLOR: '1' }) };
}
