/**
 * fallocate(2): holes, zeros and pages in the middle of a file, right under live views.
 *
 * Whole pages are exchanged within one commit, as for any change of a layout: a live view has zeros there
 * from the commit on, one that follows by hand keeps the old bytes until it advances. The rest of a page at
 * either end is zeroed in place, as a write would.
 */
import { type Extent, FsError, type Reply, type Request } from '@cluster-fs/transport';
import { InodeCopy, isDirectory, isFile, mayAccess, pageSize, readInode, walk } from 'cluster-fs/segment';
import { assertFits, extendZeros, handleOf, pagesFor, touchModified } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import { fillHoles, fillUnderWriters, isMappedToWrite } from './holes.ts';
import { assertMayChange } from './open.ts';
import { assertNoPinnedWriter } from './pinned.ts';
import { type Cause, changeExtents } from './remap.ts';
import { makeRoom } from './room.ts';
import { clip, splice } from './runs.ts';
import type { Session } from './session.ts';
import { changeLayout } from './settled.ts';

type Fallocate = Request<'fallocate'>;
const syscall = 'fallocate';

export async function fallocate(
  c: Coordinator,
  session: Session,
  request: Fallocate,
): Promise<Reply<'fallocate'>> {
  const { offset, length } = request;
  const target = findTarget(c, session, request);
  if (length === 0) throw new FsError('EINVAL', syscall, { path: target.path, why: 'no bytes' });
  if (request.mode !== 'punch') assertFits(c, offset + length, syscall, target.path);
  const from = Math.floor(offset / pageSize);
  // What live views are told to map must be there.
  if (request.mode === 'allocate')
    await c.pager?.fetch(target.ino, { from, count: pagesFor(offset + length) - from });
  await makeRoom(c, pagesWanted(c, target.ino, request));
  return changeLayout(c, { session }, target.ino, () => change(c, target, request));
}

/** Pages that the change may need, as the file is now. */
function pagesWanted(c: Coordinator, ino: number, { mode, keepSize, offset, length }: Fallocate): number {
  const { size } = c.inode(ino);
  const limit = mode === 'punch' || keepSize ? size : Number.POSITIVE_INFINITY;
  const end = Math.min(offset + length, limit);
  const isFilled = mode !== 'punch' || isMappedToWrite(c, ino);
  return isFilled && end > offset ? pagesFor(end) - Math.floor(offset / pageSize) : 0;
}

interface Target {
  readonly ino: number;
  readonly generation: number;
  readonly path: string;
}

function findTarget(c: Coordinator, session: Session, { path = '', handle }: Fallocate): Target {
  if (handle !== undefined) {
    const open = handleOf(session, handle, syscall);
    if (!open.writable) throw new FsError('EBADF', syscall);
    return open;
  }
  assertMayChange(session, syscall, path);
  const { credentials } = session;
  const { ino } = walk(c.segment, path, { follow: true, syscall, credentials });
  if (ino === 0) throw new FsError('ENOENT', syscall, { path });
  const { mode, generation } = c.inode(ino);
  if (isDirectory(mode)) throw new FsError('EISDIR', syscall, { path });
  if (!isFile(mode)) throw new FsError('EINVAL', syscall, { path });
  if (!mayAccess(c.segment, ino, credentials, 2)) throw new FsError('EACCES', syscall, { path });
  return { ino, generation, path };
}

/** Requires: inside mutate, with the layout held exclusively. */
function change(c: Coordinator, { ino, generation, path }: Target, request: Fallocate): Reply<'fallocate'> {
  const inode = new InodeCopy();
  // Whoever came by path kept nothing alive while this waited.
  if (!readInode(c.segment, ino, inode) || inode.generation !== generation)
    throw new FsError('ENOENT', syscall, { path });
  const { mode, offset } = request;
  const keepsSize = mode === 'punch' || request.keepSize;
  // A file has no pages behind its last one.
  const limit = keepsSize ? pagesFor(inode.size) * pageSize : Number.POSITIVE_INFINITY;
  const end = Math.min(offset + request.length, limit);
  const size = keepsSize ? inode.size : Math.max(inode.size, end);
  if (offset < end) {
    const before = c.extents(ino);
    extendZeros(c, inode, size);
    if (mode !== 'allocate') zeroEdges(c, ino, before, { offset, end });
    exchange(c, inode, before, { mode, offset, end, size });
  }
  touchModified(c, ino, path);
  return { size };
}

interface Exchange {
  readonly mode: Fallocate['mode'];
  readonly offset: number;
  readonly end: number;
  readonly size: number;
}

const causes: Readonly<Record<Fallocate['mode'], Cause>> = {
  allocate: 'grow',
  punch: 'punch',
  zero: 'zero',
};

/** Gives the file its new extents. */
function exchange(
  c: Coordinator,
  { ino, size: oldSize }: InodeCopy,
  before: readonly Extent[],
  { mode, offset, end, size }: Exchange,
): void {
  const touched = { from: Math.floor(offset / pageSize), end: pagesFor(end) };
  const whole = wholePages(offset, end);
  const leaves = mode !== 'allocate' && clip(before, whole.from, whole.count).length > 0;
  if (leaves) assertNoPinnedWriter(c, ino, whole, syscall);
  const left = leaves ? splice(before, whole.from, whole.count, []) : before;
  const given = mode === 'punch' ? left : fillHoles(c, left, touched);
  const extents = fillUnderWriters(c, ino, given, size);
  const grown = pageTotal(extents) !== pageTotal(left);
  if (!leaves && !grown && size === oldSize) return;
  // A file that grows may get pages, or holes that views must see, from its old end on.
  const from = size === oldSize ? touched.from : Math.min(touched.from, pagesFor(oldSize));
  const range = mode === 'punch' ? whole : { from, count: touched.end - from };
  changeExtents(c, ino, extents, { cause: causes[mode], ...range, size });
}

const pageTotal = (extents: readonly Extent[]): number => extents.reduce((sum, e) => sum + e.count, 0);

/** The pages that lie in a range of bytes with all of theirs. */
function wholePages(offset: number, end: number): { from: number; count: number } {
  const from = Math.ceil(offset / pageSize);
  return { from, count: Math.max(0, Math.floor(end / pageSize) - from) };
}

/** Zeroes what a range has of pages that it does not cover, once the change is committed. */
function zeroEdges(
  c: Coordinator,
  ino: number,
  before: readonly Extent[],
  { offset, end }: { offset: number; end: number },
): void {
  for (const part of edges(offset, end)) {
    const filePage = Math.floor(part.offset / pageSize);
    const [e] = clip(before, filePage, 1);
    if (e === undefined) continue;
    c.pager?.fetchNow(ino, { from: filePage, count: 1 });
    c.contentChanges(ino, { from: filePage, count: 1 });
    const at = e.page * pageSize + (part.offset % pageSize);
    c.journal.afterCommit(() => c.data.zero(at, part.end - part.offset));
  }
}

/** The parts of pages at either end of a range of bytes. */
function edges(offset: number, end: number): { offset: number; end: number }[] {
  const first = Math.ceil(offset / pageSize) * pageSize;
  const last = Math.floor(end / pageSize) * pageSize;
  if (first > last) return [{ offset, end }];
  return [
    { offset, end: first },
    { offset: last, end },
  ].filter((part) => part.offset < part.end);
}
