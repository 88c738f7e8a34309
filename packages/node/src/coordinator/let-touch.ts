/**
 * Touches of a view that its process has cut off, when the lease on its file was over (docs/coherence.md).
 * The pages that this node may give are there: they are mapped again, block by block.
 *
 * INVARIANT: nothing is mapped without the right to it, nor while the layout changes: whoever moves pages has
 * protected them, and what is mapped here would not be.
 */
import { type Extent, FsError, native } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import type { Coordinator } from './coordinator.ts';
import type { Access } from './elsewhere.ts';
import { addressRange } from './remap.ts';
import { clip } from './runs.ts';
import type { View } from './session.ts';

/** 64 KiB, aligned in the file: what one touch maps. */
const touchedPages = 16;

export async function letTouch(c: Coordinator, view: View, filePage: number, access: Access): Promise<void> {
  const hold = await c.gate.acquire(view.ino, 'shared');
  try {
    if (view.session.ended) return;
    // Its remap is on its way, and wakes who waits.
    if (view.unanswered.some((r) => r.from <= filePage && filePage < r.from + r.count)) return;
    if (!mayShow(c, view, filePage, access)) c.blocks?.fault(view, filePage, access);
    else if (!show(c, view, filePage)) c.blocks?.fault(view, filePage, 'write');
    // This node may have stood still just now: then what it has shown goes at once.
    mayShow(c, view, filePage, access);
  } finally {
    c.gate.release(hold);
  }
}

const mayShow = (c: Coordinator, { ino }: View, filePage: number, access: Access): boolean =>
  c.blocks === undefined || c.blocks.holds(ino, { from: filePage, count: 1 }, access);

/** False where the kernel cannot map pages that are only read into a view that stores (before Linux 6.4). */
function show(c: Coordinator, view: View, filePage: number): boolean {
  const isReadOnly = view.mode === 'rw' && !mayShow(c, view, filePage, 'write');
  const from = filePage - (filePage % touchedPages);
  try {
    for (const extent of clip(view.extents, from, touchedPages)) continuePages(view, extent, isReadOnly);
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    // Else it is unmapped, or its process is gone: nobody waits.
    return !(isReadOnly && error.code === 'EINVAL');
  }
  return true;
}

/** A page that is mapped, or is none, stops the kernel: it goes on behind that. */
function continuePages(view: View, { filePage, count }: Extent, writeProtect: boolean): void {
  const range = addressRange(view, filePage, count);
  const { userfault } = view.session;
  if (range === undefined || userfault === undefined) return;
  const { address, length } = range;
  for (let done = 0; done < length; ) {
    const rest = { address: address + done, length: length - done, writeProtect };
    const bytes = unlessAbsent(() => native.continueUserfault(userfault, rest));
    if (bytes === 0) native.wakeUserfault(userfault, rest.address, pageSize);
    done += Math.max(bytes, pageSize);
  }
}

function unlessAbsent(work: () => number): number {
  try {
    return work();
  } catch (error) {
    if (error instanceof FsError && error.code === 'EFAULT') return 0;
    throw error;
  }
}
