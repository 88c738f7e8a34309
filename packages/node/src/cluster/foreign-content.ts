/**
 * Files of another home in this node's segment: which file pages there are, as their home says. Where they
 * lie is decided here; they are absent until a block of them comes.
 */
import { FsError, type Hole } from '@cluster-fs/transport';
import type { PeerContent, PeerRefusal } from '@cluster-fs/transport/peer';
import { InodeCopy, isFile, readInode, type Segment, setExtents } from 'cluster-fs/segment';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { noSpace } from '../coordinator/reserve.ts';
import { clipAll, layOut, merge, subtract } from '../coordinator/runs.ts';
import type { Homes } from './homes.ts';
import { relay } from './relay.ts';

/** What views have to do with a change of the file pages that there are. */
export interface Relaid {
  readonly ino: number;
  /** File pages that have become holes. */
  readonly lost: readonly Hole[];
  /** File pages that were holes, or behind the end. */
  readonly gained: readonly Hole[];
  readonly size: number;
}

interface Layout {
  readonly ino: number;
  readonly pages: readonly Hole[];
  readonly size: number;
}

/**
 * Gives a file pages where its home has some, and takes them where it has none. Requires: inside mutate. True
 * when something is different from before.
 */
export function layOutForeign(c: Coordinator, homes: Homes, { ino, pages, size }: Layout): boolean {
  const before = c.extents(ino);
  const gained = filePagesOf(pages, before);
  const lost = filePagesOf(before, pages);
  const isSame = gained.length === 0 && lost.length === 0;
  if (isSame && c.inode(ino).size === size) return false;
  const pagesIn = (holes: readonly Hole[]): number => holes.reduce((sum, { count }) => sum + count, 0);
  homes.countForeign(pagesIn(gained) - pagesIn(lost));
  homes.copies?.relaid(ino, [...gained, ...lost]);
  const added = gained.flatMap(({ filePage, count }) => layOut(takeAbsent(c, count), filePage));
  const extents = merge(clipAll(before, pages), added);
  if (c.views.has(ino)) {
    relay(c, { ino, lost, gained, size }, extents);
    return true;
  }
  if (!isSame) setExtents(c.writer, ino, extents);
  const left = clipAll(before, lost);
  if (left.length > 0) c.freePages(left);
  return true;
}

/**
 * The pages that a file of another home has here. Whoever may store anywhere has pages everywhere: a hole
 * would be anonymous memory in a view, and what is stored there would be lost without a word. The home sees
 * to that when it knows of such a view. One that was started again does not before it is asked: until then
 * its holes are pages here, absent as others are, so that a touch waits for what the home says.
 */
export function pagesHere(c: Coordinator, homes: Homes, { ino, pages, size }: Layout): readonly Hole[] {
  const count = pagesFor(size);
  const isStoredInto = [...c.viewsOf(ino)].some(({ mode }) => mode === 'rw');
  if (!isStoredInto || pages.reduce((sum, run) => sum + run.count, 0) >= count) return pages;
  c.journal.afterCommit(() => homes.reopen(ino));
  return [{ filePage: 0, count }];
}

/** The same for a view that is mapped just now. Requires: inside mutate. */
export function layOutWhole(c: Coordinator, homes: Homes, ino: number): void {
  const { size } = c.inode(ino);
  const isMapped = c.views.has(ino);
  layOutForeign(c, homes, { ino, pages: [{ filePage: 0, count: pagesFor(size) }], size });
  if (!isMapped) c.writer.touchInode(ino).layoutVersion += 1;
  c.journal.afterCommit(() => homes.reopen(ino));
}

/** Pages that nobody can know yet: readers find them by the extents, which come later. */
function takeAbsent(
  c: Coordinator,
  count: number,
): ReturnType<typeof layOut> | { page: number; count: number }[] {
  const runs = c.writer.pages.allocate(count);
  if (runs === undefined) throw noSpace(c, count);
  c.writer.onRollback(() => {
    for (const run of runs) c.writer.pages.release(run);
  });
  c.pager?.setAbsent(runs);
  return runs;
}

/** File pages that are in `ranges` and not in `others`. Either may be as many as a file has holes. */
function filePagesOf(ranges: readonly Hole[], others: readonly Hole[]): Hole[] {
  const runsOf = (of: readonly Hole[]) => of.map(({ filePage, count }) => ({ page: filePage, count }));
  return subtract(runsOf(ranges), runsOf(others)).map(({ page, count }) => ({ filePage: page, count }));
}

/** Pages are in order, each once, and no file is larger than the segment. */
function assertPossible(c: Coordinator, { ino, size, pages }: PeerContent): void {
  let end = 0;
  const inOrder = pages.every(({ filePage, count }) => {
    const follows = count > 0 && filePage >= end;
    end = filePage + count;
    return follows;
  });
  if (!inOrder || end > c.segment.pageCount || size > c.segment.dataSize)
    throw new FsError('EPROTO', 'content', { why: `inode ${ino} cannot be like that` });
}

/**
 * At the coordinator: what a node did to files that it keeps. Resolves when every node knows, with those of
 * which this is not so: each is a change by itself.
 */
export async function applyContent(
  c: Coordinator,
  homes: Homes,
  home: number,
  files: readonly PeerContent[],
): Promise<PeerRefusal[]> {
  for (const file of files) assertPossible(c, file);
  const refused: PeerRefusal[] = [];
  const apply = async (file: PeerContent): Promise<void> => {
    try {
      await c.journal.mutate(() => applyOne(c, homes, home, file));
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      refused.push({ ino: file.ino, code: error.code, why: (error.why ?? '').slice(0, 1024) });
    }
  };
  await Promise.all(files.map(apply));
  return refused;
}

function applyOne(
  c: Coordinator,
  homes: Homes,
  home: number,
  { ino, generation, size, mtimeMs, ctimeMs, pages }: PeerContent,
): void {
  const inode = new InodeCopy();
  // It may be gone, and its home has not heard of that yet.
  if (!readInode(c.segment, ino, inode) || inode.generation !== generation || inode.home !== home) return;
  const isMapped = c.views.has(ino);
  const isOther = layOutForeign(c, homes, { ino, pages: pagesHere(c, homes, { ino, pages, size }), size });
  if (!isOther && mtimeMs === undefined) return;
  const record = c.writer.touchInode(ino);
  // A version is never published with other extents.
  if (isOther && !isMapped) record.layoutVersion += 1;
  record.size = size;
  if (mtimeMs !== undefined) record.mtimeMs = mtimeMs;
  record.ctimeMs = Math.max(inode.ctimeMs, ctimeMs ?? 0);
}

/**
 * After a start: what is in memory of files of other homes is of no use, their leases are over. They get
 * other pages, since somebody may map these still. Files that this node may be the home of are spared.
 */
export function forgetForeign(c: Coordinator, homes: Homes): void {
  const inode = new InodeCopy();
  c.journal
    .mutate(() => {
      for (const ino of foreignFiles(c.segment, c.writer.inodeLimit)) {
        if (homes.isOwn(ino) || homes.isCandidate(ino) || !readInode(c.segment, ino, inode)) continue;
        const before = c.extents(ino);
        c.freePages(before);
        if (c.unresolved.size === 0) c.data.punch(before);
        setExtents(
          c.writer,
          ino,
          before.flatMap(({ filePage, count }) => layOut(takeAbsent(c, count), filePage)),
        );
        c.writer.touchInode(ino).layoutVersion += 1;
      }
    })
    .catch((error: unknown) => c.hub.report(error));
  c.journal.flush();
}

/** Files whose content is in pages of this segment. */
function* foreignFiles(s: Segment, limit: number): Generator<number> {
  const inode = new InodeCopy();
  for (let ino = 1; ino < limit; ino++)
    if (readInode(s, ino, inode) && isFile(inode.mode) && inode.extentCount > 0) yield ino;
}

/** A file that its home has lost: nobody can say what was in it. */
export const lostFile = (syscall: string): FsError =>
  new FsError('EIO', syscall, { why: 'the node that kept the file has lost it' });
