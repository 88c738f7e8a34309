/**
 * A file of another home that is mapped here has other pages than before. What became a hole is one in the
 * views at once; what is new is fetched first: it is not registered in the moment when it is mapped.
 */
import type { Extent, Hole } from '@cluster-fs/transport';
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Blocks } from '../coordinator/elsewhere.ts';
import { changeExtents, showGrown } from '../coordinator/remap.ts';
import { clip, merge } from '../coordinator/runs.ts';
import type { Range } from '../store/stored.ts';
import type { Relaid } from './foreign-content.ts';

export function relay(
  c: Coordinator,
  blocks: Blocks,
  { ino, lost, gained, size }: Relaid,
  extents: readonly Extent[],
): void {
  let now: readonly Extent[] = c.extents(ino);
  for (const { filePage, count } of lost) {
    now = without(now, { filePage, count });
    changeExtents(c, ino, now, { cause: 'punch', from: filePage, count, size });
  }
  for (const { filePage, count } of gained) now = merge(now, clip(extents, filePage, count));
  changeExtents(c, ino, now, { cause: 'grow', from: pagesFor(size), count: 0, size });
  for (const { filePage, count } of gained)
    showGained(c, blocks, ino, { from: filePage, count }).catch((error: unknown) => c.hub.report(error));
}

async function showGained(c: Coordinator, blocks: Blocks, ino: number, range: Range): Promise<void> {
  const views = [...c.viewsOf(ino)].filter(
    (view) => view.from < range.from + range.count && range.from < view.from + view.pages,
  );
  if (views.length === 0) return;
  const access = views.some(({ mode }) => mode === 'rw') ? 'write' : 'read';
  await c.journal.nextFlush();
  do await blocks.acquire(ino, range, access);
  while (!blocks.holds(ino, clipToSize(c, ino, range), access));
  for (const view of c.viewsOf(ino)) showGrown(c, view, range);
}

function clipToSize(c: Coordinator, ino: number, { from, count }: Range): Range {
  const inode = new InodeCopy();
  const pages = readInode(c.segment, ino, inode) ? pagesFor(inode.size) : 0;
  return { from, count: Math.max(0, Math.min(count, pages - from)) };
}

const without = (extents: readonly Extent[], { filePage, count }: Hole): Extent[] => [
  ...clip(extents, 0, filePage),
  ...clip(extents, filePage + count, Number.MAX_SAFE_INTEGER / 2),
];
