/** Views whose memory cannot be taken back: their client has no userfaultfd. */
import { FsError } from '@cluster-fs/transport';
import type { Coordinator } from './coordinator.ts';
import type { View } from './session.ts';

/** Pages of a file, by number. */
export interface PageRange {
  readonly from: number;
  readonly count: number;
}

/** EBUSY: a change met pinned clients that store into the pages that it takes. They may be recalled. */
export class PinnedWriters extends FsError {
  readonly views: readonly View[];
  readonly range: PageRange;

  /** Requires: at least one view. */
  constructor(views: readonly View[], range: PageRange, syscall: string) {
    super('EBUSY', syscall, { path: views[0]?.path, why: heldBy(views) });
    this.views = views;
    this.range = range;
  }
}

/** Who is in the way, for people. */
export function heldBy(views: readonly View[]): string {
  const sessions = new Set(views.map(({ session }) => session));
  const names = [...sessions].map(({ id, pid }) => `session ${id} (pid ${pid})`).join(', ');
  const what = sessions.size > 1 ? 'which are pinned and map it' : 'which is pinned and maps it';
  return `held by ${names}, ${what} to write`;
}

/** One whose session was revoked stores for nobody any more. */
export const isPinnedWriter = ({ mode, session }: View): boolean =>
  mode === 'rw' && session.userfault === undefined && !session.ended;

/**
 * Refuses to take pages away under a pinned client that stores into them: until its session worker has
 * swapped, its stores would go to pages that are the file's no more, and be lost. A client that only reads is
 * told to swap, and one that follows by hand keeps what it has.
 *
 * @throws PinnedWriters
 */
export function assertNoPinnedWriter(c: Coordinator, ino: number, range: PageRange, syscall: string): void {
  const { from, count } = range;
  if (count === 0) return;
  const views = [...c.viewsOf(ino)].filter(
    (view) =>
      isPinnedWriter(view) &&
      view.follow === 'live' &&
      view.from < from + count &&
      from < view.from + view.pages,
  );
  if (views.length > 0) throw new PinnedWriters(views, range, syscall);
}

/** As above for a move, in which views that follow by hand take part too. */
export function assertNoPinnedWriterOf(c: Coordinator, ino: number, range: PageRange, syscall: string): void {
  const views = [...c.viewsOf(ino)].filter(isPinnedWriter);
  if (views.length > 0) throw new PinnedWriters(views, range, syscall);
}

/** Refuses to let another node use a file in that mode which a client has pinned at its home. EBUSY. */
export function assertNotPinned(c: Coordinator, ino: number, mode: 'r' | 'rw' | 'take'): void {
  for (const view of c.viewsOf(ino)) {
    if (view.session.userfault !== undefined || (mode === 'r' && view.mode === 'r')) continue;
    const { id, pid } = view.session;
    const what = view.mode === 'r' ? 'read' : 'write';
    const why = `session ${id} (pid ${pid}) has it pinned at its home, mapped to ${what}`;
    throw new FsError('EBUSY', 'map', { path: view.path, why });
  }
}
