/**
 * What the node says of itself: status, holders, the self-check. For people and scripts; nothing acts on it.
 */
import { checkSegment, counter, pageSize } from 'cluster-fs/segment';
import type { Admission } from '../admission.ts';
import type { EvictorReport } from '../store/evictor.ts';
import type { PagerReport } from '../store/pager.ts';
import type { StoreReport } from '../store/write-back.ts';
import type { Coordinator } from './coordinator.ts';
import type { ClusterReport } from './elsewhere.ts';
import type { OnConflict } from './recall.ts';
import { reservedRuns } from './reserve.ts';
import { pageCountOf } from './runs.ts';
import type { Session, View } from './session.ts';

export interface StatusReport {
  readonly pid: number;
  readonly version: string;
  readonly epoch: number;
  readonly segment: string;
  readonly uptimeMs: number;
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly usedBytes: number;
  readonly quarantinedBytes: number;
  readonly reservedBytes: number;
  readonly freeRuns: number;
  readonly largestFreeBytes: number;
  readonly inodes: number;
  readonly freeInodes: number;
  readonly commits: number;
  readonly events: number;
  readonly sessions: readonly SessionReport[];
  readonly waiting: readonly WaitingReport[];
  readonly recalls: readonly RecallReport[];
  /** What becomes of a change that is not let go for. */
  readonly onConflict: OnConflict;
  readonly recallDeadlineMs: number;
  readonly unresolvedSessions: readonly { readonly session: number; readonly pid: number }[];
  readonly listening: readonly string[];
  readonly persistent: boolean;
  /** Null when everything lives in tmpfs alone. */
  readonly store: (StoreReport & PagerReport & EvictorReport) | null;
  /** Null on a node alone. */
  readonly cluster: ClusterReport | null;
  readonly rssBytes: number;
  /** Connections of users who may not connect, and of those who took more than they may. */
  readonly refused: number;
  readonly overLimit: number;
}

export interface SessionReport {
  readonly session: number;
  readonly pid: number;
  readonly uid: number;
  readonly label: string;
  readonly access: 'r' | 'rw';
  readonly kind: 'on-demand' | 'pinned';
  /** Revoked, and its process has not let go of what it maps yet. */
  readonly revoked: boolean;
  readonly sinceMs: number;
  readonly views: number;
  readonly handles: number;
  readonly reservedBytes: number;
}

/** Pages that wait for somebody, and for whom. */
export interface WaitingReport {
  readonly path: string;
  readonly bytes: number;
  readonly sinceMs: number;
  readonly for: readonly string[];
}

/** A change that waits for pinned clients to let go of its file. */
export interface RecallReport {
  readonly path: string;
  /** The change, as a system call. */
  readonly reason: string;
  readonly sinceMs: number;
  readonly for: readonly string[];
}

export interface NodeFacts {
  readonly version: string;
  readonly startedMs: number;
  /** Grows by where other nodes may join. */
  readonly listening: string[];
  readonly persistent: boolean;
  readonly admission: Admission;
  readonly cluster: () => ClusterReport | null;
}

export function status(
  c: Coordinator,
  { version, startedMs, listening, persistent, admission, cluster }: NodeFacts,
): StatusReport {
  const s = c.segment;
  const runs = [...c.writer.pages.freeRuns()];
  const reserved = counter(s, 'reservedPages');
  const held = counter(s, 'heldPages');
  const free = c.writer.pages.free;
  return {
    pid: process.pid,
    version,
    epoch: c.epoch,
    segment: s.id,
    uptimeMs: c.now() - startedMs,
    totalBytes: s.pageCount * pageSize,
    freeBytes: free * pageSize,
    usedBytes: (s.pageCount - free - reserved - held) * pageSize,
    quarantinedBytes: held * pageSize,
    reservedBytes: reserved * pageSize,
    freeRuns: runs.length,
    largestFreeBytes: runs.reduce((most, { count }) => Math.max(most, count), 0) * pageSize,
    inodes: s.inodeCount - 1,
    freeInodes: counter(s, 'freeInodes'),
    commits: c.journal.commits,
    events: c.hub.emitted,
    sessions: [...c.sessions.values()].map(sessionReport),
    waiting: waiting(c),
    recalls: recalls(c),
    onConflict: c.recallPolicy.onConflict,
    recallDeadlineMs: c.recallPolicy.deadlineMs,
    unresolvedSessions: [...c.unresolved].map(([session, { pid }]) => ({ session, pid })),
    listening,
    persistent,
    store: storeReport(c),
    cluster: cluster(),
    rssBytes: process.memoryUsage.rss(),
    ...admission.report,
  };
}

function storeReport(c: Coordinator): StatusReport['store'] {
  if (c.writeBack === undefined || c.pager === undefined || c.evictor === undefined) return null;
  return { ...c.writeBack.report, ...c.pager.report, ...c.evictor.report };
}

const sessionReport = (session: Session): SessionReport => ({
  session: session.id,
  pid: session.pid,
  uid: session.credentials.uid,
  label: session.label,
  access: session.access,
  kind: session.userfault === undefined ? 'pinned' : 'on-demand',
  revoked: session.ended,
  sinceMs: session.sinceMs,
  views: session.views.size,
  handles: session.handles.size,
  reservedBytes: pageCountOf(reservedRuns(session)) * pageSize,
});

const waiting = (c: Coordinator): WaitingReport[] =>
  [...c.quarantine.all].map(({ path, runs, sinceMs, parties }) => ({
    path,
    bytes: pageCountOf(runs) * pageSize,
    sinceMs,
    for: [...parties].map((party) => {
      const { session } = 'view' in party ? party.view : party.grant;
      const what = `${'view' in party ? 'view' : 'write'} of session ${session.id}`;
      return `${what} (pid ${session.pid}${session.ended ? ', revoked' : ''})`;
    }),
  }));

/** Those that have been let go for and are being made are left out. */
const recalls = (c: Coordinator): RecallReport[] =>
  [...c.recalls].flatMap(({ path, reason, sinceMs, views }) => {
    const parties = [...views.keys()].map(({ session: { id, pid } }) => `session ${id} (pid ${pid})`);
    return parties.length === 0 ? [] : [{ path, reason, sinceMs, for: [...new Set(parties)] }];
  });

export interface HolderReport {
  readonly session: number;
  readonly pid: number;
  readonly label: string;
  readonly view: number;
  readonly path: string;
  readonly ino: number;
  readonly mode: 'r' | 'rw';
  readonly follow: 'live' | 'manual';
  readonly offset: number;
  readonly bytes: number;
  readonly extents: number;
  readonly layoutVersion: number;
  readonly currentVersion: number;
  /**
   * Milliseconds since it was sent the oldest remap that it has not answered; undefined when it owes nothing.
   */
  readonly owesAnswerMs: number | undefined;
  /** Milliseconds since it was asked to let go; undefined when nobody waits for it. */
  readonly recalledMs: number | undefined;
  /** Its session was revoked, and its process has not let go yet. */
  readonly revoked: boolean;
  /** Bytes that are kept from being given away because of this view. */
  readonly holdsUpBytes: number;
}

export function holders(c: Coordinator, ino: number | undefined): HolderReport[] {
  const views = [...c.sessions.values()].flatMap((session) => [...session.views.values()]);
  return views
    .filter((view) => ino === undefined || view.ino === ino)
    .map((view) => holderReport(c, view))
    .filter(({ revoked, holdsUpBytes }) => !revoked || holdsUpBytes > 0);
}

function holderReport(c: Coordinator, view: View): HolderReport {
  const { session } = view;
  const held = [...c.quarantine.all].filter(({ parties }) =>
    [...parties].some((p) => 'view' in p && p.view === view),
  );
  return {
    session: session.id,
    pid: session.pid,
    label: session.label,
    view: view.id,
    path: view.path,
    ino: view.ino,
    mode: view.mode,
    follow: view.follow,
    offset: view.from * pageSize,
    bytes: view.pages * pageSize,
    extents: view.extents.length,
    layoutVersion: view.layoutVersion,
    currentVersion: currentVersion(c, view),
    owesAnswerMs: view.unanswered[0] === undefined ? undefined : c.now() - view.unanswered[0].sentMs,
    recalledMs: recalledMs(c, view),
    revoked: session.ended,
    holdsUpBytes: held.reduce((sum, { runs }) => sum + pageCountOf(runs), 0) * pageSize,
  };
}

function recalledMs(c: Coordinator, view: View): number | undefined {
  const since = [...c.recalls].filter(({ views }) => views.has(view)).map(({ sinceMs }) => sinceMs);
  return since.length === 0 ? undefined : c.now() - Math.min(...since);
}

function currentVersion(c: Coordinator, { ino, generation, layoutVersion }: View): number {
  try {
    const inode = c.inode(ino);
    return inode.generation === generation ? inode.layoutVersion : layoutVersion;
  } catch {
    return layoutVersion;
  }
}

/** Every invariant of the segment, on the working copy, between two commits. */
export function check(c: Coordinator): string[] {
  c.journal.flush();
  // Pages that this commit let go of are freed by a commit of their own.
  c.journal.flush();
  const runs = [
    ...[...c.quarantine.all, ...c.limbo].flatMap((q) => q.runs),
    ...[...c.sessions.values()].flatMap(reservedRuns),
    ...[...c.ownReservations].flatMap((r) => r.left),
  ];
  return checkSegment(c.segment, { runs, orphans: c.orphans, inodeLimit: c.writer.inodeLimit }).slice(
    0,
    1000,
  );
}
