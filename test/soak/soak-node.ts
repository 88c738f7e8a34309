/** A node with a store, as an operator has it: the command line, ended by Ctrl-C or by SIGKILL, and fsck. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runDirectory } from 'cluster-fs';
import { onTestFinished } from 'vitest';

const packageFile = createRequire(import.meta.url).resolve('@cluster-fs/node/package.json');
const program = join(dirname(packageFile), 'bin/clusterfs.js');

export interface SoakNode {
  readonly url: string;
  /** What it wrote to stderr, in all its lives. */
  errors(): string;
  start(): Promise<void>;
  kill(): Promise<void>;
  /** Ctrl-C; the exit code. */
  interrupt(): Promise<number | null>;
  /** What `clusterfs fsck` finds in the store of a node that is stopped. */
  fsck(): { readonly code: number | null; readonly output: string };
}

export async function startSoakNode(options: Readonly<Record<string, string>>): Promise<SoakNode> {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-soak-'));
  const socketPath = join(home, 'node.sock');
  const store = join(home, 'store');
  const url = `unix:${socketPath}`;
  const given = Object.entries({ ...options, listen: url, store });
  const args = [program, 'serve', ...given.flatMap(([name, value]) => [`--${name}`, value])];
  let child: ChildProcess | undefined;
  let stderr = '';
  const start = async (): Promise<void> => {
    const starting = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child = starting;
    starting.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    await new Promise<void>((resolve, reject) => {
      let said = '';
      starting.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (/ready on /.test(said)) resolve();
      });
      starting.once('exit', () => reject(new Error(`no node: ${stderr}`)));
    });
  };
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return null;
    const exited = once(child, 'exit');
    child.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  };
  const killWithUs = (): void => void child?.kill('SIGKILL');
  process.once('exit', killWithUs);
  onTestFinished(async () => {
    await end('SIGKILL');
    process.off('exit', killWithUs);
    // Named after the store: a node with one finds what the last node had, whatever socket it listens on.
    const leftBehind = runDirectory(store);
    for (const path of [leftBehind, home]) rmSync(path, { recursive: true, force: true });
  });
  await start();
  return {
    url,
    errors: () => stderr,
    start,
    kill: async () => void (await end('SIGKILL')),
    interrupt: () => end('SIGINT'),
    fsck: () => {
      const args = [program, 'fsck', '--store', store];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      return { code: status, output: stdout + stderr };
    },
  };
}
