/** What is at a path of the disk, and whether it is still the same. */
import type { BigIntStats } from 'node:fs';
import { lstat, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface DiskEntry {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other';
  readonly size: number;
  readonly mode: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly birthNs: bigint;
  readonly ino: bigint;
}

/**
 * Undefined when nothing is there. A symlink is looked at, not followed, also on the way: what is seen
 * through one has a name of its own. Requires: the path of a directory that is published has no links.
 */
export async function lookAt(path: string): Promise<DiskEntry | undefined> {
  const entry = await lookDirectly(path);
  if (entry === undefined) return undefined;
  try {
    const parent = dirname(path);
    return (await realpath(parent)) === parent ? entry : undefined;
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** As `lookAt`, for a path that was found by walking there. */
export async function lookDirectly(path: string): Promise<DiskEntry | undefined> {
  try {
    return toEntry(await lstat(path, { bigint: true }));
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

export function toEntry(stats: BigIntStats): DiskEntry {
  const { size, mode, mtimeNs, ctimeNs, birthtimeNs: birthNs, ino } = stats;
  const kind = kindOf(stats);
  return { kind, size: Number(size), mode: Number(mode & 0o7777n), mtimeNs, ctimeNs, birthNs, ino };
}

function kindOf(stats: BigIntStats): DiskEntry['kind'] {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'symlink' : 'other';
}

/** As seen from outside: the bytes have not been written to in between. */
export const hasSameContent = (a: DiskEntry, b: DiskEntry): boolean =>
  a.kind === b.kind && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs;

/** Numbers of inodes are used again, often at once; with the time of birth they are not. */
export const isSameInode = (a: DiskEntry, b: DiskEntry): boolean =>
  a.kind === b.kind && a.ino === b.ino && a.birthNs === b.birthNs;

const goneCodes = new Set(['ENOENT', 'ENOTDIR', 'ELOOP']);

/** Nothing is there, or no longer: a directory above may have become a file, or a link. */
export const isGone = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && goneCodes.has(String(error.code));

/** In milliseconds, as exact as a double can be; the cluster keeps times so. */
export const mtimeMsOf = ({ mtimeNs }: DiskEntry): number => Number(mtimeNs) / 1e6;
