/**
 * Starting from the store, when the segment of before is gone: after a loss of power, a reboot, a clean stop.
 *
 *   segment lost ──rollBack──▶ SQLite names what is stored ──recover──▶ segment built ──restore──▶ content is
 *   there, clean
 *
 * Rows of `dirty` stay until the end, so a node that dies on the way begins again.
 */

import { writeSync } from 'node:fs';
import { type Extent, FsError, type Run } from '@cluster-fs/transport';
import { isFile, pageSize, setExtents } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { clip } from '../coordinator/runs.ts';
import type { Change, InodeRow, MetadataStore } from '../metadata/store.ts';
import type { StoreFile } from './store-file.ts';
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
  const dirty = new Set(store.dirty());
  const changes: Change[] = [];
  const removed = new Set<number>();
  let rolledBack = 0;
  for (const row of store.inodes()) {
    if (!dirty.has(row.ino)) continue;
    const durable = store.durable(row.ino);
    if (durable !== undefined && durable.generation === row.generation) {
      rolledBack++;
      const { size, mtimeMs } = durable;
      // Where its content lies in the segment is decided anew: what the row names may be of a newer state.
      changes.push({ type: 'putInode', row: { ...row, size, mtimeMs, extents: [] } });
    } else if (row.size > 0) removed.add(row.ino);
    else changes.push({ type: 'putInode', row: { ...row, extents: [] } });
  }
  for (const { parent, name, ino } of store.dirents()) {
    if (removed.has(ino)) changes.push({ type: 'deleteDirent', parent, name });
  }
  for (const ino of removed) changes.push({ type: 'deleteInode', ino }, { type: 'forgetStored', ino });
  if (changes.length > 0) store.commit(changes);
  return { rolledBack, removed: removed.size };
}

/** What could not be read back as it was written. */
export interface Damage {
  readonly ino: number;
  /** File pages. */
  readonly pages: readonly number[];
}

/** Fills the segment with what is stored. Requires: it was built after `rollBack`, and nobody uses it yet. */
export function restore(c: Coordinator, store: MetadataStore, file: StoreFile): Damage[] {
  const dirty = new Set(store.dirty());
  const damage: Damage[] = [];
  for (const row of store.inodes()) {
    if (!isFile(row.mode)) continue;
    const stored = store.stored(row.ino);
    if (dirty.has(row.ino)) place(c, row, stored);
    const pages = stored.flatMap((e) => fill(c, file, row.ino, e));
    if (pages.length > 0) damage.push({ ino: row.ino, pages });
  }
  c.journal
    .mutate(() => {
      for (const ino of dirty) c.journal.change({ type: 'markClean', ino });
    })
    .catch((error: unknown) => c.hub.report(error));
  c.journal.flush();
  return damage;
}

/** Gives pages of the segment to what is stored of a file. */
function place(c: Coordinator, { ino }: InodeRow, stored: readonly StoredExtent[]): void {
  c.journal
    .mutate(() => {
      const extents: Extent[] = stored.flatMap(({ filePage, count }) => {
        const runs = c.writer.pages.allocate(count);
        if (runs === undefined)
          throw new FsError('ENOSPC', 'open', { why: 'the store has more than the segment' });
        return layOutRuns(runs, filePage);
      });
      setExtents(c.writer, ino, extents);
      c.writer.touchInode(ino).layoutVersion += 1;
    })
    .catch((error: unknown) => c.hub.report(error));
  c.journal.flush();
}

function layOutRuns(runs: readonly Run[], filePage: number): Extent[] {
  let next = filePage;
  return runs.map(({ page, count }) => {
    next += count;
    return { filePage: next - count, page, count };
  });
}

/** Brings one stored extent into the segment; the file pages that are damaged. */
function fill(c: Coordinator, file: StoreFile, ino: number, e: StoredExtent): number[] {
  const { pages, bad } = file.readNow(e);
  for (const { filePage, page, count } of clip(c.extents(ino), e.filePage, e.count)) {
    const from = (filePage - e.filePage) * pageSize;
    writeSync(c.data.fd, pages, from, count * pageSize, page * pageSize);
  }
  return bad.map((index) => e.filePage + index);
}
