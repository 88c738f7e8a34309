/**
 * A node in a thread of this process, for `mount(directory)` and `mount('tcp://...')`.
 *
 * The node's package depends on this one, so it is found when it is needed and not imported: the one place
 * where a lower layer starts a higher one.
 */
import { Worker } from 'node:worker_threads';
import { FsError } from '@cluster-fs/transport';
import { fromPlain, type PlainError } from './worker-protocol.ts';

/** What proves to other nodes that this one may join them. */
export interface JoinProof {
  /** The join token of the cluster; white space around it does not count. */
  readonly token?: string;
  /** Or certificates, each in PEM: the cluster's authority, and this node's certificate and key. */
  readonly certificate?: { readonly ca: string; readonly cert: string; readonly key: string };
  /** What the node is called in the cluster, as its certificate says; default: host and process. */
  readonly name?: string;
}

/** Of a node that a mount starts. What is not given is as the node has it by default. */
export interface EmbeddedOptions {
  /** What the node is named after: the directory that is mounted, or anything that nobody else has. */
  readonly directory: string;
  /** The node whose files it shall have; without it they are its own. */
  readonly join?: JoinProof & { readonly host: string; readonly port: number };
  /** Bytes of the segment; default 256 MiB. */
  readonly memory?: number;
  readonly onConflict?: 'wait' | 'deny' | 'revoke';
  readonly recallDeadlineMs?: number;
}

export interface Embedded {
  stop(): Promise<void>;
}

const nodePackage: string = '@cluster-fs/node/embedded';

/** Starts a node for the directory; undefined when another process has it. */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded | undefined> {
  const worker = new Worker(new URL(findNode()), {
    workerData: options,
    name: 'cluster-fs node',
    execArgv: [],
    trackUnmanagedFds: false,
  });
  const answer = await new Promise<'ready' | 'taken' | PlainError>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', resolve);
  });
  if (answer === 'taken') {
    await worker.terminate();
    return undefined;
  }
  if (answer !== 'ready') throw fromPlain(answer);
  worker.unref();
  const stop = async (): Promise<void> => {
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.ref();
    worker.postMessage('stop');
    await exited;
  };
  return { stop };
}

function findNode(): string {
  try {
    return import.meta.resolve(nodePackage);
  } catch (cause) {
    throw new FsError('ENOTSUP', 'mount', {
      why: 'mounting a directory or tcp: needs the package @cluster-fs/node',
      cause,
    });
  }
}
