/**
 * What holds only as long as the node runs: pages taken, grants, numbers of handles. A node that was started
 * again gives those pages to others as soon as it hears that nothing of before is stored any more.
 *
 * INVARIANT: no store begins into pages of a term that is over.
 */
import { FsError } from '@cluster-fs/transport';
import type { Backend } from './backend.ts';

export const limits = {
  /** Times that a change is asked for; each time but the first, the node was started again in between. */
  attempts: 5,
} as const;

export interface Term {
  isOver(): boolean;
  /** Throws ESTALE when it is over. */
  check(): void;
}

export function termOf(backend: Backend): Term {
  const { incarnation } = backend;
  const isOver = () => backend.incarnation !== incarnation;
  const check = () => {
    if (isOver()) throw new FsError('ESTALE', 'write', { why: 'the node was started again' });
  };
  return { isOver, check };
}

/**
 * Runs `work`, and again when the node that was started again did not know what was taken from the one
 * before. An answer that was lost (ECONNRESET) is the caller's to judge: the change may have been made.
 */
export async function throughRestarts<T>(backend: Backend, work: (term: Term) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const renewed = backend.access.renewed();
    if (renewed !== undefined) await renewed;
    const term = termOf(backend);
    try {
      return await work(term);
    } catch (error) {
      if (!isRefusal(error) || !term.isOver() || attempt === limits.attempts) throw error;
    }
  }
}

const isRefusal = (error: unknown): boolean =>
  error instanceof FsError && error.code !== 'ECONNRESET' && error.code !== 'EPIPE';
