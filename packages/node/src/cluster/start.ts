/** Starting nodes of a cluster: one that others may come to, and one that joins another. */
import { once } from 'node:events';
import { FsError } from '@cluster-fs/transport';
import { connectPeer, type PeerAddress } from '@cluster-fs/transport/peer';
import {
  begin,
  type ClusterNode,
  capacityOf,
  maxMemory,
  type NodeOptions,
  prepare,
  runDirectoryOf,
} from '../node.ts';
import { storePath } from '../store/open-store.ts';
import { type ClusterOptions, enterCluster, forgetFiles, newcomer, restoreLent } from './enter.ts';
import type { Connect } from './line.ts';
import { assertSameCluster } from './own-store.ts';

/** A node that has the files of another one. */
export interface JoinOptions extends Omit<NodeOptions, 'cluster' | 'inodeCount'> {
  readonly cluster: ClusterOptions;
  readonly join: PeerAddress;
  /**
   * Whether it may keep files, and not only copies: others must reach it, see `listen`. Default false. With a
   * `store` it must; in a cluster whose coordinator has one it keeps files only with a store.
   */
  readonly keeps?: boolean;
  /** Ends the attempt; the node that came of it stays. */
  readonly signal?: AbortSignal;
}

/** A node that joined names all files of its home, and has room to spare for what is being written. */
const capacityPerHome = 2;
const entrance = { assertSameCluster, enterCluster, forgetFiles, restoreLent };

/** As `startAlone`; with `cluster`, others may come to it. */
export const startNode = (options: NodeOptions): ClusterNode => begin(prepare(options, entrance));

/**
 * Starts a node that has the files of another one, its home. It serves when it has the whole tree.
 *
 * @throws FsError as `startNode`, and what connecting to the home fails with: ECONNREFUSED, EACCES,
 * ETIMEDOUT, EPROTONOSUPPORT, EHOSTUNREACH; EINVAL for a store that is of another cluster; the reason of
 * `signal`
 */
export async function joinNode({ signal: giveUp, ...options }: JoinOptions): Promise<ClusterNode> {
  const { cluster, join, keeps = false } = options;
  const { security } = cluster;
  if (options.store !== undefined && !keeps)
    throw new FsError('EINVAL', 'join', { why: 'a node with a store keeps files, and others must reach it' });
  const store = storePath(options);
  const newIdentity = newcomer(cluster, { keptIn: keeps ? runDirectoryOf(options) : undefined, store });
  const ending = giveUp === undefined ? {} : { signal: giveUp };
  const link = await connectPeer({ ...join, security, identity: newIdentity, ...ending });
  // The cluster is the coordinator's from here on.
  const identity = { ...newIdentity, clusterId: link.peer.clusterId };
  const connect: Connect = (signal) => connectPeer({ ...join, security, identity, signal });
  try {
    const { reply } = await unlessAborted(link.request('describe', {}), giveUp);
    const own = capacityOf(options);
    const capacity = Math.max(options.capacity ?? 0, reply.dataBytes * capacityPerHome, options.memory);
    const sizes = { capacity: Math.min(maxMemory, capacity), inodeCount: reply.inodeCount };
    const { serve, abandon, node } = prepare(
      { ...options, ...sizes },
      { ...entrance, joining: { connect, identity, keeps, capacity: own, coordinator: reply } },
    );
    try {
      node.member?.start(link);
      await unlessAborted(Promise.resolve(node.member?.ready), giveUp);
      serve();
      return node;
    } catch (error) {
      abandon();
      throw error;
    }
  } catch (error) {
    link.close();
    throw error;
  }
}

/** What comes of `work`; when `signal` is aborted first, its reason is thrown. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  const abort = new AbortController();
  const aborted = once(signal, 'abort', { signal: abort.signal }).then(() => signal.throwIfAborted());
  try {
    return (await Promise.race([work, aborted])) as T;
  } finally {
    aborted.catch(() => undefined);
    abort.abort();
  }
}
