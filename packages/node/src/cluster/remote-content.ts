/**
 * Content that clients write by API into files of another home: into pages of this segment that nobody else
 * sees, from there to the home, and only then it is answered.
 *
 *   new pages    they go with the request; those of a long one are reserved at the home before, and filled
 *   short        its bytes are written at the home
 *   in place     writeBegin: pages here ──client stores──▶ writeEnd: the bytes are written at the home
 */
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { type Extent, FsError, type Reply, type Request, type Run } from '@cluster-fs/transport';
import { peerLimits } from '@cluster-fs/transport/peer';
import { InodeCopy, pageSize, readInode } from 'cluster-fs/segment';
import { handleOf, pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { piecesOf } from '../coordinator/pieces.ts';
import { giveBack, takePages } from '../coordinator/reserve.ts';
import { makeRoom } from '../coordinator/room.ts';
import { layOut, pageCountOf } from '../coordinator/runs.ts';
import type { Handle, Session } from '../coordinator/session.ts';
import { write } from '../coordinator/short-write.ts';
import { readAllNow } from '../store/file-calls.ts';
import { BlockBuffers } from './block-buffers.ts';
import { blockPages } from './blocks.ts';
import type { Homes } from './homes.ts';
import type { Line } from './line.ts';

const readAt = promisify(read);
/** As much is read in less time than a way to the pool takes. */
const soonBytes = 64 * 1024;
/**
 * As many go with the request. For more it would need memory in one piece at either end, which costs more
 * than to ask twice.
 */
const sentPages = 4 * blockPages;
/**
 * A request may wait at the home, for a client there that has to let go, and those with content have the
 * places in the link that all writes share: half of them at most.
 */
const mostSending = peerLimits.bulkRequests / 2;
/** Messages with bytes that are under way for one write; each has a block of them. */
const atOnce = 16;

/** A write whose bytes the client is putting into our memory. */
interface PendingWrite {
  readonly session: Session;
  readonly handle: Handle;
  /** At the end of the file, wherever that is by then. */
  readonly isAppend: boolean;
  readonly offset: number;
  readonly length: number;
  readonly extents: readonly Extent[];
  readonly runs: readonly Run[];
}

interface Asker {
  readonly line: Line;
  readonly session: Session;
}

/** Asks the home to make pages the file's: pages there, or what is to be in them. */
type Use<T> = (asked: number, pages: { runs: readonly Run[]; content?: Buffer | undefined }) => Promise<T>;

interface Written {
  readonly session: Session;
  readonly handle: Handle;
  readonly offset: number | undefined;
}

export class RemoteContent {
  readonly #c: Coordinator;
  readonly #homes: Homes;
  readonly #pending = new Map<number, PendingWrite>();
  readonly #buffers = new BlockBuffers();
  /** Requests with content that have no answer. */
  #sending = 0;

  constructor(c: Coordinator, homes: Homes) {
    this.#c = c;
    this.#homes = homes;
  }

  /** Whether it is a write of these. */
  has(grant: number): boolean {
    return this.#pending.has(grant);
  }

  async put(line: Line, session: Session, request: Request<'put'>): Promise<Reply<'put'>> {
    return this.#withPages({ line, session }, request.runs, (asked, { runs, content }) =>
      line.askAs(asked, session, { name: 'put', fields: { ...request, runs }, content }),
    );
  }

  async attachPages(
    line: Line,
    session: Session,
    request: Request<'attachPages'>,
  ): Promise<Reply<'attachPages'>> {
    return this.#withPages({ line, session }, request.runs, (asked, { runs, content }) =>
      line.askAs(asked, session, { name: 'attachPages', fields: { ...request, runs }, content }),
    );
  }

  /** Brings what is in pages of a client to pages of the home's, and has them used. */
  async #withPages<T>(asker: Asker, own: readonly Run[], use: Use<T>): Promise<T> {
    const pages = pageCountOf(own);
    const isShort = pages <= sentPages && this.#sending < mostSending;
    const done = await (isShort ? this.#sent(asker, own, use) : this.#copied(asker, own, use));
    // As long as it fails they are the client's.
    this.#giveBack(asker.session, own);
    return done;
  }

  async #sent<T>({ line, session }: Asker, own: readonly Run[], use: Use<T>): Promise<T> {
    const whole = { offset: 0, length: pageCountOf(own) * pageSize };
    const content = whole.length > 0 ? await this.#read(session, layOut(own, 0), whole) : undefined;
    this.#sending++;
    try {
      return await use(line.nextAsked(), { runs: [], content });
    } finally {
      this.#sending--;
    }
  }

  async #copied<T>({ line, session }: Asker, own: readonly Run[], use: Use<T>): Promise<T> {
    const asked = line.nextAsked();
    const fields = { pages: pageCountOf(own) };
    const { runs } = await line.askAs(asked, session, { name: 'reserve', fields });
    const { life } = line;
    try {
      await this.#fill({ line, session }, own, runs);
      return await use(line.nextAsked(), { runs });
    } catch (error) {
      // Nobody here may know whether they were used: those that were stay where they are.
      line.takeBack(session, asked);
      // The pages were those of a node that is gone, and the next one knows none of them.
      if (line.life !== life)
        throw new FsError('EAGAIN', 'write', { why: 'the home was started anew', cause: error });
      throw error;
    }
  }

  async #fill({ line, session }: Asker, own: readonly Run[], theirs: readonly Run[]): Promise<void> {
    const source = layOut(own, 0);
    const parts = layOut(theirs, 0).flatMap(({ filePage, page, count }) =>
      Array.from({ length: Math.ceil(count / blockPages) }, (_, i) => ({
        filePage: filePage + i * blockPages,
        page: page + i * blockPages,
        count: Math.min(blockPages, count - i * blockPages),
      })),
    );
    await inParallel(parts, async ({ filePage, page, count }) => {
      const bytes = this.#buffers.take(count * pageSize);
      await this.#readInto(bytes, session, { extents: source, offset: filePage * pageSize });
      const link = await line.link();
      await link.request('fill', { guest: line.guestOf(session), page }, { payload: bytes });
      this.#buffers.give(bytes);
    });
  }

  async writeBegin(session: Session, request: Request<'writeBegin'>): Promise<Reply<'writeBegin'>> {
    const { handle: id, offset, length } = request;
    const handle = handleOf(session, id, 'write');
    if (!handle.writable) throw new FsError('EBADF', 'write');
    if (length === 0) throw new FsError('EINVAL', 'write', { why: 'nothing to write' });
    const inode = new InodeCopy();
    const at = offset ?? (readInode(this.#c.segment, handle.ino, inode) ? inode.size : 0);
    const from = Math.floor(at / pageSize);
    const pages = pagesFor(at + length) - from;
    await makeRoom(this.#c, pages);
    return this.#c.journal.mutate(() => {
      if (session.ended) throw new FsError('ECONNRESET', 'write');
      const { left } = takePages(this.#c, pages, session.reservations);
      const runs = left.map((run) => ({ ...run }));
      const extents = layOut(runs, from);
      const grant = this.#c.nextId();
      const isAppend = offset === undefined;
      this.#pending.set(grant, { session, handle, isAppend, offset: at, length, extents, runs });
      this.#c.writer.onRollback(() => this.#pending.delete(grant));
      return { grant, offset: at, extents };
    });
  }

  async writeEnd(session: Session, { grant, written }: Request<'writeEnd'>): Promise<Reply<'writeEnd'>> {
    const pending = this.#pending.get(grant);
    if (pending === undefined || pending.session !== session)
      throw new FsError('EBADF', 'write', { why: 'no such grant' });
    this.#pending.delete(grant);
    try {
      return await this.#send(pending, Math.min(written, pending.length));
    } finally {
      this.#giveBack(session, pending.runs);
    }
  }

  /** The bytes go as they came. */
  async write(
    line: Line,
    session: Session,
    { handle: id, offset, bytes }: Request<'write'>,
  ): Promise<Reply<'write'>> {
    const handle = handleOf(session, id, 'write');
    if (!handle.writable) throw new FsError('EBADF', 'write');
    if (bytes.length === 0) throw new FsError('EINVAL', 'write', { why: 'nothing to write' });
    const link = await line.linkFor(session, handle);
    const fields = { guest: line.guestOf(session), handle: id, offset };
    return (await link.request('write', fields, { payload: bytes })).reply;
  }

  /** The writes of a session that has ended; its pages go with it. */
  forget(session: Session): void {
    for (const [grant, pending] of this.#pending)
      if (pending.session === session) this.#pending.delete(grant);
  }

  async #send(pending: PendingWrite, length: number): Promise<Reply<'writeEnd'>> {
    const { session, handle, isAppend, offset, extents } = pending;
    let begin = offset;
    let size = 0;
    for (let done = 0; done < length || done === 0; done += peerLimits.payloadBytes) {
      const part = { offset: offset + done, length: Math.min(length - done, peerLimits.payloadBytes) };
      const bytes = await this.#read(session, extents, part);
      const at = isAppend && done === 0 ? undefined : begin + done;
      const written = await this.#write({ session, handle, offset: at }, bytes);
      if (done === 0) begin = written.offset;
      size = written.size;
    }
    return { size, offset: begin };
  }

  /** The file may have another home by now, also this node. */
  #write({ session, handle, offset }: Written, bytes: Buffer): Promise<Reply<'writeEnd'>> {
    return this.#homes.following(handle.ino, async (home) => {
      if (home === this.#homes.self) return write(this.#c, session, { handle: handle.id, offset, bytes });
      const { line } = this.#homes.neighbour(home);
      const link = await line.linkFor(session, handle);
      const fields = { guest: line.guestOf(session), handle: handle.id, offset };
      return (await link.request('write', fields, { payload: bytes })).reply;
    });
  }

  async #read(
    session: Session,
    extents: readonly Extent[],
    { offset, length }: { readonly offset: number; readonly length: number },
  ): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    await this.#readInto(bytes, session, { extents, offset });
    return bytes;
  }

  /** What a client has put into pages of its own. ECONNRESET when it has left: they may be others' by now. */
  async #readInto(
    bytes: Buffer,
    session: Session,
    { extents, offset }: { readonly extents: readonly Extent[]; readonly offset: number },
  ): Promise<void> {
    const { fd, path } = this.#c.data;
    for (const { at, from, length } of piecesOf(extents, offset, bytes.length))
      if (bytes.length <= soonBytes) readAllNow(fd, bytes.subarray(at, at + length), from, path);
      else await readAt(fd, bytes, at, length, from);
    if (session.ended) throw new FsError('ECONNRESET', 'write', { why: 'the client has left' });
  }

  #giveBack(session: Session, runs: readonly Run[]): void {
    // What a session had set aside that has ended is given back already.
    if (runs.length === 0 || session.ended) return;
    this.#c.journal
      .mutate(() => giveBack(this.#c, runs, session.reservations))
      .catch((error: unknown) => this.#c.hub.report(error));
  }
}

/** Fails when nothing is under way any more: what comes late would find pages that are others' by then. */
async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (let i = next++; i < items.length && failures.length === 0; i = next++)
      await work(items[i] as T).catch((error: unknown) => failures.push(error));
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
}
