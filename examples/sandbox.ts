/**
 * Where an example plays: a temporary directory, a node as it would run in another terminal, and programs
 * that use it. All of it is gone in the end, also after an error and after Ctrl-C.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { runDirectory } from 'cluster-fs';

const nodePackage = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const clusterfs = join(nodePackage, 'bin/clusterfs.js');

export class Sandbox {
  readonly directory = mkdtempSync(join(tmpdir(), 'cluster-fs-example-'));
  readonly #socket = join(this.directory, 'node.sock');
  /** All that another program must know to take part. */
  readonly url = `unix:${this.#socket}`;
  readonly #children: ChildProcess[] = [];
  #end: Promise<void> | undefined;

  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#abort(signal));
  }

  /** Starts `clusterfs serve`, shows what it says, and resolves to its pid when it is ready. */
  async serve(...options: string[]): Promise<number> {
    console.log(`$ clusterfs serve ${options.join(' ')}`);
    const node = spawn(process.execPath, [clusterfs, 'serve', '--listen', this.url, ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
      // In another terminal Ctrl-C would not reach it. It is for us to end it, when the programs have ended.
      detached: true,
    });
    this.#watchOver(node, 'clusterfs serve');
    for await (const line of createInterface(node.stdout)) {
      console.log(`  ${line}`);
      if (line.includes('ready on')) break;
    }
    node.stdout.resume();
    return node.pid ?? 0;
  }

  /** Starts another program with the arguments that it gets, and nothing else of ours. */
  start(script: URL, ...args: string[]): ChildProcess {
    const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(script), ...args], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#watchOver(child, fileURLToPath(script));
    return child;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end ??= this.#stop();
    await this.#end;
  }

  async #stop(): Promise<void> {
    // Last in, first out: the programs, then the node.
    for (const child of this.#children.toReversed()) {
      if (hasEnded(child)) continue;
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    rmSync(this.directory, { recursive: true });
    if (existsSync(runDirectory(this.#socket))) throw new Error('the node left its segment behind');
  }

  /** An example whose part has died would wait for it for ever. */
  #watchOver(child: ChildProcess, name: string): void {
    this.#children.push(child);
    child.once('exit', (code, signal) => {
      if (code === 0 || this.#end !== undefined) return;
      console.error(`${name} died: ${signal ?? `exit code ${code}`}`);
      this.#abort('SIGTERM');
    });
  }

  /** Tidies up, then dies of the signal, as it would have without us. */
  #abort(signal: NodeJS.Signals): void {
    void this[Symbol.asyncDispose]().finally(() => {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    });
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
