/**
 * Runs a function in another thread or process, where `native` is the addon. The function is sent as text: it
 * sees its arguments and nothing else.
 */
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';

export type Native = typeof import('../src/native.ts');

export interface Here {
  readonly native: Native;
  readonly require: NodeJS.Require;
  /** Says something to the test, which hears it by `heard`. */
  readonly tell: (message: unknown) => void;
  /** What the test says next. */
  readonly told: () => Promise<unknown>;
}

export type Work<A> = (here: Here, argument: A) => unknown;

const addon = new URL('../dist/native.js', import.meta.url).href;

/** `port` is an expression for what has messages; `done` a statement that lets go of it. */
function program<A>(work: Work<A>, argument: string, port: string, done: string): string {
  return `
    const said = [], waiting = [];
    ${port}.on('message', (message) => {
      const resolve = waiting.shift();
      if (resolve === undefined) said.push(message); else resolve(message);
    });
    const told = () => new Promise((resolve) => {
      if (said.length > 0) resolve(said.shift()); else waiting.push(resolve);
    });
    const work = ${work};
    import(${JSON.stringify(addon)})
      .then((native) => work({ native, require, tell, told }, ${argument}))
      .then(() => { ${done} });
  `;
}

/** What was said and not yet heard, in order. */
class Ear {
  readonly #said: unknown[] = [];
  readonly #news = new EventEmitter();
  #ended: Error | undefined;

  hear(message: unknown): void {
    this.#said.push(message);
    this.#news.emit('news');
  }

  end(reason: Error): void {
    this.#ended ??= reason;
    this.#news.emit('news');
  }

  async next(): Promise<unknown> {
    while (this.#said.length === 0) {
      if (this.#ended !== undefined) throw this.#ended;
      await once(this.#news, 'news');
    }
    return this.#said.shift();
  }
}

export interface Thread {
  readonly worker: Worker;
  /** The next thing it tells; rejects when it ended or failed without telling one. */
  readonly heard: () => Promise<unknown>;
}

/**
 * A worker thread. It is terminated when the test is over, if it can be: one that waits in a fault cannot.
 */
export function inThread<A>(work: Work<A>, argument: A): Thread {
  const head = `
    const { parentPort, workerData } = require('node:worker_threads');
    const tell = (message) => parentPort.postMessage(message);
  `;
  const body = program(work, 'workerData', 'parentPort', 'parentPort.unref()');
  const worker = new Worker(head + body, { eval: true, workerData: argument });
  const ear = new Ear();
  worker.on('message', (message) => ear.hear(message));
  worker.on('error', (error) => ear.end(error as Error));
  worker.on('exit', (code) => ear.end(new Error(`the thread ended with ${code}`)));
  onTestFinished(() => void worker.terminate());
  return { worker, heard: () => ear.next() };
}

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

export interface Process {
  readonly pid: number;
  readonly heard: () => Promise<unknown>;
  readonly say: (message: string | number) => void;
  readonly ended: Promise<Ending>;
}

export interface ProcessOptions {
  /** Most descriptors that it may have open. */
  readonly openFiles?: number;
  readonly execArgv?: readonly string[];
}

/** A process of its own. It is killed when the test is over. */
export function inProcess<A extends object>(
  work: Work<A>,
  argument: A,
  { openFiles = 1024, execArgv = [] }: ProcessOptions = {},
): Process {
  const head = `
    const require = process.getBuiltinModule('module').createRequire(${JSON.stringify(import.meta.url)});
    const tell = (message) => process.send(message);
  `;
  const source = head + program(work, JSON.stringify(argument), 'process', 'process.disconnect()');
  const limited = `ulimit -c 0; ulimit -n ${openFiles}; exec "$0" "$@"`;
  const node = [process.execPath, ...execArgv, '--input-type=module', '-e', source];
  const child = spawn('sh', ['-c', limited, ...node], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  const ear = new Ear();
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.on('message', (message) => ear.hear(message));
  const ended = once(child, 'close').then(([code, signal]): Ending => {
    ear.end(new Error(`the process ended with ${code ?? signal}: ${stderr}`));
    return { code, signal, stderr };
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  if (child.pid === undefined) throw new Error('no process was made');
  return { pid: child.pid, ended, heard: () => ear.next(), say: (message) => void child.send(message) };
}
