/**
 * The store of a node of a cluster, when files come to it and leave it.
 *
 *   another home's ──take──▶ stored bit by bit ──handOver──▶ stored, all of it ──the inode says so──▶ own
 *                                └────── gave ─────┴──▶ forgotten
 *   own ──the inode says so──▶ forgotten
 *
 * INVARIANT: what is durable of a file stays so while it moves: the next home has it on its disk before it
 * answers `handOver`, the coordinator has on its disk who is home before any node hears of that, and the home
 * until now forgets what it has stored only then.
 */
import { FsError } from '@cluster-fs/transport';
import type { PeerReply } from '@cluster-fs/transport/peer';
import { InodeCopy, isFile, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { pageCountOf } from '../coordinator/runs.ts';
import { type MetadataStore, memberOfKey } from '../metadata/store.ts';
import { rangeOf } from './blocks.ts';
import type { Homes } from './homes.ts';

/** What a node with a store must know of a coordinator before it believes what that says of files. */
export type CoordinatorFacts = Pick<PeerReply<'describe'>, 'segmentId' | 'isStored'>;

/**
 * A store has files of one cluster. Whoever brought them to another one, or the files of a node that was
 * alone, would lose them: what the coordinator does not know is removed.
 *
 * @throws FsError EINVAL
 */
export function assertSameCluster(store: MetadataStore, path: string, coordinator: CoordinatorFacts): void {
  const refuse = (why: string): never => {
    throw new FsError('EINVAL', 'join', { path, why });
  };
  if (!coordinator.isStored)
    refuse('the coordinator has no store: what is stored here would outlive its names');
  const id = Buffer.from(coordinator.segmentId).toString('hex');
  const known = store.superblock(memberOfKey);
  if (known === id) return;
  if (known !== undefined)
    refuse('the store has files of another cluster: join that, or give another --store');
  for (const _ of store.dirents())
    refuse('the store has files of its own: serve them without --join, or give another --store');
  store.setSuperblock({ [memberOfKey]: id });
}

/** Makes room in memory for what is to come of a file. ENOSPC when what is there does not give way. */
export async function makeRoomFor(c: Coordinator, ino: number): Promise<void> {
  const missing = pageCountOf(c.pager?.absentOf(c.extents(ino)) ?? []);
  await c.evictor?.makeRoom(missing, { isRead: true });
}

/**
 * Stores blocks of a file that this node is about to keep, and how long it is. Resolves when that is durable.
 */
export async function storeTaken(c: Coordinator, ino: number, blocks: Iterable<number>): Promise<void> {
  const { writeBack } = c;
  if (writeBack === undefined) return;
  await c.journal.mutate(() => {
    // Also a file that is all holes has a size.
    writeBack.mark(c, ino, { from: 0, count: 1 });
    for (const block of blocks) writeBack.mark(c, ino, rangeOf(block));
  });
  await writeBack.sync([ino]);
}

/** A file has become this node's, in the commit that says so. Requires: inside mutate. */
export function beginStoring(c: Coordinator, ino: number): void {
  if (c.writeBack === undefined) return;
  // Processes here may have stored into it since it was handed over.
  c.contentChanges(ino, 'all');
  for (const { filePage, count } of c.extents(ino)) c.evictor?.touched(ino, { from: filePage, count });
}

/** A file is another node's, in the commit that says so. Requires: inside mutate. */
export function endStoring(c: Coordinator, ino: number): void {
  c.writeBack?.forget(c, ino);
}

/**
 * Before nodes hear that a file has another home: whatever power is lost, it has. A log that the disk refuses
 * is left for SQLite's by the second try.
 */
export function makeHomesDurable(c: Coordinator): void {
  if (c.writeBack === undefined) return;
  for (let attempt = 1; attempt <= 2; attempt++) {
    try {
      c.store.flushNow();
      return;
    } catch (error) {
      c.hub.report(error);
    }
  }
}

/** A file does not become this node's after all. */
export async function forgetTaken(c: Coordinator, homes: Homes, ino: number): Promise<void> {
  const { writeBack } = c;
  if (writeBack === undefined) return;
  // What is being stored of it just now is known then.
  if (writeBack.isUnderWay(ino)) await writeBack.sync([]);
  await c.journal.mutate(() => {
    if (!homes.stores(ino)) endStoring(c, ino);
  });
}

/** After a start: what a node of before has stored of files that are not this one's. */
export function forgetStrangers(c: Coordinator, homes: Homes): void {
  if (c.writeBack === undefined) return;
  const inode = new InodeCopy();
  c.journal
    .mutate(() => {
      for (let ino = 1; ino < c.writer.inodeLimit; ino++) {
        if (!readInode(c.segment, ino, inode) || !isFile(inode.mode) || homes.stores(ino)) continue;
        if (c.store.durable(ino) !== undefined) endStoring(c, ino);
      }
    })
    .catch((error: unknown) => c.hub.report(error));
  c.journal.flush();
}
