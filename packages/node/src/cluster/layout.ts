/** The blocks of a file, all of them at one look at its layout. */
import { absentRuns } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { blockPages, blocksIn, rangeOf } from './blocks.ts';

/** Those that are no hole. */
export function blocksOfFile(c: Coordinator, ino: number): number[] {
  const blocks = new Set<number>();
  for (const { filePage, count } of c.extents(ino))
    for (const block of blocksIn(ino, { from: filePage, count })) blocks.add(block);
  return [...blocks];
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
  for (const { filePage, count } of c.extents(ino))
    for (const block of blocksIn(ino, { from: filePage, count })) {
      const { from } = rangeOf(block);
      const here = Math.min(filePage + count, from + blockPages) - Math.max(filePage, from);
      pages.set(block, (pages.get(block) ?? 0) + here);
    }
  return pages;
}
