/**
 * Recall: asking those who are in the way of a change to let go, and then trying it again.
 *
 *   change ──PinnedWriters──▶ recalled ──all let go, or are gone──▶ change
 *                              │ └──one keeps its view, or is silent to the deadline──▶ EBUSY, or revoked
 *                              └──who asked is gone, or cancels──▶ given up
 *
 * Who waits holds nothing but the inode: reads, writes in place and other views of the file go on.
 * INVARIANT: while a recall of a file is pending no pinned client gets a new view to write of it
 * (`afterRecalls`), so a change waits for those that there were, and for no others.
 */
import { FsError } from '@cluster-fs/transport';
import type { Coordinator } from './coordinator.ts';
import type { MoveOptions } from './move.ts';
import { heldBy, type PageRange, PinnedWriters } from './pinned.ts';
import type { Session, View } from './session.ts';
import { revokeSession } from './sessions.ts';

/**
 * What becomes of a change that pinned clients are in the way of. `deny`: EBUSY at once. `wait`: they are
 * recalled, and it is EBUSY when one does not let go. `revoke`: then that one's session ends, and the change
 * goes on.
 */
export const onConflicts = ['wait', 'deny', 'revoke'] as const;
export type OnConflict = (typeof onConflicts)[number];

export interface RecallPolicy {
  readonly onConflict: OnConflict;
  /** How long who is recalled may take. */
  readonly deadlineMs: number;
}

/** What a view that was recalled has said so far. */
type Answer = 'none' | 'keeps';

/** A change that waits for views, or has waited for some and is not done yet. */
export interface Recall {
  readonly ino: number;
  /** The change, as a system call. */
  readonly reason: string;
  readonly path: string;
  range: PageRange;
  sinceMs: number;
  readonly views: Map<View, Answer>;
}

/** Who wants the change. */
export interface Asker {
  readonly session: Session;
  /** How it may cancel. Looked at when there is somebody to wait for, and not before. */
  readonly long?: MoveOptions;
}

/** Runs a part of a change; again when those who were in its way have let go. */
export type Attempt = <T>(part: () => Promise<T>) => Promise<T>;

/**
 * Runs `change`, whose `attempt`s recall the pinned clients that they meet. The recall stays pending to the
 * end of the change, and the inode alive. Requires: a part that throws PinnedWriters has changed nothing.
 */
export async function recalling<T>(
  c: Coordinator,
  ino: number,
  asker: Asker,
  change: (attempt: Attempt) => Promise<T>,
): Promise<T> {
  let recall: Recall | undefined;
  const attempt: Attempt = async (part) => {
    for (let sinceMs: number | undefined; ; ) {
      try {
        return await part();
      } catch (error) {
        if (!(error instanceof PinnedWriters) || c.recallPolicy.onConflict === 'deny') throw error;
        sinceMs ??= c.now();
        // Alive until here: the views in the way refer to it.
        recall ??= begin(c, ino, error);
        Object.assign(recall, { sinceMs, range: error.range });
        await letGo(c, recall, error, asker);
      }
    }
  };
  try {
    return await change(attempt);
  } finally {
    if (recall !== undefined) end(c, recall);
  }
}

function begin(c: Coordinator, ino: number, { path = '', range, syscall }: PinnedWriters): Recall {
  const recall: Recall = { ino, reason: syscall, path, range, sinceMs: c.now(), views: new Map() };
  c.recalls.add(recall);
  c.refer(ino);
  return recall;
}

function end(c: Coordinator, recall: Recall): void {
  c.recalls.delete(recall);
  for (const view of recall.views.keys()) settle(c, recall, view, 'given-up');
  c.unrefer(recall.ino);
  c.answers.notify();
}

/** Resolves when none of the views is in the way any more. */
async function letGo(
  c: Coordinator,
  recall: Recall,
  held: PinnedWriters,
  { session, long }: Asker,
): Promise<void> {
  const signal = long?.signal;
  for (const view of held.views) ask(c, recall, view);
  const wake = (): void => c.answers.notify();
  signal?.addEventListener('abort', wake);
  try {
    for (;;) {
      signal?.throwIfAborted();
      if (session.ended) throw new FsError('ECONNRESET', held.syscall, { path: held.path });
      const left: View[] = [];
      for (const view of held.views) {
        if (isHeld(view)) left.push(view);
        else settle(c, recall, view, 'released');
      }
      if (left.length === 0) return;
      const leftMs = recall.sinceMs + c.recallPolicy.deadlineMs - c.now();
      const refusing = left.filter((view) => leftMs <= 0 || recall.views.get(view) === 'keeps');
      if (refusing.length === 0) await c.answers.next(leftMs);
      else giveUpOn(c, recall, refusing, { held, session });
    }
  } finally {
    signal?.removeEventListener('abort', wake);
  }
}

const isHeld = (view: View): boolean => !view.session.ended && view.session.views.get(view.id) === view;

/** Views that other changes wait for have been asked already: their answer counts for all. */
function ask(c: Coordinator, recall: Recall, view: View): void {
  if (recall.views.has(view)) return;
  const answer = [...c.recalls].map(({ views }) => views.get(view)).find((known) => known !== undefined);
  recall.views.set(view, answer ?? 'none');
  const { reason, range } = recall;
  const { deadlineMs } = c.recallPolicy;
  const { id, pid, control } = view.session;
  c.hub.emit('recall', view.path, { session: id, pid, reason, deadlineMs });
  if (answer === undefined) control.event('recall', { view: view.id, reason, ...range, deadlineMs });
}

/** What became of it: let go (or gone), kept, silent to the deadline, revoked, or nobody waits any more. */
type Outcome = 'released' | 'kept' | 'silent' | 'revoked' | 'given-up';

function settle(c: Coordinator, recall: Recall, view: View, outcome: Outcome): void {
  if (!recall.views.delete(view)) return;
  const { id, pid } = view.session;
  const waitedMs = Math.round(c.now() - recall.sinceMs);
  c.hub.emit('recalled', view.path, { session: id, pid, reason: recall.reason, outcome, waitedMs });
}

/** Does what the operator said about views that do not let go. */
function giveUpOn(
  c: Coordinator,
  recall: Recall,
  refusing: readonly View[],
  { held, session }: { held: PinnedWriters; session: Session },
): void {
  const isKept = refusing.some((view) => recall.views.get(view) === 'keeps');
  const { deadlineMs, onConflict } = c.recallPolicy;
  const answer = isKept
    ? 'nothing there listens for a recall'
    : `it was recalled and did not let go in ${deadlineMs} ms`;
  // Whoever asks is not ended for its own view.
  const mayRevoke = onConflict === 'revoke' && !refusing.some((view) => view.session === session);
  for (const view of refusing) {
    const refusal = recall.views.get(view) === 'keeps' ? 'kept' : 'silent';
    settle(c, recall, view, mayRevoke ? 'revoked' : refusal);
  }
  if (!mayRevoke) {
    const { syscall, path } = held;
    throw new FsError('EBUSY', syscall, { path, why: `${heldBy(refusing)}; ${answer}` });
  }
  const why = `the session was revoked: ${held.syscall} '${recall.path}' needed its pages, and ${answer}`;
  for (const { session: victim } of refusing) revokeSession(c, victim, why);
}

/** A client says that nobody there would let go of the view. */
export function keep(c: Coordinator, view: View): void {
  for (const { views } of c.recalls) if (views.has(view)) views.set(view, 'keeps');
  c.answers.notify();
}

const isRecalled = (c: Coordinator, ino: number): boolean => [...c.recalls].some((r) => r.ino === ino);

/**
 * Opens a view, which must wait for pending recalls of the file when it would be in their way too. `open`
 * runs with the layout held exclusively.
 */
export async function afterRecalls<T>(
  c: Coordinator,
  ino: number,
  session: Session,
  open: () => Promise<T>,
): Promise<T> {
  // In line for the layout others may have come first, and begun to recall.
  const openUnlessRecalled = async (): Promise<{ readonly opened: T } | undefined> =>
    isRecalled(c, ino) ? undefined : { opened: await open() };
  return c.keeping(ino, async () => {
    for (;;) {
      const done = await c.exclusive(ino, openUnlessRecalled);
      if (done !== undefined) return done.opened;
      while (isRecalled(c, ino) && !session.ended) await c.answers.next(c.recallPolicy.deadlineMs);
      if (session.ended) throw new FsError('ECONNRESET', 'map');
    }
  });
}
