/** Children of a bench: other applications that mount the same file system, each a process of its own. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { onEnd } from './cleanup.ts';

/** Lets a child end by itself; one that does not is killed. */
export async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  const impatient = setTimeout(() => child.kill('SIGKILL'), 5000);
  if (child.connected) child.disconnect();
  else child.kill();
  await exited;
  clearTimeout(impatient);
}

/** Another application; `call` runs one of the operations of children/client.mjs in it. */
export interface Client {
  readonly pid: number;
  call<T = void>(operation: string, ...args: readonly unknown[]): Promise<T>;
  stop(): Promise<void>;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: unknown;
}

export function startClient(): Client {
  // Without the loader that this process runs under.
  const child = fork(fileURLToPath(new URL('../children/client.mjs', import.meta.url)), {
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  onEnd(() => stopChild(child));
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  let calls = 0;
  child.on('message', ({ id, value, error }: Answer) => {
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error === undefined) resolve?.(value);
    else reject?.(error);
  });
  child.once('exit', (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`a client ended (${signal ?? code})`));
  });
  return {
    pid: child.pid ?? 0,
    call<T>(operation: string, ...args: readonly unknown[]) {
      const answer = new Promise<T>((resolve, reject) => {
        const id = ++calls;
        waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
        child.send({ id, operation, args });
      });
      // Nobody may wait for it any more, because something else failed first.
      answer.catch(() => undefined);
      return answer;
    },
    stop: () => stopChild(child),
  };
}

/** Applications that have all mounted `url`. */
export async function startClients(count: number, url: string): Promise<Client[]> {
  const clients = Array.from({ length: count }, startClient);
  await Promise.all(clients.map((client) => client.call('mount', url)));
  return clients;
}
