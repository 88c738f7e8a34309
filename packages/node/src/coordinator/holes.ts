/**
 * Holes: pages of a file that have no page of the segment, and giving them some.
 *
 * INVARIANT: a file that somebody maps to write has no holes. A hole is anonymous memory in a view: what is
 * stored there is seen by that process alone, and lost with it.
 */
import type { Extent, Run } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import type { Coordinator } from './coordinator.ts';
import { assertMemory, noSpace } from './reserve.ts';
import { clip, merge } from './runs.ts';

/** File pages without a page of the segment. */
export interface Gap {
  readonly filePage: number;
  readonly count: number;
}

/** What `extents` leave open between file pages `from` and `end`. */
export function gaps(extents: readonly Extent[], from: number, end: number): Gap[] {
  const open: Gap[] = [];
  let next = from;
  for (const e of clip(extents, from, end - from)) {
    if (e.filePage > next) open.push({ filePage: next, count: e.filePage - next });
    next = e.filePage + e.count;
  }
  if (next < end) open.push({ filePage: next, count: end - next });
  return open;
}

/** Gives each missing range its pages out of `runs`, which are as many. */
export function fill(missing: readonly Gap[], runs: readonly Run[]): Extent[] {
  const filled: Extent[] = [];
  let next = 0;
  let used = 0;
  for (const gap of missing) {
    for (let done = 0; done < gap.count; ) {
      const { page, count } = runs[next] as Run;
      const part = Math.min(gap.count - done, count - used);
      filled.push({ filePage: gap.filePage + done, page: page + used, count: part });
      done += part;
      used += part;
      if (used < count) continue;
      next++;
      used = 0;
    }
  }
  return filled;
}

export const isMappedToWrite = (c: Coordinator, ino: number): boolean =>
  [...c.viewsOf(ino)].some((view) => view.mode === 'rw') || c.blocks?.isWritten(ino) === true;

/** As `fillHoles` for the whole file when somebody maps it to write. Requires: inside mutate. */
export function fillUnderWriters(
  c: Coordinator,
  ino: number,
  extents: readonly Extent[],
  size: number,
): Extent[] {
  if (!isMappedToWrite(c, ino)) return [...extents];
  return fillHoles(c, extents, { from: 0, end: Math.ceil(size / pageSize) });
}

/**
 * `extents` with a page for every file page from `from` up to `end`; the new ones are zeros, and taken from
 * tmpfs at once. Requires: inside mutate.
 */
export function fillHoles(
  c: Coordinator,
  extents: readonly Extent[],
  { from, end }: { from: number; end: number },
): Extent[] {
  const missing = gaps(extents, from, end);
  const count = missing.reduce((sum, m) => sum + m.count, 0);
  if (count === 0) return [...extents];
  assertMemory(c, count);
  const runs = c.writer.pages.allocate(count);
  if (runs === undefined) throw noSpace(c, count);
  c.writer.onRollback(() => {
    for (const run of runs) c.writer.pages.release(run);
  });
  // With a store, a page that nobody wrote would count as absent after a crash.
  if (c.pager === undefined) c.data.allocate(runs);
  else c.data.fillZeros(runs);
  return merge(extents, fill(missing, runs));
}
