/**
 * Pages set aside: a session's for writes under way, or the coordinator's own for a move. Journalled, so that
 * after a crash nobody gets pages into which a client may still be storing.
 */
import { FsError, type Run } from '@cluster-fs/transport';
import { counter, pageSize } from 'cluster-fs/segment';
import { exceeded } from '../limits.ts';
import type { Coordinator } from './coordinator.ts';
import { pageCountOf, subtract } from './runs.ts';
import type { Reservation, Session } from './session.ts';

/**
 * Takes `count` free pages for a session. Requires: inside mutate. ENOSPC when there are not as many, EDQUOT
 * when the session has set as much aside as it may: it is memory that nobody else can have.
 */
export function takePages(c: Coordinator, count: number, owner: Set<Reservation>): Reservation {
  if (owner.size >= c.limits.reservations) throw exceeded(c.limits, 'reservations', { syscall: 'write' });
  if (c.limits.reservedBytes !== Number.POSITIVE_INFINITY) {
    const pages = count + pageCountOf([...owner].flatMap(({ left }) => left));
    if (pages * pageSize > c.limits.reservedBytes)
      throw exceeded(c.limits, 'reservedBytes', { syscall: 'write' });
  }
  assertMemory(c, count);
  const runs = c.writer.pages.allocate(count);
  if (runs === undefined) throw noSpace(c, count);
  return record(c, runs, owner);
}

export const noSpace = (c: Coordinator, count: number): FsError =>
  new FsError('ENOSPC', 'write', {
    why: `${count} pages wanted, ${c.writer.pages.free} of ${c.segment.pageCount} free`,
  });

/**
 * ENOSPC when tmpfs has no memory for `count` pages more, on top of what is set aside and may not be filled
 * yet: a segment may be larger than its tmpfs, and metadata must have its room, or nothing could be removed.
 */
export function assertMemory(c: Coordinator, count: number): void {
  const free = c.blocks?.freePages ?? Number.POSITIVE_INFINITY;
  if (count > free)
    throw new FsError('ENOSPC', 'write', { why: `${count} pages wanted, this node has memory for ${free}` });
  const wanted = (counter(c.segment, 'reservedPages') + count) * pageSize;
  if (c.data.freeBytes() < wanted + c.store.growthBytes())
    throw new FsError('ENOSPC', 'write', { why: 'tmpfs is full' });
}

/** Takes runs that the caller has found free, for a session. Requires: inside mutate. */
export function record(c: Coordinator, runs: Run[], owner: Set<Reservation>): Reservation {
  const id = c.nextHeldId();
  for (const run of runs) c.journal.change({ type: 'hold', row: { id, ...run, reason: 'reserved' } });
  return take(c, runs, owner, id);
}

/**
 * Takes runs for a move of the coordinator's own. Not journalled: after a crash nobody else stores into them,
 * and they are in no file. Requires: inside mutate.
 */
export const recordOwn = (c: Coordinator, runs: Run[]): Reservation =>
  take(c, runs, c.ownReservations, undefined);

function take(c: Coordinator, runs: Run[], owner: Set<Reservation>, heldId: number | undefined): Reservation {
  const reservation: Reservation = { heldId, left: runs };
  c.writer.onRollback(() => {
    for (const run of runs) c.writer.pages.release(run);
    owner.delete(reservation);
  });
  c.writer.count('reservedPages', pageCountOf(runs));
  owner.add(reservation);
  return reservation;
}

/**
 * Takes `runs` out of what `owner` has set aside, to give them to a file. Requires: inside mutate. EINVAL
 * when they are not all set aside, each once: a client gives away what it was given, and nothing else.
 */
export function consume(c: Coordinator, runs: readonly Run[], owner: Set<Reservation>): void {
  let wanted = pageCountOf(runs);
  if (hasDuplicates(runs)) throw notReserved();
  for (const reservation of [...owner]) {
    if (wanted === 0) break;
    const before = reservation.left;
    const left = subtract(before, runs);
    const taken = pageCountOf(before) - pageCountOf(left);
    if (taken === 0) continue;
    wanted -= taken;
    reservation.left = left;
    c.writer.onRollback(() => {
      reservation.left = before;
      owner.add(reservation);
    });
    if (left.length > 0) continue;
    owner.delete(reservation);
    if (reservation.heldId !== undefined) c.journal.change({ type: 'unhold', id: reservation.heldId });
  }
  if (wanted !== 0) throw notReserved();
  c.writer.count('reservedPages', -pageCountOf(runs));
}

const notReserved = (): FsError =>
  new FsError('EINVAL', 'write', { why: 'some of the pages are not reserved by their session' });

function hasDuplicates(runs: readonly Run[]): boolean {
  const sorted = [...runs].sort((a, b) => a.page - b.page);
  return sorted.some((run, i) => {
    const next = sorted[i + 1];
    return run.count === 0 || (next !== undefined && run.page + run.count > next.page);
  });
}

/** Gives back runs that were set aside; whatever was stored in them is wiped. Requires: inside mutate. */
export function giveBack(c: Coordinator, runs: readonly Run[], owner: Set<Reservation>): void {
  consume(c, runs, owner);
  c.freePages(runs);
}

/** Everything a session has set aside. */
export const reservedRuns = (session: Session): Run[] => [...session.reservations].flatMap((r) => r.left);
