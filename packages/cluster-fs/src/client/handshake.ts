/**
 * From the path of a socket to a session: reaching the node, knowing that it is the right one, hearing from
 * it in time.
 */
import {
  Connection,
  type ConnectionHandlers,
  FsError,
  type HomeLossPolicy,
  native,
  protocolVersion,
  type Reply,
  type Spinner,
} from '@cluster-fs/transport';
import type { SessionFacts } from './worker-protocol.ts';

export interface Endpoint {
  readonly socketPath: string;
  /** Who must listen there, or root; undefined: whoever does. */
  readonly owner: number | undefined;
  /** How long the node may take to answer. */
  readonly timeoutMs: number;
}

/**
 * Connects; a node whose queue is full is tried again until the time is over.
 *
 * @throws FsError ENOENT or ECONNREFUSED: nobody listens; EACCES: another user does, or this one may not
 *   connect; EAGAIN: its queue stays full
 */
export async function dial(
  { socketPath, owner, timeoutMs }: Endpoint,
  handlers: ConnectionHandlers,
  spinner: Spinner,
): Promise<Connection> {
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = 5; ; waitMs = Math.min(waitMs * 2, 250)) {
    try {
      const fd = native.connectUnix(socketPath);
      assertOwner(fd, socketPath, owner);
      return new Connection(fd, handlers, { spinner });
    } catch (error) {
      const full = error instanceof FsError && error.code === 'EAGAIN';
      if (!full || performance.now() + waitMs > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }
}

/** In a directory where anybody may make files, a socket is whose process listens on it. */
function assertOwner(fd: number, path: string, owner: number | undefined): void {
  const { uid } = native.peerCredentials(fd);
  if (owner === undefined || uid === owner || uid === 0) return;
  native.closeDescriptor(fd);
  throw new FsError('EACCES', 'connect', { path, why: `user ${uid} listens there, not ${owner}` });
}

/** The answer to the first request of a connection; ETIMEDOUT, and the connection closed, when none comes. */
export async function answered<T>(
  { socketPath, timeoutMs }: Endpoint,
  connection: Connection,
  answer: Promise<T>,
): Promise<T> {
  const timer = setTimeout(() => {
    connection.close(
      new FsError('ETIMEDOUT', 'connect', {
        path: socketPath,
        why: `who listens there did not answer in ${timeoutMs} ms`,
      }),
    );
  }, timeoutMs);
  try {
    return await answer;
  } finally {
    clearTimeout(timer);
  }
}

export interface Hello {
  readonly layoutHash: number;
  readonly access: 'r' | 'rw';
  readonly label: string;
  readonly onHomeLoss: HomeLossPolicy;
  readonly userfault: { readonly fd: number; readonly kernelFaults: boolean } | undefined;
}

/** Opens a session on a fresh control connection. */
export async function sayHello(
  endpoint: Endpoint,
  control: Connection,
  { userfault, ...hello }: Hello,
): Promise<SessionFacts> {
  let donated: readonly number[] = [];
  const fields = {
    ...hello,
    protocol: protocolVersion,
    pid: process.pid,
    kernelFaults: userfault?.kernelFaults ?? false,
  };
  const answer: Promise<Reply<'hello'>> = control.request('hello', fields, {
    descriptors: userfault === undefined ? [] : [userfault.fd],
    onDescriptors: (descriptors) => {
      donated = descriptors;
    },
  });
  const { session, token, epoch, segmentId, metaSize, paged, nodePid } = await answered(
    endpoint,
    control,
    answer,
  );
  const [metaFd, dataFd, lockFd] = donated;
  if (metaFd === undefined || dataFd === undefined || lockFd === undefined) {
    throw new FsError('EPROTO', 'mount', { why: 'no descriptors in welcome' });
  }
  const onDemand = userfault !== undefined;
  return { session, token, epoch, segmentId, metaFd, metaSize, dataFd, lockFd, paged, nodePid, onDemand };
}
