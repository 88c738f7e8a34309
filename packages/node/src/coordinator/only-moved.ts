/** Whether a commit changed of a file only where its pages lie, which is no concern of any other node. */
import type { Hole } from '@cluster-fs/transport';
import { InodeCopy, isFile, readExtents, readInode, type Segment } from 'cluster-fs/segment';
import { type Change, inodeFields } from '../metadata/store.ts';

/** Read again and again. */
const before = new InodeCopy();

const others = inodeFields.filter((field) => field !== 'layoutVersion');

/** `published` is as it was before the commit. */
export function hasOnlyMoved(published: Segment, change: Change): boolean {
  if (change.type !== 'putInode' || !isFile(change.row.mode)) return false;
  const { row } = change;
  if (!readInode(published, row.ino, before) || before.layoutVersion === row.layoutVersion) return false;
  if (others.some((field) => before[field] !== row[field])) return false;
  return hasSamePages(readExtents(published, row.ino, before), row.extents);
}

/** Whether the same file pages are no holes. Requires file order of both. */
export function hasSamePages(a: readonly Hole[], b: readonly Hole[]): boolean {
  const [first, second] = [edgesOf(a), edgesOf(b)];
  return first.length === second.length && first.every((edge, i) => edge === second[i]);
}

/** Where pages begin and end. */
function edgesOf(extents: readonly Hole[]): number[] {
  const edges: number[] = [];
  for (const { filePage, count } of extents) {
    if (edges.at(-1) === filePage) edges.pop();
    else edges.push(filePage);
    edges.push(filePage + count);
  }
  return edges;
}
