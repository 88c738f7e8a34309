/** Opening and making files: the rules of open(2). */
import { constants } from 'node:fs';
import { FsError, type Reply, type Request } from '@cluster-fs/transport';
import {
  fileType,
  insertDirent,
  isDirectory,
  isSymlink,
  mayAccess,
  type Walk,
  walk,
} from 'cluster-fs/segment';
import { exceeded } from '../limits.ts';
import { resize } from './content.ts';
import type { Coordinator } from './coordinator.ts';
import type { Handle, Session } from './session.ts';
import { changeLayout } from './settled.ts';

const {
  O_ACCMODE = 3,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_TRUNC,
} = constants as typeof constants & { O_ACCMODE?: number };

export const wantsWrite = (flags: number): boolean => (flags & O_ACCMODE) !== O_RDONLY;

/** Every change is refused to a session that was mounted read-only. */
export function assertMayChange(session: Session, syscall: string, path?: string): void {
  if (session.access === 'r') throw new FsError('EROFS', syscall, { path });
}

interface Target {
  readonly path: string;
  readonly flags: number;
  /** The call writes whatever the flags say. */
  readonly write?: boolean;
}

/** Where the path leads, judged by the flags; an inode of 0 is one that is to be made. */
export function openTarget(c: Coordinator, session: Session, { path, flags, write }: Target): Walk {
  const syscall = 'open';
  const fail = (code: 'EEXIST' | 'EISDIR' | 'ELOOP' | 'ENOENT' | 'ENOTDIR' | 'EACCES') =>
    new FsError(code, syscall, { path });
  // Who cuts a file writes it, also by a handle that is to read.
  const writes = write === true || wantsWrite(flags) || (flags & O_TRUNC) !== 0;
  if (writes || (flags & O_CREAT) !== 0) assertMayChange(session, syscall, path);
  const creates = (flags & O_CREAT) !== 0;
  const exclusive = (flags & O_CREAT) !== 0 && (flags & O_EXCL) !== 0;
  const follow = (flags & O_NOFOLLOW) === 0 && !exclusive;
  const found = walk(c.segment, path, { follow, creates, syscall, credentials: session.credentials });
  if (found.ino === 0) {
    if ((flags & O_CREAT) === 0) throw fail('ENOENT');
    if (!mayAccess(c.segment, found.parent, session.credentials, 3)) throw fail('EACCES');
    return found;
  }
  if (exclusive) throw fail('EEXIST');
  const { mode } = c.inode(found.ino);
  if (isSymlink(mode)) throw fail('ELOOP');
  if (isDirectory(mode) && (writes || (flags & O_CREAT) !== 0)) throw fail('EISDIR');
  if (!isDirectory(mode) && (flags & O_DIRECTORY) !== 0) throw fail('ENOTDIR');
  const reads = (flags & O_ACCMODE) !== constants.O_WRONLY && write !== true;
  if (!mayAccess(c.segment, found.ino, session.credentials, (reads ? 4 : 0) | (writes ? 2 : 0)))
    throw fail('EACCES');
  return found;
}

export interface NewInode {
  readonly mode: number;
  readonly nlink: number;
  readonly parent: number;
}

/** A fresh inode owned by the session's user. Requires: inside mutate. */
export function createInode(c: Coordinator, session: Session, { mode, nlink, parent }: NewInode): number {
  const ino = c.writer.takeInode();
  if (ino === undefined) throw new FsError('ENOSPC', 'open', { why: 'no free inodes' });
  const now = c.now();
  const record = c.writer.touchInode(ino);
  record.mode = mode;
  record.nlink = nlink;
  record.parent = parent;
  record.uid = session.credentials.uid;
  record.gid = session.credentials.gids[0] ?? 0;
  record.atimeMs = now;
  record.mtimeMs = now;
  record.ctimeMs = now;
  record.birthtimeMs = now;
  record.layoutVersion = 1;
  return ino;
}

/** Adds a name, in the segment and in the metadata. Requires: inside mutate. */
export function addName(
  c: Coordinator,
  entry: { parent: number; name: string; ino: number; type: number },
): void {
  insertDirent(c.writer, c.slots, entry);
  c.journal.change({ type: 'putDirent', row: { parent: entry.parent, name: entry.name, ino: entry.ino } });
  touchDirectory(c, entry.parent);
}

export function touchDirectory(c: Coordinator, ino: number): void {
  const now = c.now();
  const record = c.writer.touchInode(ino);
  record.mtimeMs = now;
  record.ctimeMs = now;
}

/** An empty file with one name. Requires: inside mutate; `target` is a walk that found nothing. */
export function createFile(
  c: Coordinator,
  session: Session,
  target: Walk,
  { path, mode }: { path: string; mode: number },
): number {
  const ino = createInode(c, session, { mode: fileType.file | (mode & 0o7777), nlink: 1, parent: 0 });
  addName(c, { parent: target.parent, name: target.name, ino, type: fileType.file });
  c.journal.afterCommit(() => c.hub.emit('create', path, { type: 'file' }));
  return ino;
}

export async function open(
  c: Coordinator,
  session: Session,
  { path, flags, mode }: Request<'open'>,
): Promise<Reply<'open'>> {
  const target = openTarget(c, session, { path, flags });
  const created = target.ino === 0;
  const truncates = !created && (flags & O_TRUNC) !== 0;
  if (!truncates) {
    return c.journal.mutate(() => {
      const ino = created ? createFile(c, session, target, { path, mode }) : target.ino;
      return { ...keepOpen(c, session, { ino, path, writable: wantsWrite(flags) }), created };
    });
  }
  return changeLayout(c, { session }, target.ino, () => {
    if (c.inode(target.ino).size > 0) resize(c, target.ino, 0);
    touchDirectory(c, target.ino);
    c.journal.afterCommit(() => c.hub.emit('modify', path, {}));
    return { ...keepOpen(c, session, { ino: target.ino, path, writable: wantsWrite(flags) }), created };
  });
}

function keepOpen(
  c: Coordinator,
  session: Session,
  { ino, path, writable }: { ino: number; path: string; writable: boolean },
) {
  if (session.ended) throw new FsError('ECONNRESET', 'open', { path });
  if (session.handles.size >= c.limits.handles)
    throw exceeded(c.limits, 'handles', { syscall: 'open', path });
  const { generation } = c.inode(ino);
  const handle: Handle = { id: c.nextId(), ino, generation, path, writable };
  session.handles.set(handle.id, handle);
  c.refer(ino);
  c.writer.onRollback(() => {
    session.handles.delete(handle.id);
    c.unrefer(ino);
  });
  return { handle: handle.id, ino, generation };
}

export function close(c: Coordinator, session: Session, id: number): void {
  const handle = session.handles.get(id);
  if (handle === undefined) return;
  session.handles.delete(id);
  c.routes?.handleClosed(session, handle);
  c.unrefer(handle.ino);
}
