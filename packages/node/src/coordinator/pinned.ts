/** Views whose memory cannot be taken back: their client has no userfaultfd. */
import { FsError } from '@cluster-fs/transport';
import type { Coordinator } from './coordinator.ts';

/**
 * Refuses to take pages away under a pinned client that stores into them: until its session worker has
 * swapped, its stores would go to pages that are the file's no more, and be lost. A client that only reads is
 * told to swap, and one that follows by hand keeps what it has.
 *
 * @throws FsError EBUSY, with the holder
 */
export function assertNoPinnedWriter(
  c: Coordinator,
  ino: number,
  { from, count }: { from: number; count: number },
  syscall: string,
): void {
  for (const view of c.viewsOf(ino)) {
    const { session, path, mode, follow } = view;
    const stores = mode === 'rw' && follow === 'live' && session.userfault === undefined;
    if (!stores || count === 0 || view.from >= from + count || from >= view.from + view.pages) continue;
    const why = `held by session ${session.id} (pid ${session.pid}), which is pinned and maps it to write`;
    throw new FsError('EBUSY', syscall, { path, why });
  }
}
