/** The command line as a process: started, heard, ended. Nothing of it outlives the test file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runDirectory } from 'cluster-fs';
import { afterAll, expect } from 'vitest';

const program = fileURLToPath(new URL('../bin/clusterfs.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly process: ChildProcess;
  readonly pid: number;
  /** What it has said on stdout so far. */
  stdout(): string;
  stderr(): string;
  /** Waits until it has said that on stdout; rejects when it ends without. */
  says(pattern: RegExp): Promise<void>;
  /** Resolves when it is gone and all of its output was read. */
  readonly ended: Promise<Ended>;
  interrupt(): Promise<Ended>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Another user, which takes root. */
  readonly uid?: number;
  /** All of stdin; without it, stdin stays open. */
  readonly input?: string | Uint8Array;
}

const running = new Set<ChildProcess>();
const homes = new Set<string>();

afterAll(async () => {
  for (const child of running) child.kill('SIGKILL');
  await Promise.all([...running].map((child) => once(child, 'close')));
  for (const home of homes) rmSync(home, { recursive: true, force: true });
});

/** A directory of the test file's own. */
export function makeHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-cli-'));
  homes.add(home);
  return home;
}

export const start = (args: readonly string[], options: RunOptions = {}): Started =>
  startProgram(program, options, args);

/** Any program, with node. */
export function startProgram(
  path: string,
  { env = {}, cwd, uid, input }: RunOptions = {},
  args: readonly string[] = [],
): Started {
  const { CLUSTERFS_URL, ...inherited } = process.env;
  const child = spawn(process.execPath, [path, ...args], {
    env: { ...inherited, ...env },
    cwd,
    uid,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  running.add(child);
  // It may end before it has read everything.
  child.stdin.on('error', (error: NodeJS.ErrnoException) => expect(error.code).toBe('EPIPE'));
  if (input !== undefined) child.stdin.end(input);
  const output = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
      for (const look of [...waiting]) look();
    });
  }
  const ended = once(child, 'close').then(([code, signal]): Ended => {
    running.delete(child);
    for (const look of [...waiting]) look();
    return { code, signal, ...output };
  });
  return {
    process: child,
    pid: child.pid ?? 0,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (pattern.test(output.stdout)) resolve();
          else if (!running.has(child))
            reject(new Error(`ended without ${pattern}: ${JSON.stringify(output)}`));
          else return;
          waiting.delete(look);
        };
        waiting.add(look);
        look();
      }),
    ended,
    interrupt: () => {
      child.kill('SIGINT');
      return ended;
    },
  };
}

/** Runs a command line to its end. */
export const run = (args: readonly string[], options: RunOptions = {}): Promise<Ended> =>
  start(args, { input: '', ...options }).ended;

export interface Served extends Started {
  readonly home: string;
  readonly socketPath: string;
  readonly url: string;
  /** Where its segment is. */
  readonly directory: string;
  /** Runs a verb against this node. */
  run(...args: readonly string[]): Promise<Ended>;
  /** As `run`; it must end well. What it printed. */
  text(...args: readonly string[]): Promise<string>;
  /** As `text` with --json: what it told. */
  // biome-ignore lint/suspicious/noExplicitAny: what a test expects of it is what the test states.
  json(...args: readonly string[]): Promise<any>;
  start(...args: readonly string[]): Started;
  /** Ctrl-C; checks that nothing is left. */
  stop(): Promise<Ended>;
}

/** Starts a node on a socket of its own and waits until it serves. */
export async function serve(args: readonly string[] = [], options: RunOptions = {}): Promise<Served> {
  const home = makeHome();
  const socketPath = join(home, 'node.sock');
  const started = start(['serve', '--listen', `unix:${socketPath}`, '--memory', '64MiB', ...args], options);
  const directory = runDirectory(socketPath);
  homes.add(directory);
  const env = { CLUSTERFS_URL: `unix:${socketPath}` };
  const text = async (...verb: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(verb, { env });
    expect({ code, stderr }, `clusterfs ${verb.join(' ')}`).toEqual({ code: 0, stderr: '' });
    return stdout;
  };
  await started.says(args.includes('--json') ? /"ready":true.*\n/ : /clusterfs: ready on .*\n/);
  return {
    ...started,
    home,
    socketPath,
    directory,
    url: `unix:${socketPath}`,
    run: (...verb) => run(verb, { env }),
    text,
    json: async (...verb) => JSON.parse(await text(...verb, '--json')),
    start: (...verb) => start(verb, { env }),
    stop: async () => {
      const ended = await started.interrupt();
      expect(existsSync(directory), 'segment left').toBe(false);
      expect(existsSync(socketPath), 'socket left').toBe(false);
      return ended;
    },
  };
}
