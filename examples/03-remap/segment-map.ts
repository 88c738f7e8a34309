/** Draws where files lie in the segment: one letter for each MiB. */
import type { ClusterFs } from 'cluster-fs';

const pagesPerCell = 2 ** 20 / 4096;

export function drawSegment(fs: ClusterFs, paths: Readonly<Record<string, string>>): string {
  const cells = Array<string>(fs.statfsSync('/').blocks / pagesPerCell).fill('.');
  for (const [letter, path] of Object.entries(paths)) {
    for (const { page, count } of fs.extents(path)) {
      const [start, end] = [Math.floor(page / pagesPerCell), Math.ceil((page + count) / pagesPerCell)];
      cells.fill(letter, start, end);
    }
  }
  return cells.join('');
}
