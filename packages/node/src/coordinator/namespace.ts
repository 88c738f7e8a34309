/** Names: making, removing and renaming them, by the rules of the system calls of the same names. */
import { type ErrorCode, FsError, type Reply, type Request } from '@cluster-fs/transport';
import {
  fileType,
  isDirectory,
  listDirectory,
  mayAccess,
  removeDirent,
  retargetDirent,
  rootIno,
  setText,
  type Walk,
  walk,
} from 'cluster-fs/segment';
import type { Coordinator } from './coordinator.ts';
import { addName, assertMayChange, createInode, touchDirectory } from './open.ts';
import type { Session } from './session.ts';

interface Place extends Walk {
  readonly path: string;
  /** '.' or '..' when the path ends in one; then it names nothing that can be made or removed. */
  readonly dots: string | undefined;
}

function placeOf(c: Coordinator, session: Session, path: string, syscall: string): Place {
  assertMayChange(session, syscall, path);
  const { credentials } = session;
  const found = walk(c.segment, path, { follow: false, asEntry: true, syscall, credentials });
  const last = path.split('/').findLast((part) => part !== '');
  return Object.assign(found, { path, dots: last === '.' || last === '..' ? last : undefined });
}

function assertMayEdit(c: Coordinator, session: Session, { parent, path }: Place, syscall: string): void {
  if (!mayAccess(c.segment, parent, session.credentials, 3)) throw new FsError('EACCES', syscall, { path });
  // The sticky bit of a shared directory, as in unlink(2).
  const { mode, uid } = c.inode(parent);
  const { uid: who } = session.credentials;
  if ((mode & 0o1000) === 0 || who === 0 || who === uid) return;
  const found = walk(c.segment, path, { follow: false, syscall });
  if (found.ino !== 0 && c.inode(found.ino).uid !== who) throw new FsError('EPERM', syscall, { path });
}

export async function mkdir(
  c: Coordinator,
  session: Session,
  { path, mode, recursive }: Request<'mkdir'>,
): Promise<Reply<'mkdir'>> {
  assertMayChange(session, 'mkdir', path);
  if (!recursive) {
    const place = placeOf(c, session, path, 'mkdir');
    if (place.ino !== 0) throw new FsError('EEXIST', 'mkdir', { path });
    await c.journal.mutate(() => makeDirectory(c, session, place, mode));
    return { first: undefined };
  }
  return c.journal.mutate(() => makeAll(c, session, path, mode));
}

/** Each missing directory of the path, from the top. */
function makeAll(c: Coordinator, session: Session, path: string, mode: number): Reply<'mkdir'> {
  let first: string | undefined;
  const parts = path.split('/').filter((part) => part !== '');
  for (let i = 1; i <= parts.length; i++) {
    const prefix = `/${parts.slice(0, i).join('/')}`;
    const found = walk(c.segment, prefix, {
      follow: true,
      syscall: 'mkdir',
      credentials: session.credentials,
    });
    if (found.ino === 0) {
      makeDirectory(c, session, Object.assign(found, { path: prefix, dots: undefined }), mode);
      first ??= prefix;
    } else if (!isDirectory(c.inode(found.ino).mode)) {
      throw new FsError(i === parts.length ? 'EEXIST' : 'ENOTDIR', 'mkdir', { path });
    }
  }
  return { first };
}

function makeDirectory(c: Coordinator, session: Session, place: Place, mode: number): void {
  if (place.name === '') throw new FsError('EEXIST', 'mkdir', { path: place.path });
  assertMayEdit(c, session, place, 'mkdir');
  const ino = createInode(c, session, {
    mode: fileType.directory | (mode & 0o7777),
    nlink: 2,
    parent: place.parent,
  });
  addName(c, { parent: place.parent, name: place.name, ino, type: fileType.directory });
  c.writer.touchInode(place.parent).nlink += 1;
  c.journal.afterCommit(() => c.hub.emit('create', place.path, { type: 'directory' }));
}

export function symlink(
  c: Coordinator,
  session: Session,
  { target, path }: Request<'symlink'>,
): Promise<Reply<'symlink'>> {
  const fail = (code: ErrorCode) => new FsError(code, 'symlink', { path: target, dest: path });
  if (target === '') throw fail('ENOENT');
  const place = withNames(() => placeOf(c, session, path, 'symlink'), target, path);
  if (place.ino !== 0) throw fail('EEXIST');
  if (place.trailingSlash) throw fail('ENOENT');
  const text = Buffer.from(target);
  return c.journal.mutate(() => {
    assertMayEdit(c, session, place, 'symlink');
    const ino = createInode(c, session, { mode: fileType.symlink | 0o777, nlink: 1, parent: 0 });
    setText(c.writer, ino, text);
    addName(c, { parent: place.parent, name: place.name, ino, type: fileType.symlink });
    c.journal.afterCommit(() => c.hub.emit('create', path, { type: 'symlink' }));
    return {};
  });
}

/** Errors of calls with two paths name both, as node:fs does. */
function withNames<T>(find: () => T, path: string, dest: string): T {
  try {
    return find();
  } catch (error) {
    if (error instanceof FsError) throw new FsError(error.code, error.syscall, { path, dest });
    throw error;
  }
}

export function link(
  c: Coordinator,
  session: Session,
  { from, to }: Request<'link'>,
): Promise<Reply<'link'>> {
  const fail = (code: ErrorCode) => new FsError(code, 'link', { path: from, dest: to });
  const { credentials } = session;
  const source = withNames(
    () => walk(c.segment, from, { follow: false, syscall: 'link', credentials }),
    from,
    to,
  );
  if (source.ino === 0) throw fail('ENOENT');
  const place = withNames(() => placeOf(c, session, to, 'link'), from, to);
  if (place.ino !== 0) throw fail('EEXIST');
  if (place.trailingSlash) throw fail('ENOENT');
  const { mode, nlink } = c.inode(source.ino);
  if (isDirectory(mode)) throw fail('EPERM');
  if (nlink >= 65_000) throw fail('EMLINK');
  return c.journal.mutate(() => {
    assertMayEdit(c, session, place, 'link');
    addName(c, { parent: place.parent, name: place.name, ino: source.ino, type: mode & fileType.mask });
    const record = c.writer.touchInode(source.ino);
    record.nlink += 1;
    record.ctimeMs = c.now();
    c.journal.afterCommit(() => c.hub.emit('create', to, { type: 'link' }));
    return {};
  });
}

export function unlink(
  c: Coordinator,
  session: Session,
  { path }: Request<'unlink'>,
): Promise<Reply<'unlink'>> {
  const place = placeOf(c, session, path, 'unlink');
  if (place.ino === 0) throw new FsError('ENOENT', 'unlink', { path });
  if (isDirectory(c.inode(place.ino).mode)) throw new FsError('EISDIR', 'unlink', { path });
  if (place.trailingSlash) throw new FsError('ENOTDIR', 'unlink', { path });
  return c.journal.mutate(() => {
    assertMayEdit(c, session, place, 'unlink');
    removeName(c, place);
    c.journal.afterCommit(() => c.hub.emit('remove', path, {}));
    return {};
  });
}

export function rmdir(c: Coordinator, session: Session, { path }: Request<'rmdir'>): Promise<Reply<'rmdir'>> {
  const fail = (code: ErrorCode) => new FsError(code, 'rmdir', { path });
  const place = placeOf(c, session, path, 'rmdir');
  if (place.ino === 0) throw fail('ENOENT');
  if (!isDirectory(c.inode(place.ino).mode)) throw fail('ENOTDIR');
  if (place.dots !== undefined) throw fail(place.dots === '.' ? 'EINVAL' : 'ENOTEMPTY');
  if (place.ino === rootIno) throw fail('EBUSY');
  if (c.inode(place.ino).size > 0) throw fail('ENOTEMPTY');
  return c.journal.mutate(() => {
    assertMayEdit(c, session, place, 'rmdir');
    removeName(c, place);
    c.journal.afterCommit(() => c.hub.emit('remove', path, {}));
    return {};
  });
}

/**
 * Takes a name away, and with the last one the inode, unless somebody refers to it. Requires: inside mutate.
 */
function removeName(
  c: Coordinator,
  { parent, name, ino }: { parent: number; name: string; ino: number },
): void {
  removeDirent(c.writer, c.slots, parent, name);
  c.journal.change({ type: 'deleteDirent', parent, name });
  touchDirectory(c, parent);
  dropLink(c, ino, parent);
}

function dropLink(c: Coordinator, ino: number, parent: number): void {
  const { mode, nlink } = c.inode(ino);
  const directory = isDirectory(mode);
  const record = c.writer.touchInode(ino);
  record.nlink = directory ? 0 : nlink - 1;
  record.ctimeMs = c.now();
  if (directory) c.writer.touchInode(parent).nlink -= 1;
  if (!directory && nlink > 1) return;
  if (!c.references.has(ino) && c.mayEnd(ino)) {
    c.destroy(ino);
    return;
  }
  c.orphans.add(ino);
  c.writer.onRollback(() => c.orphans.delete(ino));
}

export async function rename(
  c: Coordinator,
  session: Session,
  { from, to }: Request<'rename'>,
): Promise<Reply<'rename'>> {
  for (let committed = 0; ; ) {
    const source = withNames(() => placeOf(c, session, from, 'rename'), from, to);
    const target = withNames(() => placeOf(c, session, to, 'rename'), from, to);
    const refusal = refuseRename(c, source, target);
    if (refusal !== undefined) throw new FsError(refusal, 'rename', { path: from, dest: to });
    if (source.ino === target.ino) return {};
    const mustCommit = target.ino !== 0 && source.ino !== committed && hasNewerContent(c, source.ino);
    if (!mustCommit) return c.journal.mutate(() => renameNow(c, session, source, target));
    committed = source.ino;
    await commitContent(c, source.ino, { path: from, dest: to });
    // Others may have changed the names meanwhile.
  }
}

/** Of a file of another home, that alone knows. */
const hasNewerContent = ({ writeBack, blocks }: Coordinator, ino: number): boolean =>
  writeBack !== undefined &&
  (writeBack.dirty.has(ino) || writeBack.isUnderWay(ino) || blocks?.isOwn(ino) === false);

/**
 * What takes the name of another file is in the store before it does, as with `auto_da_alloc` of ext4(5):
 * otherwise a loss of power would take the new content, which was never stored, and the old, whose name is
 * gone.
 */
async function commitContent(
  c: Coordinator,
  ino: number,
  names: { readonly path: string; readonly dest: string },
): Promise<void> {
  try {
    if (c.blocks?.isOwn(ino) === false) await c.stores?.file(ino);
    else await c.writeBack?.commit([ino]);
  } catch (error) {
    const { code, why } = error instanceof FsError ? error : { code: 'EIO' as const, why: undefined };
    throw new FsError(code, 'rename', { ...names, why, cause: error });
  }
}

/** Requires: inside mutate, and `refuseRename` has nothing against it. */
function renameNow(c: Coordinator, session: Session, source: Place, target: Place): Reply<'rename'> {
  assertMayEdit(c, session, source, 'rename');
  assertMayEdit(c, session, target, 'rename');
  const { mode } = c.inode(source.ino);
  const entry = { parent: target.parent, name: target.name, ino: source.ino, type: mode & fileType.mask };
  if (target.ino === 0) addName(c, entry);
  else replaceName(c, entry, target.ino);
  removeDirent(c.writer, c.slots, source.parent, source.name);
  c.journal.change({ type: 'deleteDirent', parent: source.parent, name: source.name });
  touchDirectory(c, source.parent);
  c.writer.touchInode(source.ino).ctimeMs = c.now();
  if (isDirectory(mode)) changeParent(c, source, target);
  c.journal.afterCommit(() => c.hub.emit('rename', source.path, { to: target.path }));
  return {};
}

function replaceName(
  c: Coordinator,
  entry: { parent: number; name: string; ino: number; type: number },
  replaced: number,
): void {
  retargetDirent(c.writer, entry);
  c.journal.change({ type: 'putDirent', row: { parent: entry.parent, name: entry.name, ino: entry.ino } });
  touchDirectory(c, entry.parent);
  dropLink(c, replaced, entry.parent);
}

function changeParent(c: Coordinator, source: Place, target: Place): void {
  c.writer.touchInode(source.ino).parent = target.parent;
  c.writer.touchInode(source.parent).nlink -= 1;
  c.writer.touchInode(target.parent).nlink += 1;
}

/** The rules of rename(2), in the order in which Linux checks them. */
function refuseRename(c: Coordinator, source: Place, target: Place): ErrorCode | undefined {
  if (source.name === '' || target.name === '') return 'EBUSY';
  if (source.ino === 0) return 'ENOENT';
  const directory = isDirectory(c.inode(source.ino).mode);
  if (!directory && (source.trailingSlash || target.trailingSlash)) return 'ENOTDIR';
  if (directory && isBelow(c, target.parent, source.ino)) return 'EINVAL';
  if (target.ino === 0 || target.ino === source.ino) return undefined;
  if (isBelow(c, source.parent, target.ino)) return 'ENOTEMPTY';
  const over = c.inode(target.ino);
  if (directory && !isDirectory(over.mode)) return 'ENOTDIR';
  if (!directory && isDirectory(over.mode)) return 'EISDIR';
  return isDirectory(over.mode) && over.size > 0 ? 'ENOTEMPTY' : undefined;
}

/** Whether directory `ino` is `ancestor` or lies below it. */
function isBelow(c: Coordinator, ino: number, ancestor: number): boolean {
  for (let at = ino; ; at = c.inode(at).parent) {
    if (at === ancestor) return true;
    if (at === rootIno) return false;
  }
}

/** Entries removed in one commit: a tree of millions must not keep everybody else waiting. */
const removeBatch = 1000;

/** Removes a tree, bottom up. When it fails half-way what is removed stays removed, as with rm -r. */
export async function remove(
  c: Coordinator,
  session: Session,
  { path }: Request<'remove'>,
): Promise<Reply<'remove'>> {
  const place = placeOf(c, session, path, 'rm');
  if (place.ino === 0) throw new FsError('ENOENT', 'rm', { path });
  if (place.name === '') throw new FsError('EBUSY', 'rm', { path });
  assertMayEdit(c, session, place, 'rm');
  let removed = 0;
  for (let last = false; !last; ) {
    await c.journal.mutate(() => {
      const again = walk(c.segment, path, { follow: false, syscall: 'rm', credentials: session.credentials });
      if (again.ino !== place.ino) {
        last = true;
        return;
      }
      const budget = { left: removeBatch };
      last = removeSome(c, session, { ...again, path }, budget);
      removed += removeBatch - budget.left;
    });
  }
  c.hub.emit('remove', path, { removed });
  return { removed };
}

/** Removes what the budget allows; true when the name itself is gone. */
function removeSome(
  c: Coordinator,
  session: Session,
  at: { parent: number; name: string; ino: number; path: string },
  budget: { left: number },
): boolean {
  if (isDirectory(c.inode(at.ino).mode)) {
    if (!mayAccess(c.segment, at.ino, session.credentials, 3))
      throw new FsError('EACCES', 'rm', { path: at.path });
    for (const { name, ino } of listDirectory(c.segment, at.ino)) {
      if (budget.left <= 0) return false;
      if (!removeSome(c, session, { parent: at.ino, name, ino, path: `${at.path}/${name}` }, budget))
        return false;
    }
  }
  if (budget.left <= 0) return false;
  removeName(c, at);
  budget.left -= 1;
  return true;
}
