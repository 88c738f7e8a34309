/**
 * Loading a dump: each file is made under no name or under one of its own, and gets its name when it is
 * whole.
 *
 * INVARIANT: nothing outside of the directory that is loaded into is touched: no name leads through a
 * symlink.
 */
import type { Stats } from 'node:fs';
import { posix } from 'node:path';
import { type ClusterFs, FsError } from 'cluster-fs';
import { isLarge, makeBeside } from './beside.ts';
import { type Counts, noCounts } from './dump.ts';
import { type DumpEntry, entriesOf } from './entries.ts';
import { damaged, secondsFor } from './format.ts';

export interface LoadOptions {
  readonly into: string;
  readonly replace: boolean;
  /** What is there already stays as it is, and is no error. */
  readonly keep: boolean;
  /** Whether owners are set: who is not root may not give files away. */
  readonly owners: boolean;
  readonly signal: AbortSignal;
  readonly onBytes: (count: number) => void;
}

interface Load {
  readonly fs: ClusterFs;
  readonly options: LoadOptions;
  readonly counts: Counts;
  /** Directories of the dump by their paths; they get their attributes at the end. */
  readonly directories: Map<string, DumpEntry>;
  /** Those of them that were there before: with `keep` their attributes stay. */
  readonly found: Set<string>;
}

/**
 * What is loaded stays, also when the rest fails.
 *
 * @throws FsError EEXIST, EISDIR, ENOTDIR, ENOSPC, and what `entriesOf` throws
 */
export async function loadTree(
  fs: ClusterFs,
  source: AsyncIterable<Buffer>,
  options: LoadOptions,
): Promise<Counts> {
  const load: Load = { fs, options, counts: noCounts(), directories: new Map(), found: new Set() };
  for await (const entry of entriesOf(source, options)) {
    options.signal.throwIfAborted();
    await loadEntry(load, entry);
  }
  // Those below first: a directory that may not be written is not written any more by then.
  for (const [path, entry] of [...load.directories].reverse()) {
    if (!(options.keep && load.found.has(path))) await setAttributes(load, path, entry);
  }
  return load.counts;
}

async function loadEntry(load: Load, entry: DumpEntry): Promise<void> {
  const { fs, options, counts } = load;
  const path = posix.join(options.into, ...entry.names);
  if (entry.type === 'directory') {
    await makeDirectory(load, path, entry);
    counts.directories++;
    return;
  }
  assertInDirectory(load, path);
  const there = fs.lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined && options.keep && isSameKind(there, entry)) return;
  if (there !== undefined && !options.replace) {
    const why = options.keep
      ? 'it is another kind of thing'
      : 'give --replace to replace it, --keep to keep it';
    throw new FsError('EEXIST', 'load', { path, why });
  }
  if (there?.isDirectory() === true) throw new FsError('EISDIR', 'load', { path });
  const { replace } = options;
  const beside = (make: (temporary: string) => Promise<void>) => makeBeside(fs, path, { replace, make });
  if (entry.type === 'file') {
    // One that others see keeps its inode, so that open views of it move on, unless it has other names.
    const isPlain = there === undefined || (there.isFile() && there.nlink === 1);
    const isWhole = entry.pieces === undefined && isPlain && !(await isLarge(fs, entry.size));
    if (isWhole) await putFile(load, path, entry);
    else await beside((temporary) => fillFile(load, temporary, entry));
    counts.files++;
  } else if (entry.type === 'symlink') {
    await beside(async (temporary) => {
      await fs.promises.symlink(entry.target, temporary);
      await setAttributes(load, temporary, entry);
    });
    counts.symlinks++;
  } else {
    const linked = posix.join(options.into, ...entry.linked);
    assertInDirectory(load, linked);
    await beside((temporary) => fs.promises.link(linked, temporary));
    counts.links++;
  }
}

/** A link may be another name of a file or of a symlink. */
const isSameKind = (there: Stats, { type }: DumpEntry): boolean =>
  type === 'link' ? !there.isDirectory() : type === 'file' ? there.isFile() : there.isSymbolicLink();

async function makeDirectory(
  { fs, directories, found, options }: Load,
  path: string,
  entry: DumpEntry,
): Promise<void> {
  if (fs.lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) found.add(path);
  if (entry.names.length === 0) {
    await fs.promises.mkdir(path, { recursive: true });
  } else {
    assertInDirectory({ directories }, path);
    const there = fs.lstatSync(path, { throwIfNoEntry: false });
    if (there === undefined) await fs.promises.mkdir(path, 0o700);
    else if (!there.isDirectory())
      throw new FsError(options.replace ? 'ENOTDIR' : 'EEXIST', 'load', {
        path,
        why: 'a directory is to go there',
      });
  }
  directories.set(path, entry);
}

/** What a name is in must be a directory of the dump, and so no symlink. */
function assertInDirectory({ directories }: Pick<Load, 'directories'>, path: string): void {
  if (!directories.has(posix.dirname(path)))
    throw damaged(`${JSON.stringify(path)} comes before the directory that it is in`);
}

async function putFile(load: Load, path: string, entry: DumpEntry): Promise<void> {
  const { fs, options, counts } = load;
  const { signal, replace } = options;
  let size = 0;
  const chunks = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of entry.chunks) {
      size += chunk.length;
      yield chunk;
    }
  };
  await fs.replace(path, chunks(), { mode: entry.mode & 0o777, exclusive: !replace, signal });
  counts.bytes += size;
  await setAttributes(load, path, entry);
}

/** A file with holes, under a name that nobody looks for. */
async function fillFile(load: Load, path: string, entry: DumpEntry): Promise<void> {
  const { fs, counts, options } = load;
  const handle = await fs.promises.open(path, 'wx', 0o600);
  try {
    await handle.truncate(entry.size);
    const pieces = entry.pieces ?? [{ offset: 0, length: entry.size }];
    let [index, done] = [0, 0];
    for await (const chunk of entry.chunks) {
      options.signal.throwIfAborted();
      for (let at = 0; at < chunk.length; ) {
        const piece = pieces[index];
        if (piece === undefined) throw damaged('the data of a sparse file');
        const length = Math.min(chunk.length - at, piece.length - done);
        await writeAll(handle, chunk.subarray(at, at + length), piece.offset + done);
        at += length;
        done += length;
        if (done === piece.length) [index, done] = [index + 1, 0];
      }
      counts.bytes += chunk.length;
    }
  } finally {
    await handle.close();
  }
  await setAttributes(load, path, entry);
}

interface Writable {
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesWritten: number }>;
}

async function writeAll(handle: Writable, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; )
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

async function setAttributes({ fs, options }: Load, path: string, entry: DumpEntry): Promise<void> {
  const { uid, gid, mode, atimeMs, mtimeMs, type } = entry;
  if (options.owners) await fs.promises.lchown(path, uid, gid);
  if (type !== 'symlink') await fs.promises.chmod(path, mode);
  await fs.promises.lutimes(path, secondsFor(atimeMs), secondsFor(mtimeMs));
}
