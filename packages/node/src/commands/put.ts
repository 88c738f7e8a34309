import type { Stats } from 'node:fs';
import { open, readlink, stat } from 'node:fs/promises';
import { basename, join, posix, resolve } from 'node:path';
import { addAbortSignal } from 'node:stream';
import { type ClusterFs, FsError } from 'cluster-fs';
import type { Command } from 'commander';
import { isLarge, makeBeside, writePieces } from '../dump/beside.ts';
import { chunksOf } from '../publisher/chunks.ts';
import { clusterPath, destinationOf } from './paths.ts';
import { showProgress } from './progress.ts';
import { count, formatSize } from './size.ts';
import { localTree, type TreeEntry } from './tree.ts';
import { type Host, type MountedRun, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly replace?: true;
  readonly recursive?: true;
}

export function addPut(program: Command, host: Host): void {
  nodeVerb(program, 'put', {
    summary: 'copy a file from the disk, or stdin, into the cluster',
    description:
      'A file appears in one step, whole: whoever reads has all of the old content or all of the new, ' +
      'and an ' +
      'interrupted put leaves nothing. With --replace, open views of the file move to the new content; ' +
      'those of a file of more than a quarter of the memory of a node with a store keep the old. ' +
      'Holes stay holes. ' +
      'When PATH is a directory the file goes into it under its own name.',
    examples: [
      'clusterfs put model.bin /models/model.bin',
      'clusterfs put --replace model-v2.bin /models/model.bin   # live views change at once',
      'clusterfs put -r ./assets /assets',
      'generate | clusterfs put - /data/generated',
    ],
  })
    .argument('<local>', 'a file or directory of the disk; - for stdin')
    .argument('<path>', 'where to in the cluster')
    .option('--replace', 'replace what is there; without it, that is EEXIST')
    .option('-r, --recursive', 'a directory, with everything below')
    .action(
      withMount(host, async (run, options: Options, local: string, path: string) => {
        const put = local === '-' ? putStdin(run, options, path) : putLocal(run, options, local, path);
        const { files, bytes, target } = await put;
        run.out.result({ path: target, files, bytes });
        run.out.say(`put ${count(files, 'file')}, ${formatSize(bytes)} to ${target}`);
      }),
    );
}

interface Done {
  readonly files: number;
  readonly bytes: number;
  readonly target: string;
}

async function putStdin({ fs, out, signal }: MountedRun, options: Options, path: string): Promise<Done> {
  const target = clusterPath(path);
  assertPlace(fs, target, options);
  const progress = showProgress(out, { label: 'stdin', unit: 'bytes' });
  try {
    let bytes = 0;
    const source = counted(addAbortSignal(signal, process.stdin), (count) => {
      bytes += count;
      progress.update(bytes, bytes);
    });
    const [head, isAll] = await firstOf(source);
    // Nobody knows how much will come: where it need not be in memory as a whole, it is not.
    const mayBeLarge = !isAll && !fs.existsSync(target) && (await isLarge(fs, Number.POSITIVE_INFINITY));
    await putContent({ fs, signal }, target, joined(head, source), {
      isLarge: mayBeLarge,
      replace: options.replace === true,
      mode: 0o666,
      sparse: false,
    });
    return { files: 1, bytes, target };
  } finally {
    progress.stop();
  }
}

async function putLocal(run: MountedRun, options: Options, local: string, path: string): Promise<Done> {
  const stats = await stat(local);
  const target = destinationOf(run.fs, path, basename(resolve(local)));
  if (!stats.isDirectory()) {
    const progress = showProgress(run.out, { label: basename(local), unit: 'bytes' });
    try {
      const bytes = await putFile(run, options, { local, target, stats }, (done) =>
        progress.update(done, stats.size),
      );
      return { files: 1, bytes, target };
    } finally {
      progress.stop();
    }
  }
  if (options.recursive !== true) {
    throw new FsError('EISDIR', 'read', { path: local, why: 'give -r to put a directory' });
  }
  return putTree(run, options, local, target);
}

async function putTree(run: MountedRun, options: Options, local: string, target: string): Promise<Done> {
  const entries = await localTree(local, run.signal);
  // All of it is looked at first, so that a refusal leaves nothing behind.
  for (const { relative, type } of entries) {
    if (type !== 'directory') assertPlace(run.fs, posix.join(target, relative), options);
  }
  const total = entries.reduce((sum, { size }) => sum + size, 0);
  const progress = showProgress(run.out, { label: basename(local), unit: 'bytes' });
  const done = { files: 0, bytes: 0 };
  try {
    for (const entry of entries) {
      run.signal.throwIfAborted();
      done.bytes += await putEntry(run, options, {
        entry,
        from: join(local, entry.relative),
        to: posix.join(target, entry.relative),
        onProgress: (bytes) => progress.update(done.bytes + bytes, total),
      });
      if (entry.type !== 'directory') done.files++;
    }
    return { ...done, target };
  } finally {
    progress.stop();
  }
}

interface EntryJob {
  readonly entry: TreeEntry;
  readonly from: string;
  readonly to: string;
  readonly onProgress: (done: number) => void;
}

/** Bytes that were put. */
async function putEntry(
  run: MountedRun,
  options: Options,
  { entry: { type, mode }, from, to, onProgress }: EntryJob,
): Promise<number> {
  const { fs } = run;
  if (type === 'directory') {
    if (fs.statSync(to, { throwIfNoEntry: false })?.isDirectory() !== true) {
      await fs.promises.mkdir(to, { mode: mode | 0o700 });
    }
    return 0;
  }
  if (type === 'symlink') {
    if (options.replace === true) await fs.promises.rm(to, { force: true });
    await fs.promises.symlink(await readlink(from), to);
    return 0;
  }
  return putFile(run, options, { local: from, target: to, stats: await stat(from) }, onProgress);
}

async function putFile(
  { fs, signal }: MountedRun,
  options: Options,
  { local, target, stats }: { local: string; target: string; stats: Stats },
  onProgress: (done: number) => void,
): Promise<number> {
  assertPlace(fs, target, options);
  const file = await open(local);
  let bytes = 0;
  try {
    const source = chunksOf(file, {
      size: stats.size,
      onProgress: (done) => {
        bytes = done;
        onProgress(done);
      },
    });
    await putContent({ fs, signal }, target, source, {
      isLarge: await isLarge(fs, stats.blocks * 512),
      replace: options.replace === true,
      mode: stats.mode & 0o7777,
      sparse: stats.blocks * 512 < stats.size,
    });
    return bytes;
  } finally {
    await file.close();
  }
}

interface Content {
  readonly isLarge: boolean;
  readonly replace: boolean;
  readonly mode: number;
  readonly sparse: boolean;
}

async function putContent(
  { fs, signal }: Pick<MountedRun, 'fs' | 'signal'>,
  target: string,
  source: AsyncIterable<Buffer>,
  { isLarge, replace, mode, sparse }: Content,
): Promise<void> {
  if (!isLarge) return fs.replace(target, source, { mode, sparse, exclusive: !replace, signal });
  const make = (temporary: string) => writePieces(fs, temporary, source, { mode, sparse, signal });
  await makeBeside(fs, target, { replace, make });
}

/** Refuses before anything is read; the node has the last word. */
function assertPlace(fs: ClusterFs, path: string, { replace }: Options): void {
  if (replace !== true && fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    throw new FsError('EEXIST', 'put', { path, why: 'give --replace to replace it' });
  }
}

const headBytes = 4 * 2 ** 20;

/** What comes first of a source, and whether that is all. */
async function firstOf(source: AsyncGenerator<Buffer>): Promise<[Buffer[], boolean]> {
  const head: Buffer[] = [];
  for (let bytes = 0; bytes < headBytes; bytes += head.at(-1)?.length ?? 0) {
    const { value, done } = await source.next();
    if (done === true) return [head, true];
    head.push(value);
  }
  return [head, false];
}

async function* joined(head: readonly Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield* head;
  yield* rest;
}

async function* counted(
  source: AsyncIterable<Buffer>,
  onBytes: (count: number) => void,
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    yield chunk;
    onBytes(chunk.length);
  }
}
