/**
 * Moving a file's pages to other pages, under everybody who reads and stores.
 *
 * Piece by piece, so that a writer never waits for more than one piece:
 *   1 hold the layout; take memory for the target, which costs more than the copy, while writers still go on
 *   2 wait until every view on the file has answered what it was sent before
 *   3 arm: register the piece in every client that maps it, and write-protect it; readers go on, writers wait
 *   4 copy, off the event loop
 *   5 commit; the old pages are punched and confined; remap events go out (remap.ts)
 * An interrupted move needs no undoing after a crash: the file's extents still name the old pages, and what
 * is in no file is punched.
 */
import { type Extent, FsError, native, type Reply, type Run } from '@cluster-fs/transport';
import { isFile, pageSize, walk } from 'cluster-fs/segment';
import { pagesFor } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import { assertMayChange } from './open.ts';
import { assertNoPinnedWriterOf } from './pinned.ts';
import { type Attempt, recalling } from './recall.ts';
import { addressRange, arm, movePages, unsettledView } from './remap.ts';
import { assertMemory, consume, giveBack, noSpace, recordOwn } from './reserve.ts';
import { clip, coalesce, type Moved, overlap, pageCountOf } from './runs.ts';
import type { Reservation, Session, View } from './session.ts';

/**
 * Pages that move together: 2 MiB are copied in well under a millisecond, and a writer waits for one piece.
 */
export const piecePages = 512;

/** A file that nobody can store into has nobody who waits: larger pieces, fewer turns. */
const idlePiecePages = 2048;

/** How long a move waits for a client that does not answer, before it gives up with EBUSY and its name. */
const answerDeadlineMs = 1000;

export type Progress = (done: number, total: number) => void;

/** What the caller may do about a long move. */
export interface MoveOptions {
  readonly onProgress?: Progress;
  readonly signal?: AbortSignal;
}

export async function moveFile(
  c: Coordinator,
  session: Session,
  path: string,
  options: MoveOptions,
): Promise<Reply<'move'>> {
  assertMayChange(session, 'move', path);
  const { ino } = walk(c.segment, path, { follow: true, syscall: 'move', credentials: session.credentials });
  if (ino === 0) throw new FsError('ENOENT', 'move', { path });
  const inode = c.inode(ino);
  if (!isFile(inode.mode)) throw new FsError('EINVAL', 'move', { path, why: 'not a regular file' });
  const { uid } = session.credentials;
  if (uid !== 0 && uid !== inode.uid) throw new FsError('EPERM', 'move', { path });
  return c.keeping(ino, () =>
    recalling(c, ino, { session, long: options }, (attempt) => moveInode(c, { ino, path, attempt }, options)),
  );
}

async function moveInode(
  c: Coordinator,
  { ino, path, attempt }: Omit<MoveTarget, 'target'>,
  options: MoveOptions,
): Promise<Reply<'move'>> {
  const inode = c.inode(ino);
  const started = performance.now();
  const before = c.extents(ino).length;
  const pages = inode.pages;
  const target = await reserveRun(c, pages, path);
  const { pieces, copyMs, committedMs } = await moveTo(c, { ino, path, target, attempt }, options);
  // The space is free again when every holder has let go, and what comes next may want it.
  await c.quarantine.settled(answerDeadlineMs, ino);
  const ended = performance.now();
  const after = c.extents(ino).length;
  c.hub.emit('move', path, { pages, before, after });
  return {
    pages,
    pieces,
    before,
    after,
    bytesCopied: pages * pageSize,
    elapsedMs: ended - started,
    copyMs,
    swapMs: pieces === 0 ? 0 : ended - committedMs,
  };
}

/** One run of `pages`, or ENOSPC. */
async function reserveRun(c: Coordinator, pages: number, path: string): Promise<Reservation | undefined> {
  if (pages === 0) return undefined;
  return c.journal.mutate(() => {
    assertMemory(c, Math.min(pages, idlePiecePages));
    const run = c.writer.pages.allocateRun(pages);
    if (run !== undefined) return recordOwn(c, [run]);
    const { why } = noSpace(c, pages);
    throw new FsError('ENOSPC', 'move', {
      path,
      why: `no free run of ${pages} pages (${why}); defrag makes one`,
    });
  });
}

interface MoveTarget {
  readonly ino: number;
  readonly path: string;
  readonly target: Reservation | undefined;
  /** How a piece is moved, which pinned clients may be in the way of. */
  readonly attempt: Attempt;
}

/** What moving took. */
interface Outcome {
  readonly pieces: number;
  readonly copyMs: number;
  /** When the last piece was committed, on the clock of performance.now(). */
  readonly committedMs: number;
}

/** Moves all pages of a file into a reserved run, in file order; what is left of the run is given back. */
async function moveTo(
  c: Coordinator,
  { ino, path, target, attempt }: MoveTarget,
  { onProgress, signal }: MoveOptions,
): Promise<Outcome> {
  const outcome = { pieces: 0, copyMs: 0, committedMs: 0 };
  if (target === undefined) return outcome;
  const [run] = target.left as [Run];
  let done = 0;
  try {
    for (let filePage = 0; ; ) {
      signal?.throwIfAborted();
      const place = { target: run.page + done, limit: run.count - done };
      const from = filePage;
      const moved = await attempt(() => movePiece(c, { ino, path, filePage: from, ...place }));
      if (moved.pages === 0) break;
      outcome.pieces++;
      outcome.copyMs += moved.copyMs;
      outcome.committedMs = moved.committedMs;
      done += moved.pages;
      onProgress?.(done, run.count);
      const [next] = outside(c.extents(ino), run);
      if (next === undefined || done >= run.count) break;
      filePage = next.filePage;
    }
  } finally {
    await c.journal.mutate(() => {
      if (target.left.length > 0) giveBack(c, target.left, c.ownReservations);
    });
  }
  return outcome;
}

/** The extents, or parts of them, that do not lie in `run`. */
const outside = (extents: readonly Extent[], run: Run): Extent[] =>
  extents.filter((e) => !overlap([e], [run]));

interface Piece {
  readonly ino: number;
  readonly path: string;
  /** The first file page that is to move; the next one that exists is taken. */
  readonly filePage: number;
  /** The first page of the target, reserved by the coordinator. */
  readonly target: number;
  /** Pages of the target that may be used. */
  readonly limit: number;
}

interface MovedPiece {
  /** 0 when the file has none there any more. */
  readonly pages: number;
  readonly copyMs: number;
  readonly committedMs: number;
}

/** Moves up to one piece. */
export function movePiece(
  c: Coordinator,
  { ino, path, filePage, target, limit }: Piece,
): Promise<MovedPiece> {
  return c.alone(ino, async () => {
    const awaited = isStoredInto(c, ino);
    const most = awaited ? piecePages : idlePiecePages;
    const source = nextPiece(c, ino, filePage, Math.min(limit, most));
    const count = pageCountOf(source);
    if (count === 0) return { pages: 0, copyMs: 0, committedMs: 0 };
    const from = (source[0] as Extent).filePage;
    const last = source.at(-1) as Extent;
    const range = { from, count: last.filePage + last.count - from };
    const moved = pairUp(source, target);
    const places = [{ page: target, count }];
    c.pager?.fetchNow(ino, range);
    const armed: Armed[] = [];
    try {
      // The larger part of what a copy into fresh pages costs, and nobody waits for it yet.
      if (awaited) c.data.allocate(places);
      await viewsSettled(c, ino, path, range);
      for (const each of armViews(c, ino, source, range)) armed.push(each);
      const copying = performance.now();
      for (const step of moved) await c.data.copy(step);
      const copyMs = performance.now() - copying;
      let committedMs = 0;
      await c.journal.mutate(() => {
        c.journal.afterCommit(() => {
          committedMs = performance.now();
        });
        consume(c, places, c.ownReservations);
        movePages(c, ino, moved, { cause: 'move', ...range });
      });
      return { pages: count, copyMs, committedMs };
    } catch (error) {
      for (const { view, address, length } of armed) disarm(view, address, length);
      throw error;
    }
  });
}

function isStoredInto(c: Coordinator, ino: number): boolean {
  for (const view of c.viewsOf(ino)) if (view.mode === 'rw') return true;
  return false;
}

/** The extents of the next `limit` pages at or behind `filePage`. Requires: the layout held. */
function nextPiece(c: Coordinator, ino: number, filePage: number, limit: number): Extent[] {
  const piece: Extent[] = [];
  let left = limit;
  for (const e of clip(c.extents(ino), filePage, Number.MAX_SAFE_INTEGER / 2)) {
    if (left === 0) break;
    const count = Math.min(e.count, left);
    piece.push({ ...e, count });
    left -= count;
  }
  return piece;
}

/** Pairs each run of the source with its place in the target. */
function pairUp(source: readonly Extent[], target: number): Moved[] {
  let to = target;
  return coalesce(source).map(({ page, count }) => {
    const step = { from: page, to, count };
    to += count;
    return step;
  });
}

/**
 * Waits for every view that shows the range to be mapped and to have answered; EBUSY names the one that does
 * not.
 */
async function viewsSettled(
  c: Coordinator,
  ino: number,
  path: string,
  range: { from: number; count: number },
): Promise<void> {
  const deadline = performance.now() + answerDeadlineMs;
  // A client of before a crash may store through a view that it has not presented yet: nobody could arm it.
  while (c.unresolved.size > 0) {
    const left = deadline - performance.now();
    if (left <= 0) throw awaited(c, path);
    await c.answers.next(left);
  }
  for (let view = unsettledView(c, ino, range); view !== undefined; view = unsettledView(c, ino, range)) {
    const left = deadline - performance.now();
    if (left <= 0) throw busy(view, path, 'does not answer');
    await c.answers.next(left);
  }
  assertNoPinnedWriterOf(c, ino, { from: 0, count: pagesFor(c.inode(ino).size) }, 'move');
}

const unseen = 'a process of another PID namespace';

function awaited({ unresolved }: Coordinator, path: string): FsError {
  const who = [...unresolved.values()].map(({ pid }) => (pid === 0 ? unseen : `pid ${pid}`)).join(', ');
  const why = `held by ${who}: not back since the node was started again, and may store into it`;
  return new FsError('EBUSY', 'move', { path, why });
}

const busy = ({ session }: View, path: string, why: string): FsError =>
  new FsError('EBUSY', 'move', {
    path,
    why: `held by session ${session.id} (pid ${session.pid}), which ${why}`,
  });

interface Armed {
  readonly view: View;
  readonly address: number;
  readonly length: number;
}

function* armViews(
  c: Coordinator,
  ino: number,
  source: readonly Extent[],
  range: { from: number; count: number },
): Generator<Armed> {
  for (const view of [...c.viewsOf(ino)]) {
    const place = addressRange(view, range.from, range.count);
    if (place === undefined || !overlap(view.extents, source)) continue;
    arm(c, view, place, { writeProtect: view.mode === 'rw' });
    yield { view, ...place };
  }
}

/** The move did not happen: whoever waits goes on where the file still is. */
function disarm({ session }: View, address: number, length: number): void {
  if (session.userfault === undefined || session.ended) return;
  try {
    native.unregisterUserfault(session.userfault, address, length);
  } catch (error) {
    // Unmapped meanwhile: nobody waits there.
    if (!(error instanceof FsError)) throw error;
  }
}
