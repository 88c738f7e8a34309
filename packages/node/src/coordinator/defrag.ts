/**
 * Packing the segment while it is in use: afterwards every file is one extent and free space is one run, as
 * far as space and holders allow.
 *
 * Files are taken in the order in which they lie and slid down, one after the other, to a growing frontier:
 *
 *   | packed ... | place for the next file | not looked at yet ... | free |
 *                ^ frontier
 *
 * What stands in the place is first moved out of the way, to free pages behind it. Pages that cannot move (in
 * quarantine, being written, mapped by a client that does not answer) are stepped over.
 * INVARIANT: below the frontier nothing moves again in this run; so it ends, after at most two moves of any
 * page.
 */
import type { Extent, Reply, Run } from '@cluster-fs/transport';
import { assert, FsError } from '@cluster-fs/transport';
import { InodeCopy, isFile, readInode } from 'cluster-fs/segment';
import type { Coordinator } from './coordinator.ts';
import { type MoveOptions, movePiece, piecePages } from './move.ts';
import { giveBack, recordOwn } from './reserve.ts';
import { overlap } from './runs.ts';

/** How long freed pages may wait for their holders before they are stepped over. */
const settleMs = 1000;

/**
 * Somebody holds a file, there is no room to step aside, it is gone; or it has, or what is in its way has,
 * another home: it stays, and the frontier goes behind it.
 */
const staying: ReadonlySet<string> = new Set(['EBUSY', 'ENOSPC', 'ESTALE', 'EAGAIN']);

interface Outcome {
  moved: number;
  pages: number;
  fragmented: number;
  /** Somebody does not let go of pages: they are stepped over, and not waited for again. */
  stuck: boolean;
}

export async function defrag(c: Coordinator, { onProgress, signal }: MoveOptions): Promise<Reply<'defrag'>> {
  const started = performance.now();
  const files = filesByPlace(c);
  const total = files.reduce((sum, ino) => sum + c.inode(ino).pages, 0);
  const result: Outcome = { moved: 0, pages: 0, fragmented: 0, stuck: false };
  let frontier = 0;
  let done = 0;
  for (const ino of files) {
    signal?.throwIfAborted();
    const pages = pagesOf(c, ino);
    if (pages === 0) continue;
    const from = frontier;
    frontier = await c.keeping(ino, () => place(c, { ino, pages, frontier: from, result }));
    if (stillThere(c, ino) && pieces(c.extents(ino)) > 1) result.fragmented++;
    done += pages;
    onProgress?.(Math.min(done, total), total);
  }
  await c.quarantine.settled(settleMs);
  const { moved, pages, fragmented } = result;
  c.hub.emit('defrag', undefined, { moved, pages, fragmented });
  const freeRuns = [...c.writer.pages.freeRuns()].length;
  const elapsedMs = performance.now() - started;
  return { files: files.length, moved, pages, fragmented, freeRuns, elapsedMs };
}

const stillThere = (c: Coordinator, ino: number): boolean => readInode(c.segment, ino, new InodeCopy());
const pagesOf = (c: Coordinator, ino: number): number => (stillThere(c, ino) ? c.inode(ino).pages : 0);

/** This node's files that have pages, in the order of their first: copies of others' files stay. */
function filesByPlace(c: Coordinator): number[] {
  const placed: { ino: number; page: number }[] = [];
  const copy = new InodeCopy();
  for (let ino = 1; ino < c.writer.inodeLimit; ino++) {
    if (!readInode(c.segment, ino, copy) || !isFile(copy.mode) || copy.pages === 0) continue;
    if (c.blocks?.isOwn(ino) === false) continue;
    placed.push({ ino, page: Math.min(...c.extents(ino).map((e) => e.page)) });
  }
  return placed.sort((a, b) => a.page - b.page).map(({ ino }) => ino);
}

/** In how many runs of pages a file lies: a hole in the file is no gap in the segment. */
const pieces = (extents: readonly Extent[]): number =>
  extents.filter((e, i) => {
    const before = extents[i - 1];
    return before === undefined || before.page + before.count !== e.page;
  }).length;

interface Placing {
  readonly ino: number;
  readonly pages: number;
  readonly frontier: number;
  readonly result: Outcome;
}

/** Brings one file to the frontier, or as near as it can; the new frontier. */
async function place(c: Coordinator, { ino, pages, frontier, result }: Placing): Promise<number> {
  let at = frontier;
  // What the last moves freed may only wait for its holders' answers.
  if (!result.stuck && firstImmovable(c, { page: at, count: pages }) !== undefined) {
    result.stuck = !(await c.quarantine.settled(settleMs));
  }
  for (let blocked = firstImmovable(c, { page: at, count: pages }); blocked !== undefined; ) {
    at = blocked.page + blocked.count;
    if (at + pages > c.segment.pageCount) return frontier;
    blocked = firstImmovable(c, { page: at, count: pages });
  }
  const extents = c.extents(ino);
  if (pieces(extents) === 1 && extents[0]?.page === at) return at + pages;
  try {
    await slide(c, { ino, at, pages, result });
    result.moved++;
    return at + pages;
  } catch (error) {
    if (!(error instanceof FsError) || !staying.has(error.code)) throw error;
    return stillThere(c, ino) ? Math.max(frontier, ...c.extents(ino).map((e) => e.page + e.count)) : frontier;
  }
}

/** A page of the range that no file has and that is not free: it cannot be moved out of the way. */
function firstImmovable(c: Coordinator, range: Run): Run | undefined {
  const immovable = [
    ...[...c.quarantine.all].flatMap((q) => q.runs),
    ...[...c.sessions.values()].flatMap((s) => [...s.reservations].flatMap((r) => r.left)),
    ...[...c.ownReservations].flatMap((r) => r.left),
  ];
  return immovable.filter((run) => overlap([run], [range])).sort((a, b) => b.page - a.page)[0];
}

/** Moves the pages of a file to `at`, one piece after the other, each after its place was cleared. */
async function slide(
  c: Coordinator,
  { ino, at, pages, result }: { ino: number; at: number; pages: number; result: Outcome },
): Promise<void> {
  let filePage = 0;
  for (let done = 0; done < pages; ) {
    const count = Math.min(piecePages, pages - done);
    const run = { page: at + done, count };
    const inPlace = nextExtent(c.extents(ino), filePage, run.page);
    if (inPlace !== undefined) {
      const end = inPlace.filePage + inPlace.count;
      done += end - Math.max(filePage, inPlace.filePage);
      filePage = end;
      continue;
    }
    await clear(c, run, at + pages, result);
    const moved = await moveInto(c, { ino, filePage, run, result });
    if (moved === 0) return;
    done += moved;
    const next = c.extents(ino).find((e) => e.page <= run.page && run.page < e.page + e.count);
    filePage = next === undefined ? filePage + moved : next.filePage + (run.page - next.page) + moved;
  }
}

/** The extent that the file goes on with at `filePage`, when it lies in its place already. */
function nextExtent(extents: readonly Extent[], filePage: number, page: number): Extent | undefined {
  const next = extents.find((e) => e.filePage + e.count > filePage);
  return next !== undefined && next.page + Math.max(0, filePage - next.filePage) === page ? next : undefined;
}

async function moveInto(
  c: Coordinator,
  { ino, filePage, run, result }: { ino: number; filePage: number; run: Run; result: Outcome },
): Promise<number> {
  const reservation = await c.journal.mutate(() => {
    // Files change while this runs: what was cleared may be taken again, and the file may have grown.
    const fits = run.page + run.count <= c.segment.pageCount && isFree(c, run);
    if (!fits) throw new FsError('EBUSY', 'defrag', { why: 'the file changed meanwhile' });
    return recordOwn(c, [c.writer.pages.take(run)]);
  });
  try {
    const { pages: moved } = await movePiece(c, {
      ino,
      path: '',
      filePage,
      target: run.page,
      limit: run.count,
    });
    result.pages += moved;
    return moved;
  } finally {
    await c.journal.mutate(() => {
      if (reservation.left.length > 0) giveBack(c, reservation.left, c.ownReservations);
    });
  }
}

/** Makes `run` free: whoever has pages there gets others, behind `behind` if there are. */
async function clear(c: Coordinator, run: Run, behind: number, result: Outcome): Promise<void> {
  for (const { ino, filePage, count } of ownersOf(c, run)) {
    for (let left = count, at = filePage; left > 0; ) {
      const target = takeAside(c, Math.min(left, piecePages), behind);
      const moved = await moveInto(c, { ino, filePage: at, run: target, result });
      if (moved === 0) break;
      left -= moved;
      at += moved;
    }
  }
  if (isFree(c, run)) return;
  await c.quarantine.settled(settleMs);
  if (!isFree(c, run)) throw new FsError('EBUSY', 'defrag', { why: 'pages are still held' });
}

/** A free run behind the place, of at most `count` pages. */
function takeAside(c: Coordinator, count: number, behind: number): Run {
  for (let wanted = count; wanted > 0; wanted >>= 1) {
    const found = [...c.writer.pages.freeRuns()].findLast(
      (r) => r.page + r.count - Math.max(r.page, behind) >= wanted,
    );
    if (found !== undefined) return { page: found.page + found.count - wanted, count: wanted };
  }
  throw new FsError('ENOSPC', 'defrag', { why: 'no free page to step aside to' });
}

function isFree(c: Coordinator, { page, count }: Run): boolean {
  for (let p = page; p < page + count; p++) if (c.writer.pages.isUsed(p)) return false;
  return true;
}

/** Which parts of which files lie in `run`. */
function ownersOf(c: Coordinator, run: Run): { ino: number; filePage: number; count: number }[] {
  const owners: { ino: number; filePage: number; count: number }[] = [];
  for (const ino of filesByPlace(c)) {
    for (const e of c.extents(ino)) {
      const start = Math.max(e.page, run.page);
      const end = Math.min(e.page + e.count, run.page + run.count);
      if (start < end) owners.push({ ino, filePage: e.filePage + start - e.page, count: end - start });
    }
  }
  assert(owners.length <= run.count, 'a page has one owner');
  return owners;
}
