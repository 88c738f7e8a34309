import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { type FileHandle, link, mkdir, open, rename, stat, symlink } from 'node:fs/promises';
import { basename, dirname, join, posix } from 'node:path';
import { FsError } from 'cluster-fs';
import type { Command } from 'commander';
import { clusterPath } from './paths.ts';
import { showProgress } from './progress.ts';
import { count, formatSize } from './size.ts';
import { snapshotChunks } from './snapshot.ts';
import { clusterTree, type TreeEntry } from './tree.ts';
import { type Host, type MountedRun, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly replace?: true;
  readonly recursive?: true;
}

export function addGet(program: Command, host: Host): void {
  nodeVerb(program, 'get', {
    summary: 'copy a file from the cluster to the disk, or stdout',
    description:
      'What is copied is the file as it is now, also when it is replaced meanwhile. It appears on the ' +
      'disk in one ' +
      'step; an interrupted get leaves nothing. Pages of zeros are holes of the copy. When LOCAL is a ' +
      'directory the file goes into it.',
    examples: [
      'clusterfs get /models/model.bin .',
      'clusterfs get -r /assets ./assets',
      'clusterfs get /data/table.csv - | head',
    ],
  })
    .argument('<path>', 'a file or directory of the cluster')
    .argument('<local>', 'where to on the disk; - for stdout')
    .option('--replace', 'replace what is there; without it, that is EEXIST')
    .option('-r, --recursive', 'a directory, with everything below')
    .action(
      withMount(host, async (run, options: Options, path: string, local: string) => {
        const source = clusterPath(path);
        if (local === '-') {
          for await (const chunk of snapshotChunks(run.fs, source, run.signal)) await run.out.write(chunk);
          return;
        }
        const { files, bytes, target } = await getLocal(run, options, source, local);
        run.out.result({ path: target, files, bytes });
        run.out.say(`got ${count(files, 'file')}, ${formatSize(bytes)} to ${target}`);
      }),
    );
}

async function getLocal(run: MountedRun, options: Options, source: string, local: string) {
  const { fs, signal, out } = run;
  const isDirectory = fs.statSync(source).isDirectory();
  if (isDirectory && options.recursive !== true) {
    throw new FsError('EISDIR', 'read', { path: source, why: 'give -r to get a directory' });
  }
  const target = (await isLocalDirectory(local)) ? join(local, basename(source)) : local;
  const root: TreeEntry = { ...pick(fs.statSync(source)), relative: '', type: 'file' };
  const entries = isDirectory ? clusterTree(fs, source) : [root];
  // All of it is looked at first, so that a refusal leaves nothing behind.
  for (const { relative, type } of entries)
    if (type !== 'directory') assertPlace(join(target, relative), options);
  const total = entries.reduce((sum, { size }) => sum + size, 0);
  const progress = showProgress(out, { label: basename(source), unit: 'bytes' });
  const done = { files: 0, bytes: 0 };
  try {
    for (const entry of entries) {
      signal.throwIfAborted();
      const from = entry.relative === '' ? source : posix.join(source, entry.relative);
      const to = entry.relative === '' ? target : join(target, entry.relative);
      const onProgress = (bytes: number): void => progress.update(done.bytes + bytes, total);
      done.bytes += await getEntry(run, options, { entry, from, to, onProgress });
      if (entry.type !== 'directory') done.files++;
    }
    return { ...done, target };
  } finally {
    progress.stop();
  }
}

const pick = ({ size, mode }: { size: number; mode: number }) => ({ size, mode: mode & 0o7777 });

interface EntryJob {
  readonly entry: TreeEntry;
  readonly from: string;
  readonly to: string;
  readonly onProgress: (done: number) => void;
}

/** Bytes that were copied. */
async function getEntry(run: MountedRun, options: Options, { entry, from, to, onProgress }: EntryJob) {
  if (entry.type === 'directory') {
    if (!(await isLocalDirectory(to))) await mkdir(to, { mode: entry.mode | 0o700 });
    return 0;
  }
  if (entry.type === 'symlink') {
    if (options.replace === true) rmSync(to, { force: true });
    await symlink(run.fs.readlinkSync(from), to);
    return 0;
  }
  return getFile(run, options, { entry, from, to, onProgress });
}

/** Into a file beside the target, which then takes its name: nobody sees half of it. */
async function getFile(
  { fs, signal }: MountedRun,
  options: Options,
  { entry, from, to, onProgress }: EntryJob,
): Promise<number> {
  assertPlace(to, options);
  const temporary = join(dirname(to), `.${basename(to)}.clusterfs-${randomBytes(4).toString('hex')}`);
  const file = await open(temporary, 'wx', entry.mode | 0o600);
  let bytes = 0;
  try {
    try {
      for await (const chunk of snapshotChunks(fs, from, signal)) {
        await writeSparse(file, chunk, bytes);
        bytes += chunk.length;
        onProgress(bytes);
      }
      // Pages of zeros at its end were not written.
      await file.truncate(bytes);
      await file.chmod(entry.mode);
    } finally {
      await file.close();
    }
    signal.throwIfAborted();
    if (options.replace === true) await rename(temporary, to);
    else await giveName(temporary, to);
    return bytes;
  } finally {
    // Also after a link: that was one name, this is the other.
    rmSync(temporary, { force: true });
  }
}

const zeros = Buffer.alloc(4096);

/** Pages of zeros are left out: they are holes of the copy, as they may have been of the file. */
async function writeSparse(file: FileHandle, chunk: Buffer, position: number): Promise<void> {
  const isZero = (at: number): boolean =>
    at + zeros.length <= chunk.length && zeros.compare(chunk, at, at + zeros.length) === 0;
  for (let at = 0; at < chunk.length; ) {
    const start = at;
    const skips = isZero(at);
    while (at < chunk.length && isZero(at) === skips) at += zeros.length;
    if (skips) continue;
    const end = Math.min(at, chunk.length);
    for (let done = start; done < end; ) {
      done += (await file.write(chunk, done, end - done, position + done)).bytesWritten;
    }
  }
}

/** As rename, but refuses to replace: link(2) does that in one step, where the file system has links. */
async function giveName(temporary: string, to: string): Promise<void> {
  try {
    await link(temporary, to);
  } catch (error) {
    if (
      !(error instanceof Error && 'code' in error && (error.code === 'EPERM' || error.code === 'ENOTSUP'))
    ) {
      throw error;
    }
    assertPlace(to, {});
    await rename(temporary, to);
  }
}

function assertPlace(path: string, { replace }: Options): void {
  if (replace !== true && existsSync(path)) {
    throw new FsError('EEXIST', 'get', { path, why: 'give --replace to replace it' });
  }
}

async function isLocalDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
