/**
 * Sessions of before the node was started. Each may come back, and its process may store meanwhile: nothing
 * that it maps moves, is evicted or given to others until it says `resumed`, or can touch nothing any more.
 *
 * A session may have ended without a word, while the node was away or in the last moment before it was
 * killed. Its process is looked at for that: who has `data` neither open nor mapped touches none of its
 * pages, and cannot get it but by a session of its own.
 */
import { native, type Reply, type Request } from '@cluster-fs/transport';
import type { SessionRow } from '../metadata/store.ts';
import type { Coordinator } from './coordinator.ts';
import type { Session } from './session.ts';

type Process = Pick<SessionRow, 'pid' | 'startTime'>;

export const isAlive = ({ pid, startTime }: Process): boolean => native.processStartTime(pid) === startTime;

/** What was kept back for these sessions of the client's process is free, when it was for them alone. */
export function resumed(
  c: Coordinator,
  { pid }: Pick<Session, 'pid'>,
  { sessions }: Request<'resumed'>,
): Reply<'resumed'> {
  for (const id of sessions) if (c.unresolved.get(id)?.pid === pid) resolveSession(c, id);
  return {};
}

/** Whether the node was killed while the client's process had a session. */
export const isResuming = (c: Coordinator, { pid }: Session): boolean =>
  [...c.unresolved.values()].some((process) => process.pid === pid);

/** Those whose process is gone. */
export function resolveDead(c: Coordinator): void {
  for (const [id, process] of c.unresolved) if (!isAlive(process)) resolveSession(c, id);
}

const everyMs = 100;

/** Starts looking at the processes that are waited for; returns how to end it. */
export function watchProcesses(c: Coordinator): () => void {
  const watch = new ProcessWatch(c);
  const timer = setInterval(() => {
    resolveDead(c);
    watch.look();
  }, everyMs);
  timer.unref();
  return () => clearInterval(timer);
}

/** Looks into one process at a time: one with many mappings takes milliseconds to read. */
class ProcessWatch {
  readonly #c: Coordinator;
  readonly #canTell: boolean;
  #looked = 0;

  constructor(c: Coordinator) {
    this.#c = c;
    this.#canTell = native.fileSystemStats(c.data.fd).type === 'tmpfs';
  }

  /** Looks at the next of those that are waited for. */
  look(): void {
    const { unresolved, data } = this.#c;
    const pids = [...new Set([...unresolved.values()].map(({ pid }) => pid))];
    const pid = pids[this.#looked++ % pids.length];
    // The node has `data` open itself, whatever its own clients have.
    if (!this.#canTell || pid === undefined || pid === process.pid) return;
    if (native.mayTouchFile(pid, data.fd)) return;
    for (const [id, session] of unresolved) if (session.pid === pid) resolveSession(this.#c, id);
  }
}

function resolveSession(c: Coordinator, id: number): void {
  if (!c.unresolved.delete(id)) return;
  c.answers.notify();
  c.journal
    .mutate(() => c.journal.change({ type: 'deleteSession', id }))
    .catch((error: unknown) => c.hub.report(error));
  if (c.unresolved.size === 0) c.nobodyLeft();
}
