/** Which request goes where: the one place that knows all operations. */
import { type AnyEvent, type AnyRequest, FsError, type Reply, unreachable } from '@cluster-fs/transport';
import { isFile, mayAccess, walk } from 'cluster-fs/segment';
import { exceeded } from '../limits.ts';
import { fetchFor } from '../store/pager.ts';
import { wholeFile } from '../store/stored.ts';
import { setAttributes } from './attributes.ts';
import { attachPages, put, reserve, unreserve, writeBegin, writeEnd } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import { defrag } from './defrag.ts';
import type { AnyReply, Placing } from './elsewhere.ts';
import { fallocate } from './fallocate.ts';
import { type MoveOptions, moveFile } from './move.ts';
import { link, mkdir, remove, rename, rmdir, symlink, unlink } from './namespace.ts';
import { assertMayChange, close, open } from './open.ts';
import { keep } from './recall.ts';
import { check, holders, type NodeFacts, status } from './report.ts';
import type { Session } from './session.ts';
import { revokeSession } from './sessions.ts';
import { write } from './short-write.ts';
import { sync } from './sync.ts';
import { resumed } from './unresolved.ts';
import { acknowledge, advance, lease, mapped, present, released } from './views.ts';

export interface DispatchContext {
  readonly facts: NodeFacts;
  readonly long: MoveOptions;
}

/** Answers one request of an open session. Throws or rejects with what the client is to be told. */
export function dispatch(
  c: Coordinator,
  session: Session,
  request: AnyRequest,
  context: DispatchContext,
): AnyReply | Promise<AnyReply> {
  const here = () => perform(c, session, request, context);
  return c.routes === undefined ? here() : c.routes.answer(session, request, here);
}

function perform(
  c: Coordinator,
  session: Session,
  request: AnyRequest,
  context: DispatchContext,
): AnyReply | Promise<AnyReply> {
  const { name } = request;
  switch (name) {
    case 'hello':
    case 'attach':
      throw new FsError('EPROTO', name, { why: 'not now' });
    case 'lease':
      return lease(c, session, request.fields);
    case 'mapped':
      return mapped(c, session, request.fields);
    case 'present':
      return present(c, session, request.fields);
    case 'advance':
      return advance(c, session, request.fields);
    case 'release':
      return released(c, session, request.fields);
    case 'resumed':
      return resumed(c);
    case 'open':
      return open(c, session, request.fields);
    case 'reserve':
      return reserve(c, session, request.fields);
    case 'put':
      return put(c, session, request.fields, context.long);
    case 'attachPages':
      return attachPages(c, session, request.fields);
    case 'writeBegin':
      return writeBegin(c, session, request.fields);
    case 'writeEnd':
      return writeEnd(c, session, request.fields);
    case 'write':
      return write(c, session, request.fields);
    case 'mkdir':
      return mkdir(c, session, request.fields);
    case 'rmdir':
      return rmdir(c, session, request.fields);
    case 'unlink':
      return unlink(c, session, request.fields);
    case 'rename':
      return rename(c, session, request.fields);
    case 'link':
      return link(c, session, request.fields);
    case 'symlink':
      return symlink(c, session, request.fields);
    case 'setAttributes':
      return setAttributes(c, session, request.fields);
    case 'fallocate':
      return fallocate(c, session, request.fields);
    case 'remove':
      return remove(c, session, request.fields);
    default:
      return administer(c, session, request, context);
  }
}

type AdministrativeRequest = Extract<
  AnyRequest,
  {
    name:
      | 'move'
      | 'migrate'
      | 'drain'
      | 'rebalance'
      | 'defrag'
      | 'sync'
      | 'fetch'
      | 'evict'
      | 'pin'
      | 'status'
      | 'holders'
      | 'revoke'
      | 'subscribe'
      | 'unsubscribe'
      | 'check';
  }
>;

/** What is asked about the file system, and not of a file. */
function administer(
  c: Coordinator,
  session: Session,
  request: AdministrativeRequest,
  { facts, long }: DispatchContext,
): AnyReply | Promise<AnyReply> {
  const { name } = request;
  switch (name) {
    case 'move':
      return moveFile(c, session, request.fields.path, long);
    case 'migrate':
      return placingOf(c).migrate(session, request.fields, long);
    case 'drain':
      assertMayRearrange(session, name);
      return placingOf(c).drain(request.fields, long);
    case 'rebalance':
      assertMayRearrange(session, name);
      return placingOf(c).rebalance(request.fields, long);
    case 'defrag':
      return defragFor(c, session, long);
    case 'fetch':
      assertMayRead(c, session, request.fields.ino, 'read');
      return fetchFor(c, request.fields);
    case 'evict':
      return evict(c, session, request.fields.ino);
    case 'pin':
      return pin(c, session, request.fields);
    case 'sync':
      return sync(c, request.fields.ino);
    case 'status':
      return { status: status(c, facts) };
    case 'holders':
      return { holders: holders(c, inoOf(c, session, request.fields.path)) };
    case 'revoke':
      return revoke(c, session, request.fields.session);
    case 'subscribe':
      return subscribe(c, session, request.fields);
    case 'unsubscribe':
      c.hub.unsubscribe(session, request.fields.subscription);
      return {};
    case 'check':
      return { findings: check(c) };
    default:
      return unreachable(name);
  }
}

/**
 * Requests that name an inode and no path: what is in the store alone comes into memory for who may read it,
 * or has it open. ESTALE for an inode that there is not, EINVAL for one that is no file.
 */
function assertMayRead(c: Coordinator, session: Session, ino: number, syscall: string): void {
  if (!isFile(c.inode(ino).mode)) throw new FsError('EINVAL', syscall, { why: `inode ${ino} is no file` });
  if (mayAccess(c.segment, ino, session.credentials, 4) || c.inode(ino).uid === session.credentials.uid)
    return;
  const open = [...session.handles.values(), ...session.views.values()];
  if (!open.some((each) => each.ino === ino)) throw new FsError('EACCES', syscall);
}

/** Without a store everything stays in memory. */
async function evict(c: Coordinator, session: Session, ino: number): Promise<Reply<'evict'>> {
  assertMayChange(session, 'evict');
  assertMayRead(c, session, ino, 'evict');
  return { pages: (await c.evictor?.evictFile(ino)) ?? 0 };
}

async function pin(
  c: Coordinator,
  session: Session,
  { ino, on }: { ino: number; on: boolean },
): Promise<Reply<'pin'>> {
  if (on) {
    assertMayRead(c, session, ino, 'pin');
    c.evictor?.pin(session, ino);
    await c.pager?.fetch(ino, wholeFile);
  } else c.evictor?.unpin(session, ino);
  return {};
}

/** What a client says without waiting for an answer. */
export function dispatchEvent(c: Coordinator, session: Session, event: AnyEvent): void {
  switch (event.name) {
    case 'close':
      close(c, session, event.fields.handle);
      return;
    case 'ack':
      acknowledge(c, session, event.fields);
      return;
    case 'keep': {
      const view = session.views.get(event.fields.view);
      if (view !== undefined) keep(c, view);
      return;
    }
    case 'unreserve':
      unreserve(c, session, event.fields);
      return;
    default:
      return;
  }
}

function placingOf({ placing }: Coordinator): Placing {
  if (placing === undefined) throw new FsError('ENOTSUP', 'move', { why: 'this node is in no cluster' });
  return placing;
}

/** Everybody's pages and files: for whoever owns the node. */
function assertMayRearrange(session: Session, syscall: string): void {
  assertOperator(session, syscall);
  assertMayChange(session, syscall);
}

/** Whoever owns the node, and root. */
function assertOperator(session: Session, syscall: string): void {
  const { uid } = session.credentials;
  if (uid !== 0 && uid !== process.getuid?.()) throw new FsError('EPERM', syscall);
}

function defragFor(c: Coordinator, session: Session, long: MoveOptions): Promise<Reply<'defrag'>> {
  assertMayRearrange(session, 'defrag');
  return defrag(c, long);
}

function revoke(c: Coordinator, session: Session, id: number): Reply<'revoke'> {
  assertOperator(session, 'revoke');
  const victim = c.sessions.get(id);
  if (victim === undefined || victim.ended)
    throw new FsError('ENOENT', 'revoke', { why: `no session ${id}` });
  revokeSession(c, victim, 'the session was revoked');
  return {};
}

function subscribe(
  c: Coordinator,
  session: Session,
  { subscription, path }: { subscription: number; path: string | undefined },
): Reply<'subscribe'> {
  if (session.subscriptions.size >= c.limits.subscriptions)
    throw exceeded(c.limits, 'subscriptions', { syscall: 'watch', path });
  if (path !== undefined) inoOf(c, session, path);
  c.hub.subscribe(session, subscription, path);
  return {};
}

function inoOf(c: Coordinator, session: Session, path: string | undefined): number | undefined {
  if (path === undefined) return undefined;
  const { ino } = walk(c.segment, path, { follow: true, syscall: 'open', credentials: session.credentials });
  if (ino === 0) throw new FsError('ENOENT', 'open', { path });
  return ino;
}
