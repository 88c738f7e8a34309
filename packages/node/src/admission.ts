/**
 * Who may come in: the owner of the node and root, and whom they allow. Decided by what the kernel says of a
 * connection (SO_PEERCRED, SO_PEERGROUPS), before a byte of it is read.
 */
import { FsError, native } from '@cluster-fs/transport';

/** A user or a group by its number; only 'r': its clients get descriptors that cannot store. */
export type Allowed = number | { readonly id: number; readonly access: 'r' | 'rw' };

export interface AllowLists {
  /** Users who may connect besides root and the owner of the node. */
  readonly allowUids?: readonly Allowed[];
  /** Groups whose members may connect. */
  readonly allowGids?: readonly Allowed[];
}

/** Who is at the other end, by the kernel's word at the time it connected. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  /** The primary group first. */
  readonly gids: readonly number[];
  readonly access: 'r' | 'rw';
}

export interface AdmissionReport {
  /** Connections of users who may not connect. */
  readonly refused: number;
  /** Connections turned away or closed for a limit. */
  readonly overLimit: number;
}

export class Admission {
  readonly #uids: ReadonlyMap<number, 'r' | 'rw'>;
  readonly #gids: ReadonlyMap<number, 'r' | 'rw'>;
  readonly #onNotice: (message: string) => void;
  #refused = 0;
  #overLimit = 0;

  constructor({ allowUids = [], allowGids = [] }: AllowLists, onNotice: (message: string) => void) {
    this.#uids = rights(allowUids, 'user');
    this.#gids = rights(allowGids, 'group');
    this.#onNotice = onNotice;
  }

  /** The socket's mode keeps strangers out where nobody else is allowed; otherwise only `admit` decides. */
  get socketMode(): number {
    return this.#uids.size + this.#gids.size === 0 ? 0o600 : 0o666;
  }

  get report(): AdmissionReport {
    return { refused: this.#refused, overLimit: this.#overLimit };
  }

  /** Who connected. Throws EACCES for who may not. */
  admit(fd: number): Peer {
    const { pid, uid, gid } = native.peerCredentials(fd);
    const gids = [gid, ...native.peerGroups(fd)];
    const access = this.#accessOf(uid, gids);
    if (access !== undefined) return { pid, uid, gids, access };
    this.#refused++;
    if (isPowerOfTen(this.#refused))
      this.#onNotice(`refused user ${uid} (pid ${pid}), who is not allowed: ${this.#refused} so far`);
    throw new FsError('EACCES', 'mount', {
      why: `user ${uid} may not use this node: clusterfs serve --allow-uid ${uid} lets it in`,
    });
  }

  /** Somebody wanted more than a limit, and lost a connection. */
  countOverLimit(reason: FsError): void {
    this.#overLimit++;
    if (isPowerOfTen(this.#overLimit))
      this.#onNotice(`closed a connection: ${reason.message}; ${this.#overLimit} so far`);
  }

  #accessOf(uid: number, gids: readonly number[]): 'r' | 'rw' | undefined {
    if (uid === 0 || uid === process.getuid?.()) return 'rw';
    const found = [this.#uids.get(uid), ...gids.map((gid) => this.#gids.get(gid))];
    if (found.includes('rw')) return 'rw';
    return found.includes('r') ? 'r' : undefined;
  }
}

function rights(allowed: readonly Allowed[], what: string): ReadonlyMap<number, 'r' | 'rw'> {
  const result = new Map<number, 'r' | 'rw'>();
  for (const each of allowed) {
    const { id, access } = typeof each === 'number' ? { id: each, access: 'rw' as const } : each;
    // 2^32 - 1 is "no change" to the kernel and nobody's number.
    if (!Number.isInteger(id) || id < 0 || id >= 2 ** 32 - 1)
      throw new FsError('EINVAL', 'serve', { why: `${id} is no number of a ${what}` });
    if (result.get(id) !== 'rw') result.set(id, access);
  }
  return result;
}

/** A flood of refusals makes a handful of lines. */
const isPowerOfTen = (count: number): boolean => Number.isInteger(Math.log10(count));

/** Says the first ten of what anybody can have said without end, then the hundredth, the thousandth ... */
export function sparingly(say: (message: string) => void): (message: string) => void {
  let count = 0;
  return (message) => {
    if (++count <= 10 || isPowerOfTen(count)) say(`${message}; ${count} so far`);
  };
}
