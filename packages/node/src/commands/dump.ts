import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type ClusterFs, FsError } from 'cluster-fs';
import type { Command } from 'commander';
import { type Counts, dumpTree } from '../dump/dump.ts';
import { Misuse } from './failure.ts';
import { clusterPath } from './paths.ts';
import { showProgress } from './progress.ts';
import { count, formatSize } from './size.ts';
import { type Host, type MountedRun, nodeVerb, withMount } from './verb.ts';

interface Options {
  readonly from: string;
  readonly replace?: true;
}

export function addDump(program: Command, host: Host): void {
  nodeVerb(program, 'dump', {
    summary: 'write the tree, or a part of it, into one portable file, or to stdout',
    description:
      'Directories, files with their holes, symlinks, hard links, modes, owners and times, as a tar ' +
      'archive (POSIX pax) that carries the version of the dump format: `tar` can list and unpack it, ' +
      '`clusterfs load` brings it back. The node serves meanwhile: a file that is changed while it is ' +
      'dumped is taken as one read finds it, and the tree as it is met. A file of the disk appears whole ' +
      'or not at all.',
    examples: [
      'clusterfs dump backup.tar',
      'clusterfs dump --from /models models.tar',
      'clusterfs dump - | zstd > backup.tar.zst',
      'clusterfs dump | clusterfs load --url unix:/run/other.sock',
    ],
  })
    .argument('[file]', 'where to on the disk; - for stdout', '-')
    .option('--from <path>', 'the directory to dump, with everything below', '/')
    .option('--replace', 'replace what is there; without it, that is EEXIST')
    .action(
      withMount(host, async (run, options: Options, file: string) => {
        if (file === '-') await dumpToStdout(run, options);
        else await dumpToFile(run, options, file);
      }),
    );
}

async function dumpToStdout(run: MountedRun, { from }: Options): Promise<void> {
  if (run.out.json) throw new Misuse('the dump itself would go to stdout: with --json give a file');
  if (process.stdout.isTTY === true) throw new Misuse('a dump is nothing for a terminal: give a file');
  await writeDump(run, from, (chunk) => run.out.write(chunk));
}

async function dumpToFile(run: MountedRun, { from, replace }: Options, file: string): Promise<void> {
  const { out, signal } = run;
  if (replace !== true && existsSync(file))
    throw new FsError('EEXIST', 'dump', { path: file, why: 'give --replace to replace it' });
  const temporary = join(dirname(file), `.${basename(file)}.clusterfs-${randomBytes(4).toString('hex')}`);
  const handle = await open(temporary, 'wx', 0o600);
  try {
    let size = 0;
    try {
      const counts = await writeDump(run, from, async (chunk) => {
        for (let done = 0; done < chunk.length; ) done += (await handle.write(chunk, done)).bytesWritten;
        size += chunk.length;
      });
      await handle.sync();
      signal.throwIfAborted();
      await rename(temporary, file);
      out.result({ path: file, size, ...counts });
      out.say(`dumped ${countsText(counts)} to ${file}`);
    } finally {
      await handle.close();
    }
  } finally {
    rmSync(temporary, { force: true });
  }
}

async function writeDump(
  run: MountedRun,
  from: string,
  write: (chunk: Buffer) => Promise<void>,
): Promise<Counts> {
  const progress = showProgress(run.out, { label: 'dump', unit: 'bytes' });
  const total = usedBytes(run.fs);
  try {
    const { counts, chunks } = dumpTree(run.fs, {
      from: run.fs.realpathSync(clusterPath(from)),
      signal: run.signal,
      onProgress: ({ bytes }) => progress.update(bytes, Math.max(total, bytes)),
    });
    for await (const chunk of chunks) {
      run.signal.throwIfAborted();
      await write(chunk);
    }
    return counts;
  } finally {
    progress.stop();
  }
}

/** About what there is to dump. */
function usedBytes(fs: ClusterFs): number {
  const { blocks, bfree, bsize } = fs.statfsSync('/');
  return (blocks - bfree) * bsize;
}

/** `3 files, 1 directory, 1 symlink, 2 hard links, 4 KiB`. */
export const countsText = ({ files, directories, symlinks, links, bytes }: Counts): string =>
  [
    count(files, 'file'),
    count(directories, 'directory', 'directories'),
    ...(symlinks === 0 ? [] : [count(symlinks, 'symlink')]),
    ...(links === 0 ? [] : [count(links, 'hard link')]),
    formatSize(bytes),
  ].join(', ');
