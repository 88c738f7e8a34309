/** Metadata as it travels between nodes: what an inode or a name is, and not how it became that. */
import { type Extent, FsError, type Hole } from '@cluster-fs/transport';
import { mostPageRuns, type PeerInode, type PeerName } from '@cluster-fs/transport/peer';
import type { Change, InodeRow } from '../metadata/store.ts';

/** What one commit made of names and inodes. */
export interface NetChanges {
  readonly inodes: readonly PeerInode[];
  /** Inodes that are no more. */
  readonly gone: readonly number[];
  readonly names: readonly PeerName[];
}

/** What a list of changes comes to; undefined when it is nothing that other nodes know. */
export function netOf(changes: readonly Change[]): NetChanges | undefined {
  const inodes = new Map<number, InodeRow | undefined>();
  const names = new Map<string, PeerName>();
  for (const change of changes) {
    if (change.type === 'putInode') inodes.set(change.row.ino, change.row);
    else if (change.type === 'deleteInode') inodes.set(change.ino, undefined);
    else if (change.type === 'putDirent') names.set(keyOf(change.row), change.row);
    else if (change.type === 'deleteDirent') names.set(keyOf(change), { ...nameIn(change), ino: 0 });
  }
  if (inodes.size + names.size === 0) return undefined;
  const rows = [...inodes.values()].filter((row) => row !== undefined);
  const gone = [...inodes].filter(([, row]) => row === undefined).map(([ino]) => ino);
  return { inodes: rows.map(toPeerInode), gone, names: [...names.values()] };
}

interface Named {
  readonly parent: number;
  readonly name: string;
}

/** A name has no slash. */
export const keyOf = ({ parent, name }: Named): string => `${parent}/${name}`;

const nameIn = ({ parent, name }: Named): Named => ({ parent, name });

export const toPeerInode = ({ extents, ...row }: InodeRow): PeerInode => ({
  ...row,
  pages: pagesOf(extents),
  goesOn: false,
});

/** EFBIG for a file whose pages a home could not tell the coordinator in one message. */
export function assertTellable(extents: readonly Extent[], syscall: string): void {
  // Few of them are few runs.
  const runs = extents.length <= mostPageRuns ? 0 : pagesOf(extents).length;
  if (runs <= mostPageRuns) return;
  throw new FsError('EFBIG', syscall, {
    why: `${runs} runs of pages between holes: only the coordinator keeps files of more than ${mostPageRuns}`,
  });
}

/** Which file pages are no hole. */
export function pagesOf(extents: readonly Extent[]): Hole[] {
  const pages: { filePage: number; count: number }[] = [];
  for (const { filePage, count } of extents) {
    const last = pages.at(-1);
    if (last !== undefined && last.filePage + last.count === filePage) last.count += count;
    else pages.push({ filePage, count });
  }
  return pages;
}
