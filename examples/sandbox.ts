/**
 * Where an example plays: a temporary directory, a node as it would run in another terminal, and programs
 * that use it. All of it is gone in the end, also after an error and after Ctrl-C.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
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

/** A host, or what stands for one: the node there has its name. */
export interface Place {
  readonly name: string;
  /** What a command line begins with, to run there. */
  readonly enter: readonly string[];
}

const here: Place = { name: 'node', enter: [] };

export class Sandbox {
  readonly directory = mkdtempSync(join(tmpdir(), 'cluster-fs-example-'));
  /** All that another program must know to take part. */
  readonly url = this.urlAt(here);
  readonly #children: ChildProcess[] = [];
  readonly #sockets = new Set<string>();
  readonly #undo: (() => void)[] = [];
  #end: Promise<void> | undefined;

  constructor() {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#abort(signal));
  }

  /** Starts `clusterfs serve`, shows what it says, and resolves to its pid when it is ready. */
  async serve(...options: string[]): Promise<number> {
    console.log(`$ clusterfs serve ${options.join(' ')}`);
    return (await this.#serve(here, options)).pid;
  }

  /** As `serve`, in another place; resolves to where other nodes can join it, if they may. */
  async serveAt(place: Place, ...options: string[]): Promise<string | undefined> {
    console.log(`${place.name}$ clusterfs serve ${options.join(' ')}`);
    const { said } = await this.#serve(place, options);
    return /tcp:[^ ,]+/.exec(said)?.[0];
  }

  /** What programs of that place mount. */
  urlAt({ name }: Place): string {
    return `unix:${this.#socketAt(name)}`;
  }

  /** Starts another program with the arguments that it gets, and nothing else of ours. */
  start(script: URL, ...args: string[]): ChildProcess {
    return this.startAt(here, script, ...args);
  }

  /** As `start`, in another place. */
  startAt(place: Place, script: URL, ...args: string[]): ChildProcess {
    this.#refuseWhenEnding();
    const path = fileURLToPath(script);
    const [program, ...rest] = commandLine(place, [...process.execArgv, path, ...args]);
    const child = spawn(program, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#watchOver(child, path);
    return child;
  }

  /** Runs another verb of the command line to its end, and returns what it printed. */
  clusterfs(...args: string[]): string {
    return execFileSync(process.execPath, [clusterfs, ...args], { encoding: 'utf8' });
  }

  /** Something else that must be undone in the end, when everything that was started has ended. */
  onEnd(undo: () => void): void {
    this.#undo.push(undo);
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
    for (const undo of this.#undo.toReversed()) undo();
    rmSync(this.directory, { recursive: true });
    for (const socket of this.#sockets)
      if (existsSync(runDirectory(socket))) throw new Error('the node left its segment behind');
  }

  async #serve(place: Place, options: readonly string[]): Promise<{ pid: number; said: string }> {
    this.#refuseWhenEnding();
    const socket = this.#socketAt(place.name);
    this.#sockets.add(socket);
    const args = [clusterfs, 'serve', '--listen', `unix:${socket}`, ...options];
    const [program, ...rest] = commandLine(place, args);
    const node = spawn(program, rest, {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'inherit'],
      // In another terminal Ctrl-C would not reach it. It is for us to end it, when the programs have ended.
      detached: true,
    });
    this.#watchOver(node, 'clusterfs serve');
    let said = '';
    for await (const line of createInterface(node.stdout)) {
      console.log(`  ${line}`);
      said += `${line}\n`;
      if (line.includes('ready on')) break;
    }
    node.stdout.resume();
    return { pid: node.pid ?? 0, said };
  }

  #socketAt(name: string): string {
    return join(this.directory, `${name}.sock`);
  }

  /** An example goes on while its parts are ended: what it started now, nobody would end. */
  #refuseWhenEnding(): void {
    if (this.#end !== undefined) throw new Error('the example is ending');
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

/** Of node, with these arguments, in that place. */
const commandLine = ({ enter }: Place, args: readonly string[]): [string, ...string[]] => {
  const [program = process.execPath, ...rest] = [...enter, process.execPath, ...args];
  return [program, ...rest];
};

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
