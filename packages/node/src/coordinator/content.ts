/**
 * What is in a file: whole contents put in one step, pages attached, stores in place, truncation.
 *
 * No file data is seen here. A client fills pages that are its own (`reserve`) or that stand still for it
 * (`writeBegin`), and here they become the file's.
 */
import { type Event, type Extent, FsError, type Reply, type Request } from '@cluster-fs/transport';
import { type InodeCopy, isDirectory, isFile, pageSize } from 'cluster-fs/segment';
import { exceeded } from '../limits.ts';
import type { Coordinator } from './coordinator.ts';
import type { Hold } from './gate.ts';
import { fill, fillUnderWriters, type Gap, gaps } from './holes.ts';
import type { MoveOptions } from './move.ts';
import { assertMayChange, createFile, openTarget } from './open.ts';
import { assertNoPinnedWriter } from './pinned.ts';
import type { Asker } from './recall.ts';
import { changeExtents } from './remap.ts';
import { consume, giveBack, reservedRuns, takePages } from './reserve.ts';
import { makeRoom } from './room.ts';
import { clip, coalesce, layOut, merge, pageCountOf, splice, subtract } from './runs.ts';
import type { Grant, Handle, Session } from './session.ts';
import { changeLayout } from './settled.ts';

export const pagesFor = (size: number): number => Math.ceil(size / pageSize);

export async function reserve(
  c: Coordinator,
  session: Session,
  { pages }: Request<'reserve'>,
): Promise<Reply<'reserve'>> {
  assertMayChange(session, 'write');
  await makeRoom(c, pages);
  return c.journal.mutate(() => {
    // Nobody would give back what a session gets that has ended meanwhile.
    if (session.ended) throw new FsError('ECONNRESET', 'write');
    return { runs: takePages(c, pages, session.reservations).left.map((r) => ({ ...r })) };
  });
}

/** Who does not know whether its pages were used, since a node is gone, gives them back: the others are. */
export function unreserve(c: Coordinator, session: Session, { runs }: Event<'unreserve'>): void {
  c.journal
    .mutate(() => {
      const used = subtract(runs, reservedRuns(session));
      giveBack(c, used.length === 0 ? runs : subtract(runs, used), session.reservations);
    })
    .catch((error: unknown) => c.hub.report(error));
}

/** A file by path or by handle, as the request names it. */
export function handleOf(session: Session, id: number, syscall: string): Handle {
  const handle = session.handles.get(id);
  if (handle === undefined) throw new FsError('EBADF', syscall);
  return handle;
}

export async function put(
  c: Coordinator,
  session: Session,
  request: Request<'put'>,
  long: MoveOptions,
): Promise<Reply<'put'>> {
  const asker = { session, long };
  const { path, handle, flags, mode, size } = request;
  assertFits(c, size, 'write', path);
  assertCovers(request);
  if (handle !== undefined) return replace(c, asker, writableHandle(session, handle), request);
  if (path === undefined) throw new FsError('EINVAL', 'open', { why: 'neither path nor handle' });
  const target = openTarget(c, session, { path, flags, write: true });
  if (target.ino !== 0) return replace(c, asker, { ino: target.ino, path }, request);
  return c.journal.mutate(() => {
    const ino = createFile(c, session, target, { path, mode });
    return setContent(c, session, { ino, path, request });
  });
}

/** Pages and holes are the whole file, each page of it once. */
function assertCovers({ size, runs, holes = [] }: Request<'put'>): void {
  const empty = holes.reduce((sum, { count }) => sum + count, 0);
  let end = 0;
  const inOrder = holes.every(({ filePage, count }) => {
    const follows = count > 0 && filePage >= end;
    end = filePage + count;
    return follows;
  });
  if (!inOrder || end > pagesFor(size) || pageCountOf(runs) + empty !== pagesFor(size))
    throw new FsError('EINVAL', 'write', { why: 'pages and size disagree' });
}

function replace(
  c: Coordinator,
  asker: Asker,
  { ino, path }: { ino: number; path: string },
  request: Request<'put'>,
): Promise<Reply<'put'>> {
  return changeLayout(c, asker, ino, () => {
    c.journal.afterCommit(() => c.hub.emit('replace', path, { size: request.size }));
    return setContent(c, asker.session, { ino, path, request });
  });
}

/** Requires: inside mutate, with the layout held exclusively or the inode new. */
function setContent(
  c: Coordinator,
  session: Session,
  { ino, request }: { ino: number; path: string; request: Request<'put'> },
): Reply<'put'> {
  const { size, runs, holes = [], mtimeMs } = request;
  const count = Math.max(pagesFor(c.inode(ino).size), pagesFor(size));
  assertNoPinnedWriter(c, ino, { from: 0, count }, 'write');
  consume(c, runs, session.reservations);
  const asExtents = holes.map((hole) => ({ ...hole, page: 0 }));
  const laidOut = coalesce(fill(gaps(asExtents, 0, pagesFor(size)), runs));
  const filled = fillUnderWriters(c, ino, laidOut, size);
  changeExtents(c, ino, filled, { cause: 'replace', from: 0, count, size });
  const now = c.now();
  const record = c.writer.touchInode(ino);
  record.mtimeMs = mtimeMs ?? now;
  record.ctimeMs = now;
  return { ino, layoutVersion: c.inode(ino).layoutVersion };
}

export function attachPages(
  c: Coordinator,
  session: Session,
  { handle: id, offset, length, runs }: Request<'attachPages'>,
): Promise<Reply<'attachPages'>> {
  const handle = writableHandle(session, id);
  if (offset % pageSize !== 0 || pageCountOf(runs) !== pagesFor(length) || length === 0) {
    throw new FsError('EINVAL', 'write', { why: 'not whole pages' });
  }
  assertFits(c, offset + length, 'write', handle.path);
  return c.alone(handle.ino, () =>
    c.journal.mutate(() => {
      const inode = c.inode(handle.ino);
      const from = offset / pageSize;
      const count = pageCountOf(runs);
      const extents = c.extents(handle.ino);
      if (clip(extents, from, count).length > 0)
        throw new FsError('EEXIST', 'write', { why: 'the file has pages there' });
      consume(c, runs, session.reservations);
      const size = Math.max(inode.size, offset + length);
      extendZeros(c, inode, offset);
      grow(c, handle.ino, splice(extents, from, count, layOut(runs, from)), { from, count, size });
      touchModified(c, handle.ino, handle.path);
      return { size };
    }),
  );
}

export function writableHandle(session: Session, id: number): Handle {
  const handle = handleOf(session, id, 'write');
  if (!handle.writable) throw new FsError('EBADF', 'write');
  return handle;
}

function grow(
  c: Coordinator,
  ino: number,
  extents: readonly Extent[],
  change: { from: number; count: number; size: number },
): void {
  const start = Math.min(change.from, pagesFor(c.inode(ino).size));
  const filled = fillUnderWriters(c, ino, extents, change.size);
  changeExtents(c, ino, filled, {
    ...change,
    cause: 'grow',
    from: start,
    count: change.from + change.count - start,
  });
}

export function touchModified(c: Coordinator, ino: number, path: string): void {
  const now = c.now();
  const record = c.writer.touchInode(ino);
  record.mtimeMs = now;
  record.ctimeMs = now;
  c.journal.afterCommit(() => {
    c.hub.emit('modify', path, {});
    c.writeBack?.wrote(ino);
  });
}

/**
 * Wipes the rest of the last page before a file grows over it: what lies behind the end was never promised to
 * be zero, a view may have stored there.
 */
export function extendZeros(c: Coordinator, { ino, size }: InodeCopy, newEnd: number): void {
  if (newEnd <= size) return;
  c.contentChanges(ino, { from: Math.floor(size / pageSize), count: 1 });
  wipeTail(c, ino, size)();
}

/** How to zero what lies in the page of byte `size` from there on. */
function wipeTail(c: Coordinator, ino: number, size: number): () => void {
  const tail = size % pageSize;
  const lastPage = Math.floor(size / pageSize);
  const [last] = tail === 0 ? [] : clip(c.extents(ino), lastPage, 1);
  if (last !== undefined) c.pager?.fetchNow(ino, { from: lastPage, count: 1 });
  return () => {
    if (last !== undefined) c.data.zero(last.page * pageSize + tail, pageSize - tail);
  };
}

/**
 * Opens a store in place. Only one write at a time may add pages to a file, so one that does holds the layout
 * alone until it ends; overwriting what is there is shared.
 */
export async function writeBegin(
  c: Coordinator,
  session: Session,
  { handle: id, offset, length }: Request<'writeBegin'>,
): Promise<Reply<'writeBegin'>> {
  const handle = writableHandle(session, id);
  if (length === 0) throw new FsError('EINVAL', 'write', { why: 'nothing to write' });
  assertFits(c, (offset ?? 0) + length, 'write', handle.path);
  const grantId = c.nextId();
  const onBreak = (): void => {
    const grant = session.grants.get(grantId);
    if (grant !== undefined) markBroken(c, grant);
  };
  await makeRoom(c, pagesFor(length) + 1);
  for (let extending = extendsFile(c, handle.ino, offset, length); ; extending = true) {
    const hold = await c.gate.acquire(handle.ino, extending ? 'exclusive' : 'shared', onBreak);
    try {
      c.assertHome(handle.ino);
      await ownBlocks(c, handle.ino, offset, length);
    } catch (error) {
      c.gate.release(hold);
      throw error;
    }
    // Somebody may have truncated the file while this waited.
    if (extending || !extendsFile(c, handle.ino, offset, length)) {
      return beginHeld(c, session, { handle, grantId, offset, length, hold });
    }
    c.gate.release(hold);
  }
}

/** Waits until no other node has what a write is about to change. */
async function ownBlocks(c: Coordinator, ino: number, offset: number | undefined, length: number) {
  const { blocks } = c;
  if (blocks === undefined) return;
  for (;;) {
    const { size } = c.inode(ino);
    const at = offset ?? size;
    const from = Math.floor(Math.min(at, size) / pageSize);
    const range = { from, count: pagesFor(at + length) - from };
    if (blocks.holds(ino, range, 'write')) return;
    await blocks.acquire(ino, range, 'write');
  }
}

/** Whether a write makes the file longer or gives it pages. Only one such write at a time. */
export function extendsFile(
  c: Coordinator,
  ino: number,
  offset: number | undefined,
  length: number,
): boolean {
  if (offset === undefined || offset + length > c.inode(ino).size) return true;
  return missingPages(c, ino, offset, length).length > 0;
}

interface Begin {
  handle: Handle;
  grantId: number;
  offset: number | undefined;
  length: number;
  hold: Hold;
}

function beginHeld(
  c: Coordinator,
  session: Session,
  { handle, grantId, offset, length, hold }: Begin,
): Promise<Reply<'writeBegin'>> {
  return c.journal.mutate(() => {
    c.writer.onRollback(() => c.gate.release(hold));
    if (session.ended) throw new FsError('ECONNRESET', 'write');
    // A hold that lasts too long is broken, and then the file may move.
    c.assertHome(handle.ino);
    if (session.grants.size >= c.limits.writes)
      throw exceeded(c.limits, 'writes', { syscall: 'write', path: handle.path });
    const at = offset ?? c.inode(handle.ino).size;
    assertFits(c, at + length, 'write', handle.path);
    const from = Math.floor(at / pageSize);
    const count = pagesFor(at + length) - from;
    // What the client leaves of them must be there.
    c.pager?.fetchNow(handle.ino, { from, count });
    const missing = missingPages(c, handle.ino, at, length);
    const pages = missing.reduce((sum, m) => sum + m.count, 0);
    const reservation = pages > 0 ? takePages(c, pages, session.reservations) : undefined;
    const added = fill(missing, reservation?.left ?? []);
    const grant: Grant = {
      id: grantId,
      session,
      ino: handle.ino,
      offset: at,
      length,
      path: handle.path,
      added,
      reservation,
      hold,
      broken: false,
    };
    session.grants.set(grantId, grant);
    c.contentChanges(handle.ino, { from, count });
    // Before the client stores: what it stores behind the old end must stay.
    extendZeros(c, c.inode(handle.ino), at + length);
    c.writer.onRollback(() => endGrant(c, grant));
    return {
      grant: grantId,
      offset: at,
      extents: merge(clip(c.extents(handle.ino), from, count), added),
    };
  });
}

/** The file pages of a range that have no page of the segment. */
const missingPages = (c: Coordinator, ino: number, offset: number, length: number): Gap[] =>
  gaps(c.extents(ino), Math.floor(offset / pageSize), pagesFor(offset + length));

export async function writeEnd(
  c: Coordinator,
  session: Session,
  request: Request<'writeEnd'>,
): Promise<Reply<'writeEnd'>> {
  const grant = session.grants.get(request.grant);
  if (grant === undefined) throw new FsError('EBADF', 'write', { why: 'no such grant' });
  const written = Math.min(request.written, grant.length);
  try {
    return await c.journal.mutate(() => {
      if (grant.broken) {
        endBrokenGrant(c, grant);
        throw new FsError('ESTALE', 'write', { path: grant.path, why: 'the layout changed meanwhile' });
      }
      const inode = c.inode(grant.ino);
      const end = grant.offset + written;
      const size = Math.max(inode.size, end);
      if (grant.added.length > 0) {
        if (written < grant.length) fillUnwritten(c, grant, written);
        attachAdded(c, grant, size);
      } else if (size !== inode.size) {
        // No page comes, but views must hear how long the file is.
        if (c.views.has(grant.ino))
          grow(c, grant.ino, c.extents(grant.ino), { from: pagesFor(size), count: 0, size });
        else c.writer.touchInode(grant.ino).size = size;
      }
      touchModified(c, grant.ino, grant.path);
      return { size, offset: grant.offset };
    });
  } finally {
    endGrant(c, grant);
  }
}

/** Pages that the write added and did not come to: they are zeros, and with a store must be so in `data`. */
function fillUnwritten(c: Coordinator, { added, offset }: Grant, written: number): void {
  if (c.pager === undefined) return;
  c.data.fillZeros(clip(added, pagesFor(offset + written), Number.MAX_SAFE_INTEGER / 2));
}

function attachAdded(c: Coordinator, grant: Grant, size: number): void {
  const wanted = clip(grant.added, 0, pagesFor(size));
  const surplus = clip(grant.added, pagesFor(size), Number.MAX_SAFE_INTEGER / 2);
  consume(
    c,
    wanted.map(({ page, count }) => ({ page, count })),
    grant.session.reservations,
  );
  if (surplus.length > 0) giveBack(c, surplus, grant.session.reservations);
  const extents = merge(c.extents(grant.ino), wanted);
  const from = Math.floor(grant.offset / pageSize);
  grow(c, grant.ino, extents, { from, count: pagesFor(grant.offset + grant.length) - from, size });
}

/** A broken grant's new pages go back; ESTALE tells the client to write again. */
function endBrokenGrant(c: Coordinator, grant: Grant): void {
  if (grant.added.length === 0) return;
  c.journal
    .mutate(() =>
      giveBack(
        c,
        grant.added.map(({ page, count }) => ({ page, count })),
        grant.session.reservations,
      ),
    )
    .catch((error: unknown) => c.hub.report(error));
}

/** The client may store on into the pages that it was granted, but they may be the file's no more. */
function markBroken(c: Coordinator, grant: Grant): void {
  grant.broken = true;
  c.brokenGrants.add(grant);
}

/** Lets others change the layout. */
export function breakGrant(c: Coordinator, grant: Grant): void {
  markBroken(c, grant);
  if (grant.hold !== undefined) c.gate.release(grant.hold);
}

export function endGrant(c: Coordinator, grant: Grant): void {
  grant.session.grants.delete(grant.id);
  c.brokenGrants.delete(grant);
  if (grant.hold !== undefined) c.gate.release(grant.hold);
  c.quarantine.grantEnded(grant);
  if (c.blocks !== undefined) c.answers.notify();
}

/** No file is larger than the segment; page numbers are 32 bits. */
export function assertFits(c: Coordinator, end: number, syscall: string, path?: string): void {
  if (end > c.segment.dataSize) throw new FsError('EFBIG', syscall, { path, why: 'larger than the segment' });
}

/** Changes the size. Requires: inside mutate, with the layout held exclusively. */
export function resize(c: Coordinator, ino: number, size: number): void {
  const inode = c.inode(ino);
  if (isDirectory(inode.mode)) throw new FsError('EISDIR', 'truncate');
  if (!isFile(inode.mode)) throw new FsError('EINVAL', 'truncate');
  assertFits(c, size, 'truncate');
  const before = pagesFor(inode.size);
  const after = pagesFor(size);
  const from = Math.min(before, after);
  const count = Math.abs(before - after);
  const cause = size < inode.size ? 'truncate' : 'grow';
  if (size < inode.size) assertNoPinnedWriter(c, ino, { from, count }, 'truncate');
  extendZeros(c, inode, size);
  // The place is looked up now: a later change of the same commit may take the page away, and punches it
  // after this.
  const wipe = size < inode.size ? wipeTail(c, ino, size) : undefined;
  const extents = clip(c.extents(ino), 0, after);
  const filled = size > inode.size ? fillUnderWriters(c, ino, extents, size) : extents;
  changeExtents(c, ino, filled, { cause, from, count, size });
  if (wipe !== undefined) c.journal.afterCommit(wipe);
}
