/** Writing a dump: the tree in order, each file opened when its turn comes. Memory does not grow with it. */
import { once } from 'node:events';
import type { Stats } from 'node:fs';
import { posix } from 'node:path';
import { type ClusterFs, FsError } from 'cluster-fs';
import { type Headers, type Pack, pack } from 'tar-stream';
import { dumpComment, encodeSparseMap, encodeTime, tarBlock } from './format.ts';
import { isMissing, openReading, type Reading } from './reading.ts';

export interface Counts {
  files: number;
  directories: number;
  symlinks: number;
  /** Further names of what is counted once. */
  links: number;
  /** Content, without holes. */
  bytes: number;
}

export const noCounts = (): Counts => ({ files: 0, directories: 0, symlinks: 0, links: 0, bytes: 0 });

interface DumpOptions {
  /** The directory whose tree is dumped: its path, without symlinks. */
  readonly from: string;
  readonly signal: AbortSignal;
  readonly onProgress: (counts: Counts) => void;
}

interface Dump {
  readonly fs: ClusterFs;
  readonly archive: Pack;
  readonly counts: Counts;
  /** Inodes with several names: the name that has the content. */
  readonly named: Map<string, string>;
  readonly flow: Flow;
  readonly options: DumpOptions;
}

/** How far who fills the archive is ahead of who takes its bytes. */
interface Flow {
  /** At least so many bytes were put in: a block for each header, and content. */
  added: number;
  taken: number;
  /** Called when some were taken. */
  wake: () => void;
}

/** The bytes of the dump as they come; `counts` grow as it is read. */
export function dumpTree(
  fs: ClusterFs,
  options: DumpOptions,
): { readonly counts: Counts; readonly chunks: AsyncGenerator<Buffer> } {
  const flow = { added: 0, taken: 0, wake: () => undefined };
  const dump: Dump = { fs, archive: pack(), counts: noCounts(), named: new Map(), flow, options };
  return { counts: dump.counts, chunks: chunksOf(dump) };
}

/** Headers are small: they are put together, so that a write is worth its call. */
const writeBytes = 256 * 1024;

async function* chunksOf(dump: Dump): AsyncGenerator<Buffer> {
  const { archive, flow } = dump;
  // Its failure is thrown by the loop over the archive, which it destroys.
  const filled = fill(dump).catch((error: unknown) => {
    archive.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  let gathered: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of archive) {
      gathered.push(chunk);
      length += chunk.length;
      flow.taken += chunk.length;
      flow.wake();
      if (length < writeBytes) continue;
      yield Buffer.concat(gathered);
      gathered = [];
      length = 0;
    }
    yield Buffer.concat(gathered);
  } finally {
    archive.destroy();
    flow.wake();
    await filled;
  }
}

/** The library holds back content and not headers, and a tree may have nothing else. */
const mostAhead = 2 ** 20;

async function waitForTaker({ flow, archive }: Dump): Promise<void> {
  while (flow.added - flow.taken > mostAhead && !archive.destroyed) {
    await new Promise<void>((resolve) => {
      flow.wake = resolve;
    });
  }
  if (archive.destroyed) throw new FsError('ECANCELED', 'dump');
}

async function fill(dump: Dump): Promise<void> {
  const { fs, archive, options, counts } = dump;
  const stats = fs.lstatSync(options.from);
  if (!stats.isDirectory()) throw new FsError('ENOTDIR', 'dump', { path: options.from });
  addEntry(dump, { name: './', type: 'directory' }, stats, { comment: dumpComment });
  counts.directories++;
  const waiting = [options.from];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for (const name of namesIn(fs, directory)) {
      options.signal.throwIfAborted();
      await waitForTaker(dump);
      const path = posix.join(directory, name);
      if ((await addPath(dump, path)) === 'directory') waiting.push(path);
      options.onProgress(counts);
    }
  }
  archive.finalize();
}

/** The name of an entry: from the directory that is dumped on. */
const entryName = ({ options: { from } }: Dump, path: string): string => `./${posix.relative(from, path)}`;

/** None when the directory went meanwhile. */
function namesIn(fs: ClusterFs, directory: string): string[] {
  try {
    return fs.readdirSync(directory).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Adds what is at the path; nothing when it went meanwhile. */
async function addPath(dump: Dump, path: string): Promise<'directory' | 'other'> {
  const { fs, counts, named } = dump;
  const name = entryName(dump, path);
  for (;;) {
    const stats = fs.lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'other';
    if (stats.isDirectory()) {
      addEntry(dump, { name: `${name}/`, type: 'directory' }, stats);
      counts.directories++;
      return 'directory';
    }
    const key = `${stats.ino} ${stats.birthtimeMs}`;
    const first = stats.nlink > 1 ? named.get(key) : undefined;
    if (first !== undefined) {
      addEntry(dump, { name, type: 'link', linkname: first }, stats);
      counts.links++;
      return 'other';
    }
    const isAdded = stats.isSymbolicLink() ? addSymlink(dump, path, stats) : await addFile(dump, path);
    if (!isAdded) continue;
    if (stats.nlink > 1) named.set(key, name);
    return 'other';
  }
}

/** False when it is another thing by now. */
function addSymlink(dump: Dump, path: string, stats: Stats): boolean {
  try {
    const linkname = dump.fs.readlinkSync(path);
    addEntry(dump, { name: entryName(dump, path), type: 'symlink', linkname }, stats);
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
  dump.counts.symlinks++;
  return true;
}

/** False when it is no file by now. */
async function addFile(dump: Dump, path: string): Promise<boolean> {
  const reading = await openReading(dump.fs, path);
  if (reading === undefined) return false;
  try {
    await addContent(dump, path, reading);
  } finally {
    await reading.close();
  }
  dump.counts.files++;
  return true;
}

async function addContent(dump: Dump, path: string, reading: Reading): Promise<void> {
  const { options, counts, flow } = dump;
  const { stats, size, pieces } = reading;
  const name = entryName(dump, path);
  const data = pieces?.reduce((sum, { length }) => sum + length, 0) ?? size;
  const map = pieces === undefined ? undefined : encodeSparseMap(pieces, size);
  const { dir, base } = posix.parse(name);
  const sink =
    map === undefined
      ? addEntry(dump, { name, type: 'file', size }, stats)
      : addEntry(
          dump,
          // As GNU tar names it: programs that do not know the format unpack map and data there.
          { name: `${dir}/GNUSparseFile.0/${base}`, type: 'file', size: data + map.length },
          stats,
          {
            'GNU.sparse.major': '1',
            'GNU.sparse.minor': '0',
            'GNU.sparse.name': name,
            'GNU.sparse.realsize': String(size),
          },
        );
  const closed = once(sink, 'close');
  // Who throws below destroys the sink with its reason, and does not wait for it.
  closed.catch(() => undefined);
  const write = async (chunk: Buffer): Promise<void> => {
    options.signal.throwIfAborted();
    sink.write(chunk);
    flow.added += chunk.length;
    await waitForTaker(dump);
  };
  if (map !== undefined) await write(map);
  for await (const chunk of reading.chunks()) {
    await write(chunk);
    counts.bytes += chunk.length;
    options.onProgress(counts);
  }
  sink.end();
  await closed;
}

/** What the fields of a header hold; more goes into records. */
const most = { id: 0o777_777, seconds: 2 ** 31 - 1 } as const;

function addEntry(
  { archive, flow }: Dump,
  what: Pick<Headers, 'name' | 'type' | 'linkname' | 'size'>,
  { mode, uid, gid, atimeMs, mtimeMs }: Stats,
  more: Readonly<Record<string, string>> = {},
) {
  const seconds = Math.max(0, Math.min(most.seconds, Math.floor(mtimeMs / 1000)));
  flow.added += tarBlock;
  const header = {
    ...what,
    // With the bits of the type: for 0 the library would take its default.
    mode,
    uid: Math.min(uid, most.id),
    gid: Math.min(gid, most.id),
    mtime: new Date(seconds * 1000),
    pax: {
      ...more,
      mtime: encodeTime(mtimeMs),
      atime: encodeTime(atimeMs),
      ...(uid > most.id ? { uid: String(uid) } : {}),
      ...(gid > most.id ? { gid: String(gid) } : {}),
    },
  };
  return archive.entry(header);
}
