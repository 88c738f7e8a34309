/** Clients of another user: root starts them, and they give up its rights. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { NodeProcess } from '../chaos/node-process.ts';

/** An action of other-user.mjs with its arguments. */
export type Step = readonly [name: string, ...args: unknown[]];

export interface User {
  readonly uid: number;
  readonly gid?: number;
  /** Supplementary groups. */
  readonly groups?: readonly number[];
}

export interface Outcome {
  // biome-ignore lint/suspicious/noExplicitAny: what a step returns is what the test states.
  readonly value?: any;
  readonly code?: string;
  readonly message?: string;
}

const program = fileURLToPath(new URL('other-user.mjs', import.meta.url));

/** Whether this process can become another user; says so once when it cannot: those tests are skipped. */
export const canBecomeOthers = process.getuid?.() === 0;
if (!canBecomeOthers) process.stderr.write('NOT TESTED: access of other users (needs root)\n');

/** Does the steps as another user, in a process of its own; the outcome of each. */
export async function asUser(
  { socketPath }: Pick<NodeProcess, 'socketPath'>,
  { uid, gid = uid, groups = [] }: User,
  steps: readonly Step[],
): Promise<readonly Outcome[]> {
  // The directory of a test is its user's alone, and it is not what keeps others out here.
  chmodSync(dirname(socketPath), 0o711);
  const child = fork(program, [JSON.stringify({ uid, gid, groups, socketPath, steps })], {
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  const heard = once(child, 'message');
  const first = await Promise.race([heard, ended]);
  if (first.length < 2 || typeof first[0] !== 'object') throw new Error(`it ended early: ${first}`);
  await ended;
  return (first[0] as { outcomes: readonly Outcome[] }).outcomes;
}
