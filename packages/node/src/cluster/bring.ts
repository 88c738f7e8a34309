/** Fetching what is to be mapped over a live array: it is not registered then, so it must be there. */
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { View } from '../coordinator/session.ts';
import type { Range } from '../store/stored.ts';

/** When this resolves, these views of a file can show the range: by `showGrown`, in the same turn. */
export async function bringToShow(
  c: Coordinator,
  ino: number,
  range: Range,
  views: readonly View[],
): Promise<void> {
  const access = views.some(({ mode }) => mode === 'rw') ? 'write' : 'read';
  const { blocks } = c;
  if (blocks === undefined) return;
  do await blocks.acquire(ino, range, access);
  while (!blocks.holds(ino, clipToSize(c, ino, range), access));
}

function clipToSize(c: Coordinator, ino: number, { from, count }: Range): Range {
  const inode = new InodeCopy();
  const pages = readInode(c.segment, ino, inode) ? pagesFor(inode.size) : 0;
  return { from, count: Math.max(0, Math.min(count, pages - from)) };
}
