/**
 * Changing where a file lies, under everybody who maps it.
 *
 * Within one commit: the new extents become true, and the pages that the file leaves are confined until every
 * view that may map them has swapped. After it, in this order:
 *   1 arm: the views' ranges are registered with their userfaultfds, so that a touch of an absent page waits
 *   2 punch: the old pages vanish from every process at once; from here nobody reads or stores into stale
 *     bytes
 *   3 remap events: each session worker maps the new pages over the old, wakes who waits, acknowledges
 * A view that keeps the old pages (it follows by hand, or its client is pinned) forbids the punch; it is
 * told, and the pages wait for it.
 *
 * One commit may change a file more than once: a file of another home loses several ranges, say. Each change
 * is a remap of its own, so until the commit is made a view also counts as mapping what it will be told.
 */
import { type Event, type Extent, FsError, native, type Run } from '@cluster-fs/transport';
import { pageSize, setExtents } from 'cluster-fs/segment';
import type { Range } from '../store/stored.ts';
import type { Coordinator } from './coordinator.ts';
import { mayMap, type Party } from './quarantine.ts';
import { clip, type Moved, overlap, pagesLeft, substitute } from './runs.ts';
import type { Unanswered, View } from './session.ts';
import { release } from './views.ts';

export type Cause = Event<'remap'>['cause'];

interface Change {
  readonly cause: Cause;
  /** File pages whose extents change. */
  readonly from: number;
  readonly count: number;
  /** The new size; undefined when it stays. */
  readonly size?: number;
}

/** One view and what it has to do about a change. */
interface Swap {
  readonly view: View;
  readonly next: readonly Extent[];
}

/**
 * Gives a file new extents whose content is new too. Requires: inside mutate, with the layout held
 * exclusively.
 * Views that follow by hand stay where they are.
 */
export function changeExtents(c: Coordinator, ino: number, extents: readonly Extent[], change: Change): void {
  const before = c.extents(ino);
  // Who keeps pages that the store alone has could not get them any more.
  if ([...c.viewsOf(ino)].some(keepsPages)) c.pager?.fetchNow(ino, change);
  c.contentChanges(ino, { from: change.from, count: change.count });
  const version = commitExtents(c, ino, extents, change);
  const left = pagesLeft(before, extents);
  const swaps: Swap[] = [];
  const keepers: View[] = [];
  for (const view of c.viewsOf(ino)) {
    if (view.isCopy) continue;
    if (keepsPages(view)) keepers.push(view);
    else swaps.push({ view, next: clip(extents, view.from, view.pages) });
  }
  const size = change.size ?? c.inode(ino).size;
  for (const view of keepers) tellChanged(c, view, change, { version, size });
  const remains = keepers.some((view) => mayMap(view, left)) || swaps.some(isPinned);
  c.journal.afterCommit(() => {
    for (const { view } of swaps) armForSwap(c, view, change, { remains });
  });
  finish(c, { ino, left, swaps, keepers, change, version, size, path: pathOf(c, ino) });
}

/**
 * Gives a file other pages with the same content: `moved` says which became which. Every view swaps, also one
 * that follows by hand, since nothing it can see changes. Requires: inside mutate, with the pages copied, the
 * layout held exclusively, and the range armed in every view that shows it.
 */
export function movePages(c: Coordinator, ino: number, moved: readonly Moved[], change: Change): void {
  const extents = substitute(c.extents(ino), moved);
  const version = commitExtents(c, ino, extents, change);
  const left = moved.map(({ from, count }) => ({ page: from, count }));
  const swaps: Swap[] = [];
  const keepers: View[] = [];
  for (const view of c.viewsOf(ino)) {
    const shown = view.planned.at(-1) ?? view.extents;
    if (view.session.ended || !overlap(shown, left)) keepers.push(view);
    else swaps.push({ view, next: substitute(shown, moved) });
  }
  finish(c, {
    ino,
    left,
    swaps,
    keepers,
    change,
    version,
    size: c.inode(ino).size,
    path: pathOf(c, ino),
  });
}

function commitExtents(c: Coordinator, ino: number, extents: readonly Extent[], { size }: Change): number {
  c.assertMayHave(ino, extents);
  setExtents(c.writer, ino, extents);
  const record = c.writer.touchInode(ino);
  record.layoutVersion += 1;
  if (size !== undefined) record.size = size;
  return record.layoutVersion;
}

interface Finish {
  readonly ino: number;
  readonly left: readonly Run[];
  readonly swaps: readonly Swap[];
  readonly keepers: readonly View[];
  readonly change: Change;
  readonly version: number;
  readonly size: number;
  readonly path: string;
}

function finish(c: Coordinator, { ino, left, swaps, keepers, change, version, size, path }: Finish): void {
  const parties: Party[] = [...c.brokenGrants]
    .filter((grant) => grant.ino === ino)
    .map((grant) => ({ grant }));
  const kept = keepers.filter((view) => mayMap(view, left));
  for (const view of kept) parties.push({ view });
  for (const { view } of swaps) if (mayMap(view, left)) parties.push({ view });
  const pinned = swaps.some(isPinned);
  for (const swap of swaps) plan(c, swap);
  c.confine({ runs: left, ino, path, parties });
  c.journal.afterCommit(() => {
    if (kept.length === 0 && !pinned && swaps.length > 0) c.data.punch(left);
    for (const swap of swaps) {
      unplan(swap);
      sendRemap(c, swap, { change, version, size });
    }
  });
}

/** From here on the view may map what it will be told: a later change of the same commit takes it away. */
function plan(c: Coordinator, swap: Swap): void {
  swap.view.planned = [...swap.view.planned, swap.next];
  c.writer.onRollback(() => unplan(swap));
}

function unplan({ view, next }: Swap): void {
  view.planned = view.planned.filter((each) => each !== next);
}

/** Whether a view stays where it is when the content changes; one of a revoked session hears nothing more. */
const keepsPages = ({ follow, behind, session }: View): boolean =>
  follow === 'manual' || behind || session.ended;

const isPinned = ({ view }: Swap): boolean => view.session.userfault === undefined;

/**
 * Registers the part of the view that changes, so that an absent page is waited for and not read as zeros.
 * When the old pages remain, because somebody keeps them, a store must wait too: it would be lost with them.
 */
function armForSwap(
  c: Coordinator,
  view: View,
  { from, count }: Change,
  { remains }: { remains: boolean },
): void {
  const range = addressRange(view, from, count);
  if (range !== undefined) arm(c, view, range, { writeProtect: remains && view.mode === 'rw' });
}

/** Registers a range of a client's memory with its userfaultfd, and write-protects it if asked to. */
export function arm(
  c: Coordinator,
  view: View,
  { address, length }: AddressRange,
  { writeProtect }: { writeProtect: boolean },
): void {
  const fd = view.session.userfault;
  if (fd === undefined) return;
  try {
    // To register again what is registered stops every thread of the client that touches fresh memory.
    if (writeProtect && native.protectRegistered(fd, address, length)) return;
    // Where nothing is ever protected, the kernel maps what is there around a touch with it.
    native.registerUserfault(fd, address, length, { missing: true, writeProtect: view.mode === 'rw' });
    if (writeProtect) native.writeProtectUserfault(fd, address, length, true);
  } catch (cause) {
    // A view that is being closed, or whose process is on its way out, maps nothing any more: its lease is
    // over.
    if (cause instanceof FsError && unmappedCodes.has(cause.code)) {
      release(c, view);
      return;
    }
    // No userfaultfd at all: a client that lies. Its session is over, and the others are served on.
    const { pid, control } = view.session;
    control.close(new FsError('EPROTO', 'ioctl', { why: `the memory of pid ${pid} cannot be armed`, cause }));
  }
}

/** What the ioctls say of a range that is mapped no more, or of a dead process. */
const unmappedCodes: ReadonlySet<string> = new Set([
  'EINVAL',
  'ENOENT',
  'ENOMEM',
  'ESRCH',
  'EFAULT',
  'EAGAIN',
]);

export interface AddressRange {
  readonly address: number;
  readonly length: number;
}

/**
 * Where file pages `from` .. `from + count` lie in the client's memory; undefined when the view shows none of
 * them.
 */
export function addressRange(view: View, from: number, count: number): AddressRange | undefined {
  const start = Math.max(from, view.from);
  const end = Math.min(from + count, view.from + view.pages);
  if (view.address === undefined || start >= end) return undefined;
  return { address: view.address + (start - view.from) * pageSize, length: (end - start) * pageSize };
}

function sendRemap(
  c: Coordinator,
  { view, next }: Swap,
  { change, version, size }: { change: Change; version: number; size: number },
): void {
  const from = Math.max(change.from, view.from);
  const count = Math.max(0, Math.min(change.from + change.count, view.from + view.pages) - from);
  // What is mapped over a live array is not registered yet: it must be there.
  c.pager?.fetchNow(view.ino, { from, count });
  const before = view.extents;
  view.extents = next;
  if (!view.behind) {
    view.layoutVersion = version;
    view.size = size;
  }
  view.sentSerial += 1;
  expectAnswer(c, view, { before, from, count });
  view.session.control.event('remap', {
    view: view.id,
    serial: view.sentSerial,
    cause: change.cause,
    layoutVersion: view.layoutVersion,
    size: view.size,
    from,
    count,
    extents: clip(next, from, count),
  });
}

/** Whether anybody maps the view still. */
export const isOpen = (c: Coordinator, view: View): boolean =>
  c.views.get(view.ino)?.has(view) === true && !view.session.ended;

/** Shows a view pages that its file has got behind what it shows. Requires: they are there. */
export function showGrown(
  c: Coordinator,
  view: View,
  { from, count }: { from: number; count: number },
): void {
  const change: Change = { cause: 'grow', from, count };
  const { size, layoutVersion: version } = c.inode(view.ino);
  sendRemap(c, { view, next: clip(c.extents(view.ino), view.from, view.pages) }, { change, version, size });
  if (view.mode === 'rw') c.blocks?.copies?.relaid(view.ino, [{ filePage: from, count }]);
}

/**
 * Shows a view that maps a copy what that has now in a range, and how long the file is. Requires: other pages
 * than before that it shows there are kept for it.
 */
export function showCopy(c: Coordinator, view: View, range: Range, extents: readonly Extent[]): void {
  if (c.views.get(view.ino)?.has(view) !== true) return;
  const { size, layoutVersion: version } = c.inode(view.ino);
  const cause = size < view.size ? 'truncate' : 'replace';
  const next = clip(extents, view.from, view.pages);
  sendRemap(c, { view, next }, { change: { cause, ...range }, version, size });
}

/** A view that maps a copy keeps it, though there is newer content. Requires: inside mutate. */
export function tellBehind(c: Coordinator, view: View): void {
  if (view.behind) return;
  const { size, layoutVersion: version } = c.inode(view.ino);
  tellChanged(c, view, { cause: 'replace', from: 0, count: 0 }, { version, size });
}

function tellChanged(
  c: Coordinator,
  view: View,
  { cause }: Change,
  now: { version: number; size: number },
): void {
  const { behind } = view;
  view.behind = true;
  c.writer.onRollback(() => {
    view.behind = behind;
  });
  if (cause === 'move' || cause === 'revoke' || view.session.ended) return;
  const { version: layoutVersion, size } = now;
  c.journal.afterCommit(() => {
    view.session.control.event('changed', { view: view.id, cause, layoutVersion, size });
  });
}

const pathOf = (c: Coordinator, ino: number): string => {
  for (const view of c.viewsOf(ino)) return view.path;
  return '';
};

/**
 * Remembers that the view was told something about a range and has not answered. Requires: sentSerial is its
 * serial.
 */
export function expectAnswer(
  c: Coordinator,
  view: View,
  told: Pick<Unanswered, 'before' | 'from' | 'count'>,
): void {
  view.unanswered = [...view.unanswered, { ...told, serial: view.sentSerial, sentMs: c.now() }];
}

/**
 * A view on the inode for which moving these file pages now could lose a store: it is not mapped yet, so it
 * cannot be armed, or it has not answered a remap of some of them, and what is armed now would be mapped
 * over.
 */
export function unsettledView(
  c: Coordinator,
  ino: number,
  { from, count }: { from: number; count: number },
): View | undefined {
  for (const view of c.viewsOf(ino)) {
    if (view.session.ended) continue;
    if (view.address === undefined) return view;
    if (view.unanswered.some((r) => r.from < from + count && from < r.from + r.count)) return view;
  }
  return undefined;
}
