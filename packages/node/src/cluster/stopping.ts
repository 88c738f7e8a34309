/** How a node that stops says so: what it has not begun is answered with this, and then its link ends. */
import { FsError } from '@cluster-fs/transport';

/** EAGAIN: the file has another home by now. ECONNRESET: there is nobody else to ask. */
export const stopped = (code: 'EAGAIN' | 'ECONNRESET'): FsError =>
  new FsError(code, 'stop', { why: 'the node stopped' });

export const hasStopped = (error: unknown): boolean => error instanceof FsError && error.syscall === 'stop';
