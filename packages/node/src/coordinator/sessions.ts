/**
 * The life of a session.
 *
 *   connected ──hello──▶ open ──control connection closes──▶ gone
 *             attach ⇅    └──revoked──▶ ended ──closes───────▶
 *      further request connections
 *
 * When it is gone, everything of the client goes at once: handles, views, writes under way, reserved pages,
 * descriptors. The kernel closes a connection when the last thread of the process is gone, so no store of it
 * can come later. A client that was revoked may be stopped, and store when it goes on: nobody waits for it
 * any more, and nobody gets what it may touch, until it has closed the connection.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync } from 'node:fs';
import {
  type Connection,
  FsError,
  native,
  protocolVersion,
  type Reply,
  type Request,
} from '@cluster-fs/transport';
import { layoutHash } from 'cluster-fs/segment';
import type { Peer } from '../admission.ts';
import { exceeded } from '../limits.ts';
import { breakGrant, endGrant } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import { giveBack, reservedRuns } from './reserve.ts';
import type { Session } from './session.ts';
import { release } from './views.ts';

/** @throws FsError EPROTONOSUPPORT, EROFS, EMFILE, EPROTO */
function assertWelcome(
  c: Coordinator,
  peer: Peer,
  { protocol, layoutHash: theirs, access }: Request<'hello'>,
  descriptors: readonly number[],
): void {
  const refuse = (code: 'EPROTONOSUPPORT' | 'EROFS' | 'EPROTO', why: string) =>
    new FsError(code, 'mount', { why });
  if (protocol !== protocolVersion)
    throw refuse('EPROTONOSUPPORT', `the client speaks protocol ${protocol}, this node ${protocolVersion}`);
  if (theirs !== layoutHash) throw refuse('EPROTONOSUPPORT', 'the client has another segment layout');
  if (access === 'rw' && peer.access === 'r')
    throw refuse('EROFS', `user ${peer.uid} may only read here: mount with access 'r'`);
  if (c.sessions.size >= c.limits.sessions) throw exceeded(c.limits, 'sessions', { syscall: 'mount' });
  if (descriptors.length > 1) throw refuse('EPROTO', 'more than one descriptor');
  // Any other is not kept: with its own end of this connection a client would never be seen to be gone.
  if (!descriptors.every(native.isUserfault)) throw refuse('EPROTO', 'a descriptor that is no userfaultfd');
}

export function hello(
  c: Coordinator,
  control: Connection,
  peer: Peer,
  request: Request<'hello'>,
  descriptors: readonly number[],
): Promise<{ session: Session; reply: Reply<'hello'> }> {
  assertWelcome(c, peer, request, descriptors);
  const id = c.nextId();
  const session: Session = {
    id,
    token: randomBytes(16),
    pid: peer.pid,
    label: request.label,
    access: request.access,
    credentials: { uid: peer.uid, gids: peer.gids },
    control,
    requests: new Set(),
    userfault: descriptors[0],
    kernelFaults: request.kernelFaults,
    onHomeLoss: request.onHomeLoss,
    isGuest: false,
    sinceMs: c.now(),
    handles: new Map(),
    views: new Map(),
    grants: new Map(),
    reservations: new Set(),
    subscriptions: new Map(),
    lockFd: c.sessionLocks.take({ id, pid: peer.pid }),
    ended: false,
  };
  return c.journal.mutate(() => {
    c.sessions.set(id, session);
    c.journal.afterCommit(() => c.pager?.listen(session));
    c.writer.onRollback(() => {
      c.sessions.delete(id);
      letGo(c, session);
    });
    c.journal.afterCommit(() =>
      c.hub.emit('session-open', undefined, { session: id, pid: peer.pid, label: request.label }),
    );
    const s = c.segment;
    const { token } = session;
    const segmentId = Buffer.from(s.id, 'hex');
    return {
      session,
      reply: {
        session: id,
        token,
        epoch: c.epoch,
        segmentId,
        metaSize: s.metaSize,
        dataSize: s.dataSize,
        paged: s.paged,
        nodePid: process.pid,
      },
    };
  });
}

export function attach(
  c: Coordinator,
  connection: Connection,
  peer: Peer,
  { session: id, token }: Request<'attach'>,
): Session {
  const session = c.sessions.get(id);
  if (
    session === undefined ||
    session.ended ||
    session.pid !== peer.pid ||
    session.credentials.uid !== peer.uid ||
    !timingSafeEqual(session.token, token)
  ) {
    throw new FsError('EACCES', 'mount', { why: 'no such session' });
  }
  session.requests.add(connection);
  // The client has the answer to its hello.
  closeLock(session);
  return session;
}

/** The lock is the client's alone. Safe to call twice. */
function closeLock(session: Session): void {
  if (session.lockFd !== undefined) closeSync(session.lockFd);
  session.lockFd = undefined;
}

/** No node that comes after waits for the session. */
function letGo(c: Coordinator, session: Session): void {
  closeLock(session);
  c.sessionLocks.remove(session);
}

/** Ends a session from outside: its client changes nothing any more, and holds nobody up. */
export function revokeSession(c: Coordinator, session: Session, why: string): void {
  if (session.ended) return;
  const reason = new FsError('ECANCELED', 'revoke', { why });
  session.control.event('bye', { code: reason.code, why: why.slice(0, 1024) });
  end(c, session, reason);
  c.answers.notify();
}

/** What is said of a session, and what others wait for because of it, is over. */
function end(c: Coordinator, session: Session, reason: FsError): void {
  session.ended = true;
  for (const id of [...session.subscriptions.keys()]) c.hub.unsubscribe(session, id);
  for (const connection of session.requests) connection.close(reason);
  for (const grant of session.grants.values()) breakGrant(c, grant);
  c.pager?.leave(session);
  c.evictor?.unpin(session);
  const { id, pid } = session;
  c.hub.emit('session-close', undefined, { session: id, pid, why: reason.why ?? reason.code });
}

/** Takes everything from a session whose process maps nothing any more. Safe to call twice. */
export function endSession(c: Coordinator, session: Session, reason: FsError): void {
  if (!c.sessions.delete(session.id)) return;
  c.routes?.sessionEnded(session);
  if (!session.ended) end(c, session, reason);
  for (const grant of [...session.grants.values()]) endGrant(c, grant);
  for (const view of [...session.views.values()]) release(c, view);
  const handles = [...session.handles.values()];
  session.handles.clear();
  for (const { ino } of handles) c.unrefer(ino);
  session.control.close(reason);
  if (session.userfault !== undefined) native.closeDescriptor(session.userfault);
  letGo(c, session);
  const runs = reservedRuns(session);
  if (runs.length > 0)
    c.journal
      .mutate(() => giveBack(c, runs, session.reservations))
      .catch((error: unknown) => c.hub.report(error));
  c.answers.notify();
}
