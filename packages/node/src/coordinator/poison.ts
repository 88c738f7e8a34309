/** Touches that nobody will ever answer with bytes: UFFDIO_POISON makes a touch SIGBUS. */
import { FsError, native } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import type { Range } from '../store/stored.ts';
import { addressRange } from './remap.ts';
import type { View } from './session.ts';

/**
 * From here on every touch of these file pages in the view is SIGBUS, until something is mapped over them.
 * Pages that are mapped stay. Requires: they are absent, or may be stored into.
 */
export function poison(view: View, { from, count }: Range): void {
  const range = addressRange(view, from, count);
  const { userfault, ended } = view.session;
  if (range === undefined || userfault === undefined || ended) return;
  const { address, length } = range;
  try {
    // A page that was protected when it went has a mark, which would stand in the way.
    if (view.mode === 'rw') native.writeProtectUserfault(userfault, address, length, false);
    // It does nothing where a page is mapped, and stops in front of it.
    for (let done = 0; done < length; )
      done += native.poisonUserfault(userfault, address + done, length - done) || pageSize;
  } catch (error) {
    // Nothing is registered there, or it is unmapped, or its process is gone: nobody waits.
    if (!(error instanceof FsError)) throw error;
  }
}
