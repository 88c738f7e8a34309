/**
 * Sessions of before the node was started, whose clients have not let go of their locks. Each may come back,
 * and its process may store meanwhile: nothing that it maps moves, is evicted or given to others until then.
 */
import { closeSync } from 'node:fs';
import type { Reply } from '@cluster-fs/transport';
import type { Coordinator } from './coordinator.ts';
import { isFree } from './session-locks.ts';

const everyMs = 100;

/** Starts looking at those that are waited for; returns how to end it. */
export function watchUnresolved(c: Coordinator): () => void {
  const timer = setInterval(() => resolveFree(c), everyMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    for (const { fd } of c.unresolved.values()) closeSync(fd);
    c.unresolved.clear();
  };
}

/** A client has let go of what it had before. */
export function resumed(c: Coordinator): Reply<'resumed'> {
  resolveFree(c);
  return {};
}

/** What was kept back for those that are over is free, when it was for them alone. */
function resolveFree(c: Coordinator): void {
  const free = [...c.unresolved.values()].filter(({ fd }) => isFree(fd));
  if (free.length === 0) return;
  for (const session of free) {
    c.unresolved.delete(session.id);
    closeSync(session.fd);
    c.sessionLocks.remove(session);
  }
  c.answers.notify();
  if (c.unresolved.size === 0) c.nobodyLeft();
}
