/**
 * Starting from the store, when the segment of before is gone: after a loss of power, a reboot, a clean stop.
 *
 *   segment lost ──rollBack──▶ SQLite names what is stored ──recover──▶ built ──restore──▶ absent, clean
 *
 * Rows of `dirty` stay until the end, so a node that dies on the way begins again.
 */

import { type Extent, FsError, native, type Run } from '@cluster-fs/transport';
import { pageSize, setExtents } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { layOut } from '../coordinator/runs.ts';
import { type Change, keeperKey, type MetadataStore } from '../metadata/store.ts';
import type { Pager } from './pager.ts';
import type { StoredExtent } from './stored.ts';

/** What a loss of power took. */
export interface Lost {
  /** Files that went back to their last sync. */
  readonly rolledBack: number;
  /** Files that were never synced, and are gone. */
  readonly removed: number;
}

/** Takes every inode that may be newer than what is stored back to that. Before the segment is built. */
export function rollBack(store: MetadataStore): Lost {
  const changes: Change[] = [];
  const removed = new Set<number>();
  let rolledBack = 0;
  // Of other nodes' files nothing was stored but what was about to be this one's.
  const self = Number(store.superblock(keeperKey) ?? 0);
  for (const ino of store.dirty()) {
    const row = store.inode(ino);
    if (row === undefined) continue;
    const durable = store.durable(ino);
    if (durable !== undefined && durable.generation === row.generation) {
      rolledBack++;
      const { size, mtimeMs } = durable;
      // Where its content lies in the segment is decided anew: what the row names may be of a newer state.
      changes.push({ type: 'putInode', row: { ...row, size, mtimeMs, extents: [] } });
    } else if (row.size > 0 && row.home === self) removed.add(ino);
    else changes.push({ type: 'putInode', row: { ...row, extents: [] } });
  }
  for (const { parent, name, ino } of removed.size === 0 ? [] : store.dirents()) {
    if (removed.has(ino)) changes.push({ type: 'deleteDirent', parent, name });
  }
  for (const ino of removed) changes.push({ type: 'deleteInode', ino }, { type: 'forgetStored', ino });
  // Nobody maps anything of a segment that is gone.
  for (const { id } of store.held()) changes.push({ type: 'unhold', id });
  if (changes.length > 0) store.commit(changes);
  return { rolledBack, removed: removed.size };
}

/**
 * Says where what is stored lies: all of it is absent, and comes when it is touched. Requires: the segment
 * was built after `rollBack`, its pages are holes, and nobody uses it yet.
 */
export function restore(c: Coordinator, pager: Pager, store: MetadataStore): void {
  const dirty = new Set(store.dirty());
  c.journal
    .mutate(() => {
      for (const ino of dirty) place(c, ino, store.stored(ino));
    })
    .catch((error: unknown) => c.hub.report(error));
  c.journal.flush();
  // What is stored comes from the store; the rest is zeros, which the pager makes.
  pager.setAbsent([...c.writer.pages.usedRuns()]);
  c.journal
    .mutate(() => {
      for (const ino of dirty) c.journal.change({ type: 'markClean', ino });
    })
    .catch((error: unknown) => c.hub.report(error));
  c.journal.flush();
}

/** Gives pages of the segment to what is stored of a file. Requires: inside mutate. */
function place(c: Coordinator, ino: number, stored: readonly StoredExtent[]): void {
  if (stored.length === 0) return;
  const extents: Extent[] = stored.flatMap(({ filePage, count }) => {
    const runs = c.writer.pages.allocate(count);
    if (runs === undefined)
      throw new FsError('ENOSPC', 'open', { why: 'the store has more than the segment' });
    return layOut(runs, filePage);
  });
  setExtents(c.writer, ino, extents);
  c.writer.touchInode(ino).layoutVersion += 1;
}

/**
 * The segment of before is there: holes of `data` are what was absent, or was given to a file and never
 * touched, which is zeros and not stored.
 */
export function findAbsent(c: Coordinator, pager: Pager): void {
  const { fd, size } = c.data;
  const holes: Run[] = [];
  for (let at = 0; at < size; ) {
    const hole = native.seekHole(fd, at) ?? size;
    const data = native.seekData(fd, hole) ?? size;
    if (data > hole) holes.push({ page: hole / pageSize, count: (data - hole) / pageSize });
    at = data;
  }
  const used = c.writer.pages;
  for (const { page, count } of holes) {
    for (let p = page; p < page + count; p++) if (used.isUsed(p)) pager.setAbsent([{ page: p, count: 1 }]);
  }
}
