/**
 * Views: layout leases. Who maps what, and what each was told.
 *
 *   lease ──▶ granted (no address) ──mapped──▶ mapped ──remap ⇄ ack──▶ mapped ──release / session end──▶ gone
 *     └──────guess is right──────────────────────▲
 *
 * A view that was granted and is not mapped yet cannot be armed, so moves of its file wait for it.
 */
import {
  type Event,
  type Extent,
  FsError,
  type Guess,
  type Reply,
  type Request,
  type Run,
} from '@cluster-fs/transport';
import {
  allows,
  hasAbsent,
  InodeCopy,
  isDirectory,
  isFile,
  mayAccess,
  pageSize,
  readInode,
  walk,
} from 'cluster-fs/segment';
import { exceeded } from '../limits.ts';
import { wholeFile } from '../store/stored.ts';
import { pagesFor } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import type { ViewCopies } from './elsewhere.ts';
import { fillHoles } from './holes.ts';
import { assertMayChange } from './open.ts';
import { afterRecalls } from './recall.ts';
import { changeExtents, expectAnswer } from './remap.ts';
import { makeRoom } from './room.ts';
import { clip, overlap, pagesLeft, sameExtents } from './runs.ts';
import type { Session, View } from './session.ts';

export async function lease(
  c: Coordinator,
  session: Session,
  request: Request<'lease'>,
): Promise<Reply<'lease'>> {
  const { path, mode } = request;
  const fail = (code: 'ENOENT' | 'EISDIR' | 'EACCES' | 'EINVAL', why?: string) =>
    new FsError(code, 'map', { path, why });
  if (mode === 'rw') assertMayChange(session, 'map', path);
  if (request.offset % pageSize !== 0) throw fail('EINVAL', 'the offset is not on a page');
  const { ino } = walk(c.segment, path, { follow: true, syscall: 'map', credentials: session.credentials });
  if (ino === 0) throw fail('ENOENT');
  if (isDirectory(c.inode(ino).mode)) throw fail('EISDIR');
  if (!mayAccess(c.segment, ino, session.credentials, mode === 'rw' ? 6 : 4)) throw fail('EACCES');
  // What was looked at here must be what is mapped in the end, and not the next user of its number.
  return c.keeping(ino, async () => {
    const leased = () => leaseOf(c, session, ino, request);
    return c.blocks === undefined ? leased() : c.blocks.following(ino, leased);
  });
}

/** Requires: the inode is kept alive. EAGAIN when the file gets another home meanwhile. */
async function leaseOf(
  c: Coordinator,
  session: Session,
  ino: number,
  request: Request<'lease'>,
): Promise<Reply<'lease'>> {
  const { mode } = request;
  await c.blocks?.open({ ino, generation: c.inode(ino).generation }, request, session);
  const copies = copiesFor(c, ino, request.follow, session);
  const open = () => c.journal.mutate(() => grant(c, session, ino, request, copies));
  if (copies !== undefined) return copies.serve(ino, () => c.exclusive(ino, open));
  // Who cannot wait for pages gets none that are absent, nor does anybody in a file whose holes are filled.
  if (session.userfault === undefined || (mode === 'rw' && hasHoles(c, ino)))
    await c.pager?.fetch(ino, wholeFile);
  if (mode === 'rw') await makeRoom(c, pagesFor(c.inode(ino).size) - c.inode(ino).pages);
  const openHere = async () => {
    const fills = mode === 'rw' && hasHoles(c, ino);
    // In line for the layout the file may have got another home, and holes, since it was opened where it was.
    if (fills || copiesFor(c, ino, request.follow, session) !== undefined) c.assertHome(ino);
    // Or another node has opened it, which could not for a client that has it pinned.
    if (session.userfault === undefined) c.blocks?.assertMayPin(ino, mode);
    return fills ? c.holding(ino, 'write', open) : open();
  };
  const mayBlock = mode === 'rw' && session.userfault === undefined;
  return mayBlock ? afterRecalls(c, ino, session, openHere) : c.exclusive(ino, openHere);
}

/** What the view maps in place of the file's own pages; undefined when it maps those. */
function copiesFor(
  { blocks }: Coordinator,
  ino: number,
  follow: View['follow'],
  session: Session,
): ViewCopies | undefined {
  return blocks?.copies?.isFor(ino, follow, session) === true ? blocks.copies : undefined;
}

/** Gives a file that other nodes are going to store into pages for all its holes. */
export async function fillForWriters(c: Coordinator, ino: number): Promise<void> {
  if (!hasHoles(c, ino)) return;
  await makeRoom(c, pagesFor(c.inode(ino).size) - c.inode(ino).pages);
  await c.alone(ino, () => c.journal.mutate(() => fillForWriter(c, ino, c.inode(ino).size)));
}

const hasHoles = (c: Coordinator, ino: number): boolean => {
  const { size, pages } = c.inode(ino);
  return pages < pagesFor(size);
};

/** Also when the file gets another home meanwhile. */
const served = <T>(
  { blocks }: Coordinator,
  ino: number,
  copies: ViewCopies,
  use: () => Promise<T>,
): Promise<T> => {
  const serve = () => copies.serve(ino, use);
  return blocks === undefined ? serve() : blocks.following(ino, serve);
};

function grant(
  c: Coordinator,
  session: Session,
  ino: number,
  request: Request<'lease'>,
  copies: ViewCopies | undefined,
): Reply<'lease'> {
  assertRoomForView(c, session, request.path);
  const { path, mode, follow, offset } = request;
  const { size, generation } = c.inode(ino);
  if (mode === 'rw') {
    fillForWriter(c, ino, size);
    c.contentChanges(ino, 'all');
  }
  const { layoutVersion } = c.inode(ino);
  const length = Math.max(request.length ?? Math.max(0, size - offset), request.reserve ?? 0);
  const from = offset / pageSize;
  const pages = pagesFor(length);
  const extents = clip(copies?.extentsOf(ino) ?? c.extents(ino), from, pages);
  // What a client sees by itself is where the file lies.
  const guess =
    copies === undefined ? rightGuess(request, { ino, generation, layoutVersion, pages }) : undefined;
  const view: View = {
    id: c.nextId(),
    session,
    ino,
    generation,
    path,
    mode,
    follow,
    isCopy: copies !== undefined,
    from,
    pages,
    address: guess?.address,
    extents,
    layoutVersion,
    size,
    behind: false,
    sentSerial: 0,
    ackedSerial: 0,
    unanswered: [],
    planned: [],
  };
  addView(c, view);
  c.writer.onRollback(() => removeView(c, view));
  const isMapped = guess !== undefined;
  if (isMapped) c.journal.afterCommit(() => c.pager?.watch(view));
  return { view: view.id, ino, generation, size, layoutVersion, length, extents, mapped: isMapped };
}

/**
 * What the client has mapped already, if it is what the file has now. It read the layout from the segment,
 * where a layoutVersion is never published with other extents.
 */
function rightGuess(
  { path, guess }: Request<'lease'>,
  now: { ino: number; generation: number; layoutVersion: number; pages: number },
): Guess | undefined {
  if (guess === undefined) return undefined;
  const { ino, generation, layoutVersion } = guess;
  const isRight = ino === now.ino && generation === now.generation && layoutVersion === now.layoutVersion;
  if (!isRight) return undefined;
  assertPlace(path, guess, now.pages);
  return guess;
}

/** Requires of the client: whole pages, as many as the view may show. */
function assertPlace(path: string, { address, length }: { address: number; length: number }, pages: number) {
  if (address % pageSize !== 0 || length < pages * pageSize) throw new FsError('EINVAL', 'map', { path });
}

/** Where the view is made: several that were asked for at once wait for the same layout. */
function assertRoomForView(c: Coordinator, session: Session, path: string): void {
  if (session.ended) throw new FsError('ECONNRESET', 'map', { path });
  if (session.views.size >= c.limits.views) throw exceeded(c.limits, 'views', { syscall: 'map', path });
}

/** Stores into a hole would be lost, so a file that is mapped to write has none. */
function fillForWriter(c: Coordinator, ino: number, size: number): void {
  const before = c.extents(ino);
  const filled = fillHoles(c, before, { from: 0, end: pagesFor(size) });
  if (filled.length === before.length && filled.every((e, i) => e.count === before[i]?.count)) return;
  changeExtents(c, ino, filled, { cause: 'grow', from: 0, count: pagesFor(size) });
}

/** As that. What is in the holes of a file of another home is for that to say: they get absent pages here. */
function fillWhereverItIs(c: Coordinator, ino: number): void {
  if (!hasHoles(c, ino)) return;
  if (c.blocks?.isOwn(ino) === false) c.blocks.layOutWhole(ino);
  else fillForWriter(c, ino, c.inode(ino).size);
}

function addView(c: Coordinator, view: View): void {
  view.session.views.set(view.id, view);
  const onInode = c.views.get(view.ino) ?? new Set();
  c.views.set(view.ino, onInode.add(view));
  c.refer(view.ino);
}

function removeView(c: Coordinator, view: View): void {
  if (!view.session.views.delete(view.id)) return;
  // What lies there from here on is not ours to arm.
  view.address = undefined;
  const onInode = c.views.get(view.ino);
  onInode?.delete(view);
  if (onInode?.size === 0) c.views.delete(view.ino);
  c.unrefer(view.ino);
}

function viewOf(session: Session, id: number, syscall: string): View {
  const view = session.views.get(id);
  if (view === undefined) throw new FsError('EBADF', syscall, { why: 'no such view' });
  return view;
}

export function mapped(
  c: Coordinator,
  session: Session,
  { view: id, address, length }: Request<'mapped'>,
): Reply<'mapped'> {
  const view = viewOf(session, id, 'map');
  assertPlace(view.path, { address, length }, view.pages);
  view.address = address;
  c.pager?.watch(view);
  c.answers.notify();
  return {};
}

export function acknowledge(c: Coordinator, session: Session, { view: id, serial }: Event<'ack'>): void {
  const view = session.views.get(id);
  if (view === undefined || serial <= view.ackedSerial || serial > view.sentSerial) return;
  view.ackedSerial = serial;
  view.unanswered = view.unanswered.filter((remap) => remap.serial > serial);
  c.quarantine.viewAnswered(view);
  c.answers.notify();
}

/** The client has closed the view; or the node has found that before. */
export function released(
  c: Coordinator,
  session: Session,
  { view: id }: Request<'release'>,
): Reply<'release'> {
  const view = session.views.get(id);
  if (view !== undefined) release(c, view);
  return {};
}

export function release(c: Coordinator, view: View): void {
  // Its last stores may be newer than what is being stored of the file just now.
  if (view.mode === 'rw' && c.writeBack !== undefined) {
    c.journal.mutate(() => c.contentChanges(view.ino, 'all')).catch((error: unknown) => c.hub.report(error));
  }
  removeView(c, view);
  c.quarantine.viewAnswered(view);
  if (view.isCopy) c.blocks?.copies?.released(view);
  c.answers.notify();
}

/**
 * Brings a view that follows by hand to the newest content. What it leaves is let go with the `ack` of this
 * serial. One that follows by itself has it.
 * The layout stands still meanwhile: pages that are being moved just now cannot be mapped before they are
 * armed.
 */
export async function advance(
  c: Coordinator,
  session: Session,
  { view: id }: Request<'advance'>,
): Promise<Reply<'advance'>> {
  const { ino, mode, from, pages, isCopy } = viewOf(session, id, 'advance');
  const copies = isCopy ? c.blocks?.copies : undefined;
  const go = () => goForward(c, session, id, copies);
  if (copies !== undefined) return served(c, ino, copies, () => c.exclusive(ino, go));
  // Who touches what is absent of it waits then.
  if (session.userfault !== undefined) return c.exclusive(ino, go);
  const range = { from, count: pages };
  // What is there of a file that such a client maps stays.
  await c.pager?.fetch(ino, range);
  const bringAndGo = () => {
    c.pager?.fetchNow(ino, range);
    return go();
  };
  return c.exclusive(ino, () => c.holding(ino, mode === 'rw' ? 'write' : 'read', bringAndGo, range));
}

const goForward = (
  c: Coordinator,
  session: Session,
  id: number,
  copies: ViewCopies | undefined,
): Promise<Reply<'advance'>> =>
  // Inside mutate: what others changed in this turn is told only when it is committed.
  c.journal.mutate(() => {
    const view = viewOf(session, id, 'advance');
    const { ino, extents: before, behind, size: sizeBefore, layoutVersion: versionBefore } = view;
    const { size, layoutVersion } = c.inode(ino);
    view.extents = clip(copies?.extentsOf(ino) ?? c.extents(ino), view.from, view.pages);
    Object.assign(view, { behind: false, size, layoutVersion });
    c.writer.onRollback(() => {
      Object.assign(view, { extents: before, behind, size: sizeBefore, layoutVersion: versionBefore });
    });
    view.sentSerial += 1;
    expectAnswer(c, view, { before, from: view.from, count: view.pages });
    const unarmed = copies === undefined && mayHaveToWait(c, view, pagesLeft(view.extents, before));
    return { serial: view.sentSerial, size, layoutVersion, extents: view.extents, unarmed };
  });

/** Whether who touches pages of a view may have to wait: for what is absent, or before he stores. */
function mayHaveToWait(
  c: Coordinator,
  { ino, mode, from, pages, session }: View,
  runs: readonly Run[],
): boolean {
  if (session.userfault === undefined || runs.length === 0) return false;
  if (runs.some((run) => hasAbsent(c.journal.published, run))) return true;
  return mode === 'rw' && c.blocks?.holds(ino, { from, count: pages }, 'write') === false;
}

/**
 * A client that outlived the node shows a lease of before. Its view goes on where the file is now; `stale`
 * says that what it maps is of no file any more, and it reads as zeros.
 */
export async function present(
  c: Coordinator,
  session: Session,
  request: Request<'present'>,
): Promise<Reply<'present'>> {
  const { path, mode, offset, address, length } = request;
  if (mode === 'rw') assertMayChange(session, 'map', path);
  if (offset % pageSize !== 0 || address % pageSize !== 0 || length % pageSize !== 0) {
    throw new FsError('EINVAL', 'map', { path, why: 'not whole pages' });
  }
  const { ino, follow } = request;
  const copies = isAlive(c, request) ? copiesFor(c, ino, follow, session) : undefined;
  // What is being moved just now was armed in the views that were known when it began.
  const go = () => c.exclusive(ino, () => c.journal.mutate(() => goOn(c, session, request, copies)));
  if (copies?.isKept(ino, request.extents) === false) return served(c, ino, copies, go);
  // Its home may be away, and what it shows is there.
  if (copies !== undefined) return go();
  // Nobody would wait for what is absent of a view that cannot be armed before it is shown.
  if (session.userfault === undefined && !isWhereItWas(c, request)) await c.pager?.fetch(ino, wholeFile);
  return go();
}

/** Whether the file is there still. A client may name what never was one. */
function isAlive(
  c: Coordinator,
  { ino, generation }: Request<'present'>,
  copy: InodeCopy = new InodeCopy(),
): boolean {
  return readInode(c.segment, ino, copy) && copy.generation === generation && isFile(copy.mode);
}

function isWhereItWas(c: Coordinator, request: Request<'present'>): boolean {
  const { ino, offset, length, extents } = request;
  if (!isAlive(c, request)) return false;
  return sameExtents(extents, clip(c.extents(ino), offset / pageSize, pagesFor(length)));
}

/**
 * The node does not know what a session had before: rights are checked as if the view were new. The owner may
 * have withdrawn them from itself, and keeps what it has.
 */
function mayKeep(inode: InodeCopy, { credentials }: Session, mode: 'r' | 'rw'): boolean {
  return inode.uid === credentials.uid || allows(inode, credentials, mode === 'rw' ? 6 : 4);
}

function goOn(
  c: Coordinator,
  session: Session,
  request: Request<'present'>,
  copies: ViewCopies | undefined,
): Reply<'present'> {
  assertRoomForView(c, session, request.path);
  const { ino, generation, path, mode, follow, offset, address, length } = request;
  const copy = new InodeCopy();
  const alive = isAlive(c, request, copy) && mayKeep(copy, session, mode);
  const from = offset / pageSize;
  const pages = pagesFor(length);
  // Before this lease was known again, somebody may have made a hole.
  if (alive && mode === 'rw') fillWhereverItIs(c, ino);
  const keeps = copies?.isKept(ino, request.extents) === true;
  const now = (): readonly Extent[] => copies?.extentsOf(ino) ?? c.extents(ino);
  const current = alive && !keeps ? clip(now(), from, pages) : [];
  // Content is the same as long as the file still has pages that the view maps, or never had any other
  // version.
  const isOld =
    !keeps &&
    follow === 'manual' &&
    copy.layoutVersion !== request.layoutVersion &&
    !overlap(request.extents, current) &&
    c.isHeldBack(request.extents);
  const behind = alive && isOld;
  const extents: readonly Extent[] = alive && (behind || keeps) ? request.extents : current;
  const view: View = {
    id: c.nextId(),
    session,
    ino,
    generation,
    path,
    mode,
    follow,
    isCopy: copies !== undefined,
    from,
    pages,
    address,
    extents,
    behind,
    layoutVersion: alive && !behind && !keeps ? copy.layoutVersion : request.layoutVersion,
    size: alive ? (behind || keeps ? request.size : copy.size) : 0,
    sentSerial: 0,
    ackedSerial: 0,
    unanswered: [],
    planned: [],
  };
  // A stale view maps nothing that is ours any more: nobody needs to know it.
  if (alive) addView(c, view);
  if (alive && mode === 'rw' && copies === undefined && c.unresolved.size > 0)
    c.losses.suspect(session, ino, { isOwn: c.blocks?.isOwn(ino) !== false });
  if (behind) c.keepFor(view, request.extents);
  if (alive && keeps) copies?.goOn(view);
  if (alive && mode === 'rw') c.contentChanges(ino, 'all');
  return { view: view.id, size: view.size, layoutVersion: view.layoutVersion, extents, stale: !alive };
}
