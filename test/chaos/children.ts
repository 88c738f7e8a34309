/** Programs of this folder as processes: started by name, heard by their messages, gone when the test is. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { commandFor, programPath } from './node-process.ts';

export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly isAlive: boolean;
  /** The next message of this kind, also one that came before; rejects when the process ends without it. */
  hear<T>(kind: string): Promise<T>;
  send(message: unknown): void;
  kill(): Promise<void>;
  ended(): Promise<void>;
}

interface Heard {
  readonly kind: string;
}

/** `enter`: in front of the command that starts it. */
export function startChild(
  program: string,
  args: readonly (string | number)[],
  enter?: readonly string[],
): Child {
  const child = fork(programPath(program), args.map(String), {
    ...commandFor(enter),
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-4000);
  });
  const heard: Heard[] = [];
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const look of [...waiting]) look();
  };
  child.on('message', (message: Heard) => {
    heard.push(message);
    wake();
  });
  const exited = once(child, 'exit');
  child.once('exit', wake);
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null;
  const kill = async (): Promise<void> => {
    if (!hasEnded()) child.kill('SIGKILL');
    await exited;
  };
  onTestFinished(kill);
  return {
    process: child,
    pid: child.pid ?? 0,
    get isAlive() {
      return !hasEnded();
    },
    hear: <T>(kind: string) =>
      new Promise<T>((resolve, reject) => {
        const look = (): void => {
          const at = heard.findIndex((message) => message.kind === kind);
          if (at >= 0) resolve(heard.splice(at, 1)[0] as T);
          else if (hasEnded()) reject(new Error(`${program} ended without '${kind}': ${stderr}`));
          else return;
          waiting.delete(look);
        };
        waiting.add(look);
        look();
      }),
    // To a child that has ended nothing is sent; whoever waits for its answer hears why.
    send: (message) => void child.send(message as object, () => undefined),
    kill,
    ended: async () => {
      await exited;
    },
  };
}
