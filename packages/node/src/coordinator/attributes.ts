/**
 * Attributes of an inode: mode, owner, times, size; the rules of chmod(2), chown(2), utimensat(2),
 * truncate(2).
 */
import { FsError, type Reply, type Request } from '@cluster-fs/transport';
import { counter, fileType, isDirectory, isFile, mayAccess, setCounter, walk } from 'cluster-fs/segment';
import { assertFits, handleOf, pagesFor, resize } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import { isMappedToWrite } from './holes.ts';
import { assertMayChange } from './open.ts';
import { makeRoom } from './room.ts';
import type { Session } from './session.ts';
import { changeLayout } from './settled.ts';

type SetAttributes = Request<'setAttributes'>;

export async function setAttributes(
  c: Coordinator,
  session: Session,
  request: SetAttributes,
): Promise<Reply<'setAttributes'>> {
  const { syscall, path } = request;
  assertMayChange(session, syscall, path);
  const target = findTarget(c, session, request);
  const { size } = request;
  if (size === undefined) return c.journal.mutate(() => change(c, target, request));
  assertFits(c, size, syscall, target.path);
  if (isMappedToWrite(c, target.ino)) await makeRoom(c, pagesFor(size) - c.inode(target.ino).pages);
  return changeLayout(c, { session }, target.ino, () => change(c, target, request));
}

interface Target {
  readonly ino: number;
  readonly path: string;
}

function findTarget(c: Coordinator, session: Session, request: SetAttributes): Target {
  const { syscall, handle, follow, size } = request;
  if (handle !== undefined) {
    const open = handleOf(session, handle, syscall);
    if (size !== undefined && !open.writable) throw new FsError('EINVAL', syscall);
    assertOwner(c, session, open, request);
    return open;
  }
  const path = request.path ?? '';
  const { ino } = walk(c.segment, path, { follow, syscall, credentials: session.credentials });
  if (ino === 0) throw new FsError('ENOENT', syscall, { path });
  const { mode } = c.inode(ino);
  if (size !== undefined) {
    if (isDirectory(mode)) throw new FsError('EISDIR', syscall, { path });
    if (!isFile(mode)) throw new FsError('EINVAL', syscall, { path });
    if (!mayAccess(c.segment, ino, session.credentials, 2)) throw new FsError('EACCES', syscall, { path });
  }
  assertOwner(c, session, { ino, path }, request);
  return { ino, path };
}

/** Mode and times are the owner's to change; giving a file away is root's. */
function assertOwner(c: Coordinator, session: Session, { ino, path }: Target, request: SetAttributes): void {
  const { mode, uid, gid, atimeMs, mtimeMs, syscall } = request;
  const { uid: who, gids } = session.credentials;
  if (who === 0) return;
  const owner = c.inode(ino).uid;
  const touches = mode !== undefined || atimeMs !== undefined || mtimeMs !== undefined;
  const gives = (uid !== undefined && uid !== owner) || (gid !== undefined && !gids.includes(gid));
  if ((touches && owner !== who) || gives || (gid !== undefined && owner !== who)) {
    throw new FsError('EPERM', syscall, { path });
  }
}

/** Requires: inside mutate; with the layout held exclusively when the size changes. */
function change(c: Coordinator, { ino, path }: Target, request: SetAttributes): Reply<'setAttributes'> {
  const { mode, uid, gid, atimeMs, mtimeMs, size } = request;
  const now = c.now();
  if (size !== undefined) {
    resize(c, ino, size);
    c.writer.touchInode(ino).mtimeMs = now;
  }
  const record = c.writer.touchInode(ino);
  if (mode !== undefined) record.mode = (record.mode & fileType.mask) | (mode & 0o7777);
  if (uid !== undefined) record.uid = uid;
  if (gid !== undefined) record.gid = gid;
  if (atimeMs !== undefined) record.atimeMs = atimeMs;
  if (mtimeMs !== undefined) {
    record.mtimeMs = mtimeMs;
    // A store brings the time back that belongs to what it has: the next sync tells it this one.
    if (isFile(record.mode)) c.contentChanges(ino, { from: 0, count: 0 });
  }
  if (uid !== undefined || gid !== undefined) record.mode = withoutSetIds(record.mode);
  record.ctimeMs = now;
  const rights = mode !== undefined || uid !== undefined || gid !== undefined;
  if (rights) setCounter(c.segment, 'rightsVersion', counter(c.segment, 'rightsVersion') + 1);
  c.journal.afterCommit(() => c.hub.emit(size === undefined ? 'attributes' : 'modify', path, {}));
  return {};
}

/** A program that is given away does not run with the rights of its new owner, as chown(2) has it. */
function withoutSetIds(mode: number): number {
  if (isDirectory(mode)) return mode;
  const groupRuns = (mode & 0o010) !== 0;
  return mode & (groupRuns ? ~0o6000 : ~0o4000);
}
