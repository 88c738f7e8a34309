/**
 * Clients of another node, as the home knows them: sessions without memory of their own. What they ask is
 * forwarded by their node, which vouches for who they are.
 */
import {
  type AnyRequest,
  FsError,
  fromValues,
  type RequestName,
  type Run,
  requestNameOf,
  requests,
  toValues,
} from '@cluster-fs/transport';
import type { PeerReply, PeerRequest } from '@cluster-fs/transport/peer';
import { pageSize } from 'cluster-fs/segment';
import { unreserve } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { dispatch } from '../coordinator/dispatch.ts';
import { close } from '../coordinator/open.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import { reservedRuns } from '../coordinator/reserve.ts';
import type { Session } from '../coordinator/session.ts';
import { endSession } from '../coordinator/sessions.ts';
import { write } from '../coordinator/short-write.ts';
import { exceeded } from '../limits.ts';
import { writeAllNow } from '../store/file-calls.ts';

/** What a node may ask in the name of a client; everything else is its own affair. */
const forwarded: ReadonlySet<RequestName> = new Set([
  'open',
  'reserve',
  'put',
  'attachPages',
  'mkdir',
  'rmdir',
  'unlink',
  'rename',
  'link',
  'symlink',
  'setAttributes',
  'remove',
  'fallocate',
  'move',
  'migrate',
  'drain',
  'rebalance',
  'defrag',
  'sync',
] satisfies RequestName[]);

export class Guests {
  readonly #c: Coordinator;
  readonly #facts: () => NodeFacts;
  readonly #node: string;
  readonly #sessions = new Map<number, Session>();

  /** `node`: the name of theirs. */
  constructor(c: Coordinator, node: string, facts: () => NodeFacts) {
    this.#c = c;
    this.#node = node;
    this.#facts = facts;
  }

  open({ guest, uid, gids, pid, label, access }: PeerRequest<'guestOpen'>): void {
    if (this.#sessions.has(guest))
      throw new FsError('EEXIST', 'guestOpen', { why: `guest ${guest} is there` });
    const c = this.#c;
    const session: Session = {
      id: c.nextId(),
      token: new Uint8Array(0),
      pid,
      label: `${label}@${this.#node}`,
      access,
      credentials: { uid, gids },
      control: { event: () => undefined, close: () => undefined },
      requests: new Set(),
      userfault: undefined,
      kernelFaults: false,
      onHomeLoss: 'wait',
      isGuest: true,
      sinceMs: c.now(),
      handles: new Map(),
      views: new Map(),
      grants: new Map(),
      reservations: new Set(),
      subscriptions: new Map(),
      recorded: 'yes',
      ended: false,
    };
    c.sessions.set(session.id, session);
    this.#sessions.set(guest, session);
  }

  async forward({ guest, type, values }: PeerRequest<'forward'>, signal: AbortSignal): Promise<unknown[]> {
    const name = requestNameOf(type);
    if (name === undefined || !forwarded.has(name))
      throw new FsError('EPROTO', 'forward', { why: `request ${type} is not for others` });
    const fields = fromValues(requests[name].fields, values, name);
    const request = { name, fields } as AnyRequest;
    const reply = await dispatch(this.#c, this.#of(guest), request, {
      facts: this.#facts(),
      long: { signal },
    });
    return toValues(requests[name].reply, reply as never);
  }

  /** A file that a guest has open, as its node says: handles are the coordinator's to give. */
  openHandle({ guest, handle: id, ino, generation, path, writable }: PeerRequest<'handleOpen'>): void {
    const session = this.#of(guest);
    if (session.handles.has(id)) throw new FsError('EEXIST', 'handleOpen', { why: `handle ${id} is there` });
    if (session.handles.size >= this.#c.limits.handles)
      throw exceeded(this.#c.limits, 'handles', { syscall: 'open', path });
    if (this.#c.inode(ino).generation !== generation) throw new FsError('ESTALE', 'open', { path });
    session.handles.set(id, { id, ino, generation, path, writable });
    this.#c.refer(ino);
  }

  write({ guest, handle, offset }: PeerRequest<'write'>, bytes: Uint8Array): Promise<PeerReply<'write'>> {
    return write(this.#c, this.#of(guest), { handle, offset, bytes });
  }

  fill({ guest, page }: PeerRequest<'fill'>, bytes: Uint8Array): void {
    const end = page + Math.ceil(bytes.length / pageSize);
    const isReserved = reservedRuns(this.#of(guest)).some(
      (run) => run.page <= page && end <= run.page + run.count,
    );
    if (!isReserved) throw new FsError('EINVAL', 'write', { why: 'the pages are not reserved' });
    const { fd, path } = this.#c.data;
    writeAllNow(fd, bytes, page * pageSize, path);
  }

  unreserve(guest: number, runs: readonly Run[]): void {
    const session = this.#sessions.get(guest);
    if (session !== undefined) unreserve(this.#c, session, { runs });
  }

  closeHandle(guest: number, handle: number): void {
    const session = this.#sessions.get(guest);
    if (session !== undefined) close(this.#c, session, handle);
  }

  close(guest: number): void {
    const session = this.#sessions.get(guest);
    this.#sessions.delete(guest);
    if (session !== undefined) endSession(this.#c, session, left(this.#node));
  }

  /** Their node is gone. */
  closeAll(): void {
    for (const guest of [...this.#sessions.keys()]) this.close(guest);
  }

  #of(guest: number): Session {
    const session = this.#sessions.get(guest);
    if (session === undefined) throw new FsError('ESTALE', 'forward', { why: `no guest ${guest}` });
    return session;
  }
}

const left = (node: string): FsError =>
  new FsError('ECONNRESET', 'close', { why: `the client at ${node} has left` });
