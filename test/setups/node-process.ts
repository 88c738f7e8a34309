/** A node as a user starts it: the command line, in a process of its own, with limits to start and stop. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expectGone, inMemoryFiles } from './in-memory-files.ts';
import { nodeProgram } from './node-modules.mjs';

export interface NodeProcess {
  readonly url: string;
  /** Where other nodes join it; undefined when it does not listen for them. */
  readonly peerUrl: string | undefined;
  /** Rejects when the process did not end by itself after SIGTERM, or left files in shared memory. */
  stop(): Promise<void>;
}

const limitMs = 15_000;

export async function startNode({
  memory = '64MiB',
  options = [],
  execArgv = [],
}: {
  memory?: string;
  /** Further options of `serve`. */
  options?: readonly string[];
  /** Options of node itself. */
  execArgv?: readonly string[];
} = {}): Promise<NodeProcess> {
  const dir = await mkdtemp(join(tmpdir(), 'clusterfs-test-'));
  const url = `unix:${dir}/node.sock`;
  const args = [...execArgv, nodeProgram(execArgv), 'serve', '--listen', url, '--memory', memory, ...options];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  const remove = () => rm(dir, { recursive: true, force: true });
  let said: string;
  try {
    said = await ready(child);
  } catch (error) {
    child.kill('SIGKILL');
    await remove();
    throw error;
  }
  return {
    url,
    peerUrl: /tcp:[^ ,]+/.exec(said)?.[0],
    async stop() {
      const files = await inMemoryFiles(child.pid ?? 0);
      await end(child);
      process.off('exit', killWithUs);
      expectGone([...files, `${dir}/node.sock`]);
      await remove();
    },
  };
}

/** What it said until it was ready. */
async function ready(child: ChildProcess): Promise<string> {
  const said: string[] = [];
  return new Promise<string>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      // Read on after the first line, so that the pipe never fills.
      createInterface(stream).on('line', (line) => {
        said.push(line);
        if (/\bready\b/.test(line)) resolve(said.join('\n'));
      });
    }
    const fail = (why: string) => reject(new Error(`${why}; it said:\n${said.join('\n')}`));
    child.once('exit', (code, signal) => fail(`the node ended with ${code ?? signal}`));
    child.once('error', (error) => fail(error.message));
    const limit = AbortSignal.timeout(limitMs);
    limit.addEventListener('abort', () => fail(`the node was not ready in ${limitMs} ms`));
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    throw new Error(`the node ended too early with ${child.exitCode ?? child.signalCode}`);
  }
  const signal = AbortSignal.timeout(limitMs);
  child.kill('SIGTERM');
  try {
    await once(child, 'exit', { signal });
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`the node did not end in ${limitMs} ms after SIGTERM`, { cause: error });
  }
}
