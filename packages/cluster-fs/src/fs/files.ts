/** The methods of node:fs/promises that work on the content of a file by its path. */
import { constants } from 'node:fs';
import { posix } from 'node:path';
import { type ErrorCode, FsError, type Hole, type Run } from '@cluster-fs/transport';
import { InodeCopy, isDirectory, pageSize } from '../segment/index.ts';
import { throwIfAborted } from './argument-errors.ts';
import { booleanOf, flagsOf, integerOf, modeOf, type Options, optionsOf, pathOf } from './arguments.ts';
import { accessMaskOf, setAttributes } from './attributes.ts';
import { contentOf, isSource } from './content.ts';
import { assertWritable, type Context } from './context.ts';
import { limits as copyLimits } from './data-file.ts';
import { fitsInMemory } from './fits-in-memory.ts';
import { FileHandle, openHandle } from './handle.ts';
import { fillOwnPages, giveBack, pagesFor, withOwnPages } from './own-pages.ts';
import { readAt, type Source } from './reading.ts';
import { nextData, nextHole } from './sparse.ts';
import type { Term } from './term.ts';
import { decoded, opensPlainly, readWhole, sourceOf } from './whole-file.ts';
import { putWhole, replacesAll, limits as writeLimits } from './writing.ts';

export async function open(
  context: Context,
  path: unknown,
  flags: unknown,
  mode: unknown,
): Promise<FileHandle> {
  const name = pathOf(path);
  return openHandle(context, name, flagsOf(flags), modeOf(mode, 0o666));
}

export async function readFile(context: Context, file: unknown, options: unknown): Promise<string | Buffer> {
  const given = optionsOf(options, { flag: 'r' });
  if (file instanceof FileHandle) return file.readFile(given);
  throwIfAborted(given.signal);
  const path = pathOf(file);
  const flags = flagsOf(given.flag || 'r');
  if (opensPlainly(flags)) return decoded(await readWhole(context, path, given.signal), given);
  const handle = await openHandle(context, path, flags, 0o666);
  try {
    return await handle.readFile(given);
  } finally {
    await handle.close();
  }
}

/**
 * As node's, but a file is replaced in one step: a reader sees all of the old content or all of the new. Only
 * a source that yields chunks, flags other than 'w' and its kin, and more than the memory of a node with a
 * store are written as they go.
 */
export function writeFile(context: Context, file: unknown, data: unknown, options: unknown): Promise<void> {
  return write(context, file, data, { flag: 'w', options });
}

export function appendFile(context: Context, file: unknown, data: unknown, options: unknown): Promise<void> {
  return write(context, file, data, { flag: 'a', options });
}

async function write(
  context: Context,
  file: unknown,
  data: unknown,
  { flag, options }: { flag: string; options: unknown },
): Promise<void> {
  const given = optionsOf(options, { encoding: 'utf8', mode: 0o666 });
  booleanOf(given.flush ?? false, 'options.flush');
  const bytes = isSource(data) ? undefined : contentOf(data, given.encoding);
  if (file instanceof FileHandle) {
    await file.writeFile(data, given);
    return;
  }
  throwIfAborted(given.signal);
  const path = pathOf(file);
  const flags = flagsOf(given.flag || flag);
  const mode = modeOf(given.mode, 0o666);
  if (bytes !== undefined && replacesAll(flags) && (await fitsInMemory(context, bytes.length)))
    await putAt(context, path, bytes, { flags, mode: mode & ~context.umask, signal: given.signal });
  else await writeThrough(context, path, data, { flags, mode, given });
}

async function writeThrough(
  context: Context,
  path: string,
  data: unknown,
  { flags, mode, given }: { flags: number; mode: number; given: Options },
): Promise<void> {
  const handle = await openHandle(context, path, flags, mode);
  try {
    await handle.writeFile(data, given);
  } finally {
    await handle.close();
  }
}

interface PutOptions {
  readonly flags: number;
  readonly mode: number;
  readonly signal?: AbortSignal | undefined;
}

async function putAt(context: Context, path: string, bytes: Buffer, options: PutOptions): Promise<void> {
  assertWritable(context, 'open', path);
  if (bytes.length > copyLimits.immediateBytes) assertPlace(context, path);
  await putWhole(context, bytes, { path, ...options, mode: options.mode & 0o7777 });
}

/** Refuses a path that can hold no file before much is copied for it; the node has the last word. */
function assertPlace({ paths }: Context, path: string): void {
  const inode = new InodeCopy();
  if (paths.resolve(path, 'open', inode) && isDirectory(inode.mode))
    throw new FsError('EISDIR', 'open', { path });
}

export async function truncate(context: Context, path: unknown, length: unknown = 0): Promise<void> {
  const name = pathOf(path);
  const inode = new InodeCopy();
  // Node opens the file first, so a path that leads nowhere is what it complains about first.
  assertWritable(context, 'open', name);
  if (!context.paths.resolve(name, 'open', inode)) throw new FsError('ENOENT', 'open', { path: name });
  if (isDirectory(inode.mode)) throw new FsError('EISDIR', 'open', { path: name });
  const size = Math.max(0, integerOf(length, 'len'));
  await setAttributes(context, name, { syscall: 'open', follow: true }, { size });
}

/**
 * Copies content and mode; holes of the source are holes of the copy. It appears in one step, unless it is
 * more than the memory of a node with a store.
 */
export async function copyFile(context: Context, src: unknown, dest: unknown, mode: unknown): Promise<void> {
  const from = pathOf(src, 'src');
  const to = pathOf(dest, 'dest');
  const how = accessMaskOf(mode);
  try {
    await copy(context, from, to, how);
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    throw new FsError(error.code as ErrorCode, 'copyfile', {
      path: from,
      dest: to,
      why: error.why,
      cause: error,
    });
  }
}

async function copy(context: Context, from: string, to: string, how: number): Promise<void> {
  const source = sourceOf(context, from);
  source.refresh(context.backend.segment);
  const mode = source.inode.mode & 0o7777;
  const exclusive = (how & constants.COPYFILE_EXCL) !== 0;
  const old = new InodeCopy();
  assertWritable(context, 'copyfile', from, to);
  if (to.endsWith('/')) {
    // As open(2) with O_CREAT: the way must be there, and then a name with a slash is a directory's.
    const way = context.paths.resolve(posix.dirname(to), 'open', old);
    if (!way) throw new FsError('ENOENT', 'open');
    throw new FsError(isDirectory(old.mode) ? 'EISDIR' : 'ENOTDIR', 'open');
  }
  const exists = exclusive
    ? context.paths.resolveLink(to, 'open', old)
    : context.paths.resolve(to, 'open', old);
  if (exists && exclusive) throw new FsError('EEXIST', 'open');
  if (exists && isDirectory(old.mode)) throw new FsError('EISDIR', 'open');
  if (exists && old.ino === source.ino) return;
  if ((how & constants.COPYFILE_FICLONE_FORCE) !== 0) throw new FsError('ENOTSUP', 'ioctl');
  const flags =
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | (exclusive ? constants.O_EXCL : 0);
  const target = { path: to, flags, mode };
  if (await fitsInMemory(context, source.inode.pages * pageSize)) await putCopy(context, source, target);
  else await copyThrough(context, source, target);
  const keepsOther = exists && (old.mode & 0o7777) !== mode;
  if (keepsOther) await setAttributes(context, to, { syscall: 'copyfile', follow: true }, { mode });
}

interface CopyTarget {
  readonly path: string;
  readonly flags: number;
  readonly mode: number;
}

async function putCopy(context: Context, source: Source, target: CopyTarget): Promise<void> {
  const { backend, requests } = context;
  let [size, holes]: [number, readonly Hole[]] = [0, []];
  await withOwnPages(
    backend,
    async (term) => {
      const copied = await copyToOwnPages(context, source, term);
      ({ size, holes } = copied);
      return copied.runs;
    },
    (runs) => requests.request('put', { ...target, size, runs, holes }),
  );
}

/** As it goes. */
async function copyThrough(context: Context, source: Source, target: CopyTarget): Promise<void> {
  const handle = await openHandle(context, target.path, target.flags, target.mode);
  try {
    const { size } = await copyParts(context, source, {
      mostHoles: Number.POSITIVE_INFINITY,
      hole: () => undefined,
      data: async (bytes, at) => {
        for (let done = 0; done < bytes.length; )
          done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
      },
    });
    // A hole at the end.
    await handle.truncate(size);
  } finally {
    await handle.close();
  }
}

interface OwnCopy {
  readonly runs: Run[];
  readonly holes: readonly Hole[];
  readonly size: number;
}

async function copyToOwnPages(context: Context, source: Source, term: Term): Promise<OwnCopy> {
  const { backend } = context;
  const runs: Run[] = [];
  const holes: Hole[] = [];
  try {
    const { size } = await copyParts(context, source, {
      mostHoles: writeLimits.holes,
      hole: (hole) => holes.push(hole),
      data: async (bytes) => void runs.push(...(await fillOwnPages(backend, bytes, { term }))),
    });
    return { runs, holes, size };
  } catch (error) {
    giveBack(backend, term, runs);
    throw error;
  }
}

interface CopySink {
  /** What there is more of them becomes data. */
  readonly mostHoles: number;
  hole(hole: Hole): unknown;
  data(bytes: Buffer, at: number): Promise<void>;
}

/** Hands on what a file has, from its begin to its end; its size, with a hole at the end. */
async function copyParts(
  context: Context,
  source: Source,
  { mostHoles, hole, data }: CopySink,
): Promise<{ readonly size: number }> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(source.inode.size, writeLimits.writeBytes));
  let holes = 0;
  let size = 0;
  while (size < source.inode.size) {
    source.refresh(context.backend.segment);
    const part = nextPart(source, size, { mayHole: holes < mostHoles });
    if (part.isHole) {
      holes++;
      hole({ filePage: size / pageSize, count: pagesFor(part.end - size) });
      size = part.end;
      continue;
    }
    const count = await readAt(context, source, buffer.subarray(0, part.end - size), size);
    if (count === 0) break;
    await data(buffer.subarray(0, count), size);
    size += count;
    // What is not a whole page is the last one, also when the file grows meanwhile.
    if (count % pageSize !== 0) break;
  }
  return { size };
}

/** What lies from `at` on, as far as it is all hole, or all in pages. */
function nextPart(
  { extents, inode: { size } }: Source,
  at: number,
  { mayHole }: { mayHole: boolean },
): { isHole: boolean; end: number } {
  const data = mayHole ? Math.min(nextData(extents, at), size) : at;
  if (data > at) return { isHole: true, end: data };
  return { isHole: false, end: mayHole ? Math.min(nextHole(extents, at), size) : size };
}
