/** Directory trees, of the disk and of the cluster, in an order in which they can be made again. */
import { lstat, readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { type ClusterFs, FsError } from 'cluster-fs';

export interface TreeEntry {
  /** Below the root; empty for the root itself. */
  readonly relative: string;
  readonly type: 'file' | 'directory' | 'symlink';
  readonly size: number;
  readonly mode: number;
}

interface Looked {
  readonly size: number;
  readonly mode: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** Everything in a directory of the disk, the directory first, each directory before what is in it. */
export async function localTree(root: string, signal: AbortSignal): Promise<TreeEntry[]> {
  const entries = [toEntry('', await lstat(root), root)];
  const waiting = [''];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for (const name of (await readdir(join(root, directory))).sort()) {
      signal.throwIfAborted();
      const relative = posix.join(directory, name);
      const entry = toEntry(relative, await lstat(join(root, relative)), join(root, relative));
      entries.push(entry);
      if (entry.type === 'directory') waiting.push(relative);
    }
  }
  return entries;
}

/** As `localTree`, of the cluster. */
export function clusterTree(fs: ClusterFs, root: string): TreeEntry[] {
  const entries = [toEntry('', fs.lstatSync(root), root)];
  const waiting = [''];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for (const name of fs.readdirSync(posix.join(root, directory)).sort()) {
      const relative = posix.join(directory, name);
      const path = posix.join(root, relative);
      const entry = toEntry(relative, fs.lstatSync(path), path);
      entries.push(entry);
      if (entry.type === 'directory') waiting.push(relative);
    }
  }
  return entries;
}

function toEntry(relative: string, stats: Looked, path: string): TreeEntry {
  const type = stats.isFile()
    ? 'file'
    : stats.isDirectory()
      ? 'directory'
      : stats.isSymbolicLink()
        ? 'symlink'
        : undefined;
  if (type === undefined) {
    throw new FsError('ENOTSUP', 'copy', { path, why: 'neither file, directory nor symlink' });
  }
  return { relative, type, size: type === 'file' ? stats.size : 0, mode: stats.mode & 0o7777 };
}
