/** The blocks of a file, all of them at one look at its layout. */
import { absentRuns } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { blockPages, blocksIn, indexOf } from './blocks.ts';

/** Those that are no hole, in order. */
export function blocksOfFile(c: Coordinator, ino: number): number[] {
  const blocks: number[] = [];
  // Two extents may share a block, the end of one and the begin of the next.
  for (const { filePage, count } of c.extents(ino))
    for (const block of blocksIn(ino, { from: filePage, count }))
      if (block !== blocks.at(-1)) blocks.push(block);
  return blocks;
}

/** Those of them of which pages are not in memory here. */
export function blocksWithAbsent(c: Coordinator, ino: number): Set<number> {
  const blocks = new Set<number>();
  for (const { filePage, page, count } of c.extents(ino))
    for (const absent of absentRuns(c.journal.published, { page, count }))
      for (const block of blocksIn(ino, { from: filePage + absent.page - page, count: absent.count }))
        blocks.add(block);
  return blocks;
}

/** How many pages the file has in each of its blocks. */
export function pagesByBlock(c: Coordinator, ino: number): Map<number, number> {
  const pages = new Map<number, number>();
  for (const { filePage, count } of c.extents(ino)) {
    const end = filePage + count;
    for (const block of blocksIn(ino, { from: filePage, count })) {
      const from = indexOf(block) * blockPages;
      const here = Math.min(end, from + blockPages) - Math.max(filePage, from);
      // Another extent can have pages of the first one, and of the last.
      pages.set(block, here === blockPages ? here : (pages.get(block) ?? 0) + here);
    }
  }
  return pages;
}
