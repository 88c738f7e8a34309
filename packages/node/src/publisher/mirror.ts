/**
 * Making one path of the cluster what the same path of the disk is.
 *
 * | on the disk | in the cluster |
 * |---|---|
 * | file | a file of the same content, mode and mtime, replaced in one step; its inode stays, views follow |
 * | one larger than memory | the same, with another inode: views keep the old |
 * | directory | a directory of the same mode (the owner may always write) |
 * | symlink that leads to a place inside | the same symlink; an absolute target is made relative |
 * | symlink that leads out | nothing, ENOTSUP: publishing a directory gives away that directory only |
 * | socket, pipe, device | nothing, ENOTSUP |
 * | nothing | nothing |
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readlink } from 'node:fs/promises';
import { dirname, isAbsolute, join, posix, relative, resolve } from 'node:path';
import { type ClusterFs, FsError } from 'cluster-fs';
import { isLarge, makeBeside, writePieces } from '../dump/beside.ts';
import { chunksOf } from './chunks.ts';
import { type DiskEntry, hasSameContent, isGone, lookAt, mtimeMsOf, toEntry } from './disk-entry.ts';

export interface Mirror {
  readonly fs: ClusterFs;
  /** Absolute. */
  readonly directory: string;
  /** Where the directory appears in the cluster. */
  readonly root: string;
  readonly signal: AbortSignal;
}

/** What was found has changed since, or may have: a file while it was copied, say. Look again. */
export class Changed extends Error {}

export const diskPath = ({ directory }: Mirror, name: string): string => join(directory, name);
export const publishedPath = ({ root }: Mirror, name: string): string => posix.join(root, name);

/**
 * Publishes `entry`, which was just seen at `name` below the directory, in place of `before`, which was
 * published last.
 *
 * @throws Changed, FsError of the cluster, errors of node:fs
 */
export async function publish(
  mirror: Mirror,
  name: string,
  { entry, before }: { readonly entry: DiskEntry | undefined; readonly before: DiskEntry | undefined },
): Promise<void> {
  const isReached = hasNoLinks(mirror, posix.dirname(publishedPath(mirror, name)));
  // What is seen through a link is not what was published under this name.
  if (entry === undefined && !isReached) return;
  if (!isReached) throw new FsError('ELOOP', 'publish', { path: publishedPath(mirror, name) });
  switch (entry?.kind) {
    case undefined:
      return remove(mirror, name);
    case 'directory':
      return makeDirectory(mirror, name, entry);
    case 'symlink':
      return makeLink(mirror, name, before);
    case 'file':
      return putFile(mirror, name, { entry, before });
    default:
      if (before !== undefined) await remove(mirror, name);
      throw new FsError('ENOTSUP', 'publish', {
        path: diskPath(mirror, name),
        why: 'neither file, directory nor symlink',
      });
  }
}

/** Also when nothing is there: directories are made when they are missing. */
function hasNoLinks({ fs, root }: Mirror, directory: string): boolean {
  let path = root;
  for (const part of posix.relative(root, directory).split('/')) {
    path = posix.join(path, part);
    const there = fs.lstatSync(path, { throwIfNoEntry: false });
    if (there?.isDirectory() !== true) return there === undefined;
  }
  return true;
}

async function remove(mirror: Mirror, name: string): Promise<void> {
  await mirror.fs.promises.rm(publishedPath(mirror, name), { recursive: true, force: true });
}

async function makeDirectory(mirror: Mirror, name: string, { mode }: DiskEntry): Promise<void> {
  const { fs } = mirror;
  const path = publishedPath(mirror, name);
  const wanted = mode | 0o700;
  const there = fs.lstatSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory() === true) {
    if (path !== '/' && (there.mode & 0o7777) !== wanted) await fs.promises.chmod(path, wanted);
    return;
  }
  if (there !== undefined) await fs.promises.unlink(path);
  await fs.promises.mkdir(path, { recursive: true, mode: wanted });
  // The umask takes away, and a directory that is being made by a child's turn has the default.
  if ((fs.statSync(path).mode & 0o7777) !== wanted) await fs.promises.chmod(path, wanted);
}

/** The link takes its name by a rename, so that one that is there is replaced in one step. */
async function makeLink(mirror: Mirror, name: string, before: DiskEntry | undefined): Promise<void> {
  const { fs } = mirror;
  const path = publishedPath(mirror, name);
  const target = await targetOf(mirror, name);
  if (target === undefined) {
    if (before !== undefined) await remove(mirror, name);
    const why = 'the link leads out of what is published';
    throw new FsError('ENOTSUP', 'publish', { path: diskPath(mirror, name), why });
  }
  const there = fs.lstatSync(path, { throwIfNoEntry: false });
  if (there?.isSymbolicLink() === true && fs.readlinkSync(path) === target) return;
  if (there?.isDirectory() === true) await fs.promises.rm(path, { recursive: true });
  const temporary = posix.join(
    posix.dirname(path),
    `.${posix.basename(path)}.clusterfs-${randomBytes(4).toString('hex')}`,
  );
  await makeParent(fs, path);
  await fs.promises.symlink(target, temporary);
  try {
    await fs.promises.rename(temporary, path);
  } catch (error) {
    await fs.promises.rm(temporary, { force: true });
    throw error;
  }
}

/** As it is to be in the cluster; undefined when it leads out. */
async function targetOf(mirror: Mirror, name: string): Promise<string | undefined> {
  const path = diskPath(mirror, name);
  const written = await readUnchanged(path, () => readlink(path));
  const target = resolve(dirname(path), written);
  const inside = relative(mirror.directory, target);
  if (inside === '..' || inside.startsWith('../')) return undefined;
  return isAbsolute(written) ? relative(dirname(path), target) || '.' : written;
}

async function putFile(
  mirror: Mirror,
  name: string,
  { entry, before }: { readonly entry: DiskEntry; readonly before: DiskEntry | undefined },
): Promise<void> {
  const { fs } = mirror;
  const path = publishedPath(mirror, name);
  const there = fs.lstatSync(path, { throwIfNoEntry: false });
  const isFile = there?.isFile() === true;
  // What a node that crashed has left is known by size and time.
  const isThere =
    before === undefined
      ? isFile && there.size === entry.size && Math.abs(there.mtimeMs - mtimeMsOf(entry)) < 0.001
      : hasSameContent(before, entry);
  if (!isThere) {
    if (there !== undefined && !isFile) await fs.promises.rm(path, { recursive: true });
    await copyFile(mirror, name, entry);
  }
  const { mode } = fs.statSync(path);
  if ((mode & 0o7777) !== entry.mode) await fs.promises.chmod(path, entry.mode);
}

async function copyFile(mirror: Mirror, name: string, entry: DiskEntry): Promise<void> {
  const { fs, signal } = mirror;
  const path = publishedPath(mirror, name);
  const source = diskPath(mirror, name);
  // Neither a link nor a pipe that has taken the name meanwhile is followed or waited for.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await readUnchanged(source, () => open(source, flags));
  try {
    await makeParent(fs, path);
    const content = verified(file, source, entry);
    const [mode, mtimeMs] = [entry.mode, mtimeMsOf(entry)];
    if (!(await isLarge(fs, entry.size, { share: 1 }))) {
      await fs.replace(path, content, { mode, mtimeMs, signal });
      return;
    }
    const make = async (temporary: string): Promise<void> => {
      await writePieces(fs, temporary, content, { mode, sparse: false, signal });
      await fs.promises.utimes(temporary, mtimeMs / 1000, mtimeMs / 1000);
    };
    await makeBeside(fs, path, { replace: true, make });
  } finally {
    await file.close();
  }
}

/** Reads what was a file, or a link, a moment ago. ELOOP: it is a link now; EINVAL: it is none now. */
async function readUnchanged<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const isOther = error instanceof Error && 'code' in error && error.code === 'EINVAL';
    throw isOther || isGone(error) ? new Changed(path) : error;
  }
}

/** The content; fails at its end, before it is published, unless the file is as it was when it settled. */
async function* verified(file: FileHandle, path: string, entry: DiskEntry): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of chunksOf(file, { size: entry.size })) {
    size += chunk.length;
    yield chunk;
  }
  const opened = toEntry(await file.stat({ bigint: true }));
  const named = await lookAt(path);
  const isSame = named !== undefined && hasSameContent(entry, opened) && hasSameContent(entry, named);
  if (!isSame || size !== entry.size) throw new Changed(path);
}

/** The directory above is made when its turn comes later, or a client has removed it. */
async function makeParent(fs: ClusterFs, path: string): Promise<void> {
  const parent = posix.dirname(path);
  if (!fs.existsSync(parent)) await fs.promises.mkdir(parent, { recursive: true });
}
