/**
 * Clients of another node, as the home knows them: sessions without memory of their own. What they ask is
 * forwarded by their node, which vouches for who they are.
 *
 * What is given to one is known by the number under which it was asked for: an answer may be lost with its
 * link, and then it is taken back.
 */
import {
  type AnyRequest,
  FsError,
  fromValues,
  type Reply,
  type RequestName,
  type Run,
  requestNameOf,
  requests,
  toValues,
} from '@cluster-fs/transport';
import type { AnyPeerRequest, PeerEvent, PeerReply, PeerRequest } from '@cluster-fs/transport/peer';
import { isFile, pageSize } from 'cluster-fs/segment';
import { pagesFor, reserve } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { dispatch } from '../coordinator/dispatch.ts';
import type { AnyReply } from '../coordinator/elsewhere.ts';
import { close } from '../coordinator/open.ts';
import type { NodeFacts } from '../coordinator/report.ts';
import { giveBack, reservedRuns } from '../coordinator/reserve.ts';
import type { Handle, Reservation, Session } from '../coordinator/session.ts';
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

interface Guest {
  readonly session: Session;
  /** What it has asked for and has no answer yet. */
  readonly underWay: Set<Promise<AnyReply>>;
}

/** A request that came with content, and its number. */
interface Sent {
  readonly request: AnyRequest;
  readonly asked: number;
  readonly content: Uint8Array;
}

type Perform = (request: AnyRequest) => Promise<AnyReply>;

export class Guests {
  readonly #c: Coordinator;
  readonly #facts: () => NodeFacts;
  readonly #node: string;
  readonly #guests = new Map<number, Guest>();
  /** Under which number it was given. */
  readonly #asked = new WeakMap<Handle | Reservation, number>();

  /** `node`: the name of theirs. */
  constructor(c: Coordinator, node: string, facts: () => NodeFacts) {
    this.#c = c;
    this.#node = node;
    this.#facts = facts;
  }

  open({ guest, uid, gids, pid, label, access }: PeerRequest<'guestOpen'>): void {
    if (this.#guests.has(guest)) throw new FsError('EEXIST', 'guestOpen', { why: `guest ${guest} is there` });
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
      lockFd: undefined,
      ended: false,
    };
    c.sessions.set(session.id, session);
    this.#guests.set(guest, { session, underWay: new Set() });
  }

  async forward(
    { guest: id, type, values, asked }: PeerRequest<'forward'>,
    { signal, payload }: Pick<AnyPeerRequest, 'signal' | 'payload'>,
  ): Promise<unknown[]> {
    const name = requestNameOf(type);
    if (name === undefined || !forwarded.has(name))
      throw new FsError('EPROTO', 'forward', { why: `request ${type} is not for others` });
    const fields = fromValues(requests[name].fields, values, name);
    const request = { name, fields } as AnyRequest;
    const guest = this.#guestOf(id);
    const perform: Perform = async (asks) =>
      dispatch(this.#c, guest.session, asks, { facts: this.#facts(), long: { signal } });
    const answer = async (): Promise<AnyReply> => {
      const reply = await (payload === undefined
        ? perform(request)
        : this.#withContent(guest.session, { request, asked, content: payload }, perform));
      const given = givenIn(guest.session, name, reply);
      if (given === undefined) return reply;
      this.#asked.set(given, asked);
      // Its node has asked for it to be taken back already, when it was not there.
      if (signal.aborted) this.#return(guest.session, asked);
      return reply;
    };
    const underWay = answer();
    guest.underWay.add(underWay);
    try {
      return toValues(requests[name].reply, (await underWay) as never);
    } finally {
      guest.underWay.delete(underWay);
    }
  }

  /** Pages that the guest is given for what it has sent: the request has used them, or they go back. */
  async #withContent(
    session: Session,
    { request, asked, content }: Sent,
    perform: Perform,
  ): Promise<AnyReply> {
    if (request.name !== 'put' && request.name !== 'attachPages')
      throw new FsError('EPROTO', 'forward', { why: `${request.name} with content` });
    const reserved = await reserve(this.#c, session, { pages: pagesFor(content.length) });
    const reservation = givenIn(session, 'reserve', reserved);
    if (reservation !== undefined) this.#asked.set(reservation, asked);
    try {
      // The guest may be gone since, or have let go of them, and they may be others' by now.
      for (const run of reserved.runs) assertReserved(session, run);
      let done = 0;
      for (const { page, count } of reserved.runs) {
        this.#store(page, content.subarray(done, done + count * pageSize));
        done += count * pageSize;
      }
      const fields = { ...request.fields, runs: reserved.runs };
      return await perform({ name: request.name, fields } as AnyRequest);
    } catch (error) {
      this.#return(session, asked);
      throw error;
    }
  }

  /**
   * When nothing is under way any more that may use it: pages that went back too early could be given to the
   * same guest again, and an earlier request would take them for its own.
   */
  takeBack({ guest: id, asked }: PeerEvent<'takeBack'>): void {
    const guest = this.#guests.get(id);
    if (guest === undefined) return;
    void Promise.allSettled(guest.underWay).then(() => this.#return(guest.session, asked));
  }

  #return(session: Session, asked: number): void {
    if (session.ended) return;
    const c = this.#c;
    for (const handle of session.handles.values())
      if (this.#asked.get(handle) === asked) close(c, session, handle.id);
    for (const reservation of session.reservations) {
      if (this.#asked.get(reservation) !== asked) continue;
      c.journal
        .mutate(() => giveBack(c, reservation.left, session.reservations))
        .catch((error: unknown) => c.hub.report(error));
    }
  }

  /** A file that a guest has open, as its node says: handles are the coordinator's to give. */
  openHandle({ guest, handle: id, ino, generation, path, writable }: PeerRequest<'handleOpen'>): void {
    const session = this.#of(guest);
    if (session.handles.has(id)) throw new FsError('EEXIST', 'handleOpen', { why: `handle ${id} is there` });
    if (session.handles.size >= this.#c.limits.handles)
      throw exceeded(this.#c.limits, 'handles', { syscall: 'open', path });
    const inode = this.#c.inode(ino);
    if (inode.generation !== generation) throw new FsError('ESTALE', 'open', { path });
    if (writable && !isFile(inode.mode)) throw new FsError('EISDIR', 'open', { path });
    session.handles.set(id, { id, ino, generation, path, writable });
    this.#c.refer(ino);
  }

  write({ guest, handle, offset }: PeerRequest<'write'>, bytes: Uint8Array): Promise<PeerReply<'write'>> {
    return write(this.#c, this.#of(guest), { handle, offset, bytes });
  }

  fill({ guest, page }: PeerRequest<'fill'>, bytes: Uint8Array): void {
    assertReserved(this.#of(guest), { page, count: Math.ceil(bytes.length / pageSize) });
    this.#store(page, bytes);
  }

  #store(page: number, bytes: Uint8Array): void {
    const { fd, path } = this.#c.data;
    writeAllNow(fd, bytes, page * pageSize, path);
  }

  closeHandle(guest: number, handle: number): void {
    const session = this.#guests.get(guest)?.session;
    if (session !== undefined) close(this.#c, session, handle);
  }

  close(guest: number): void {
    const session = this.#guests.get(guest)?.session;
    this.#guests.delete(guest);
    if (session !== undefined) endSession(this.#c, session, left(this.#node));
  }

  /** Their node is gone. */
  closeAll(): void {
    for (const guest of [...this.#guests.keys()]) this.close(guest);
  }

  #of(guest: number): Session {
    return this.#guestOf(guest).session;
  }

  #guestOf(id: number): Guest {
    const guest = this.#guests.get(id);
    if (guest === undefined) throw new FsError('ESTALE', 'forward', { why: `no guest ${id}` });
    return guest;
  }
}

function assertReserved(session: Session, { page, count }: Run): void {
  const holds = (run: Run): boolean => run.page <= page && page + count <= run.page + run.count;
  if (!reservedRuns(session).some(holds))
    throw new FsError('EINVAL', 'write', { why: 'the pages are not reserved' });
}

/** What a guest has got by an answer, and keeps until it gives it back. */
function givenIn(session: Session, name: RequestName, reply: AnyReply): Handle | Reservation | undefined {
  if (name === 'open') return session.handles.get((reply as Reply<'open'>).handle);
  if (name !== 'reserve') return undefined;
  const [first] = (reply as Reply<'reserve'>).runs;
  return [...session.reservations].find(({ left }) => left.some(({ page }) => page === first?.page));
}

const left = (node: string): FsError =>
  new FsError('ECONNRESET', 'close', { why: `the client at ${node} has left` });
