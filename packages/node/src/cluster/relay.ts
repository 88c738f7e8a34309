/**
 * A file of another home that is mapped here has other pages than before. What became a hole is one in the
 * views at once; what is new is fetched first: it is not registered in the moment when it is mapped.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type Extent, FsError } from '@cluster-fs/transport';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { changeExtents, isOpen, showGrown } from '../coordinator/remap.ts';
import { clip, merge, without } from '../coordinator/runs.ts';
import type { Range } from '../store/stored.ts';
import { bringToShow } from './bring.ts';
import type { Relaid } from './foreign-content.ts';

/** How long after it could not be fetched what is new is asked for again. */
const retryMs = 500;

export function relay(c: Coordinator, { ino, lost, gained, size }: Relaid, extents: readonly Extent[]): void {
  let now: readonly Extent[] = c.extents(ino);
  for (const { filePage, count } of lost) {
    now = without(now, filePage, count);
    changeExtents(c, ino, now, { cause: 'punch', from: filePage, count, size });
  }
  for (const { filePage, count } of gained) now = merge(now, clip(extents, filePage, count));
  changeExtents(c, ino, now, { cause: 'grow', from: pagesFor(size), count: 0, size });
  for (const { filePage, count } of gained)
    showGained(c, ino, { from: filePage, count }).catch((error: unknown) => c.hub.report(error));
}

/** Until it is shown, or nobody maps it any more: a view that lacks it would lack it for good. */
async function showGained(c: Coordinator, ino: number, range: Range): Promise<void> {
  for (let failures = 0; ; failures++) {
    const views = [...c.viewsOf(ino)].filter(
      (view) => !view.isCopy && view.from < range.from + range.count && range.from < view.from + view.pages,
    );
    if (views.length === 0) return;
    await c.journal.nextFlush();
    try {
      await bringToShow(c, ino, range, views);
      // One that is given since then has it, and may store where a copy to read was brought: it waits there.
      for (const view of views) if (isOpen(c, view)) showGrown(c, view, range);
      return;
    } catch (error) {
      // The home is away, say, or there is no memory just now.
      if (!(error instanceof FsError)) throw error;
      if (failures === 0) c.hub.report(error);
    }
    await pause(retryMs, undefined, { ref: false });
  }
}
