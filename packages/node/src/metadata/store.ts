/**
 * The truth about metadata, in SQLite. The segment is rebuilt from it; it never learns from the segment.
 *
 *   superblock (key, value)                    segment id, epoch, sizes
 *   inode (ino, record)                        one row an inode: docs/store.md has the record
 *   dirent (parent, name) -> ino               one row a name
 *   held (id, page, count, reason)             pages that must not be given away yet: `quarantine` (of no
 *   file any more,
 *                                              but somebody may still map them) or `reserved` (somebody fills
 *                                              them; a row stays until all of it is given to files or given
 *                                              back)
 *
 *   stored (ino, file_page) -> place, sums     where content lies in the store's data file, see docs/store.md
 *   durable (ino, generation, size, mtime)     what belongs to it
 *   dirty (ino)                                inodes whose content may be newer than what is stored
 *   redo (place) -> bytes                      pages that may not have reached the data file's disk yet
 *
 * INVARIANT: a page is in the extents of at most one inode. What is in none and not held is free.
 */
import type { Extent, Run } from '@cluster-fs/transport';
import type { StoredExtent } from '../store/stored.ts';

/** Keys of the superblock at a node that joined a cluster to keep files. Its number in that: */
export const keeperKey = 'keeper';
/** The UUID of the coordinator's segment; of a node that has a store. */
export const memberOfKey = 'memberOf';

export interface InodeRow {
  readonly ino: number;
  readonly generation: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly parent: number;
  readonly size: number;
  readonly layoutVersion: number;
  readonly atimeMs: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
  readonly birthtimeMs: number;
  /** Of a symlink. */
  readonly target: string | undefined;
  readonly extents: readonly Extent[];
  /** The node that keeps the bytes; 0: the coordinator of the cluster. */
  readonly home: number;
}

/** Its numbers. The log of changes has them in this order: another is another version of the metadata. */
export const inodeFields = [
  'ino',
  'generation',
  'mode',
  'uid',
  'gid',
  'nlink',
  'parent',
  'size',
  'layoutVersion',
  'atimeMs',
  'mtimeMs',
  'ctimeMs',
  'birthtimeMs',
  'home',
] as const satisfies readonly (keyof InodeRow)[];

export interface DirentRow {
  readonly parent: number;
  readonly name: string;
  readonly ino: number;
}

/** As `DirentRow`, with the name in UTF-8: for who reads all there are. */
export interface DirentBytes extends Omit<DirentRow, 'name'> {
  readonly name: Uint8Array;
}

export type HeldReason = 'quarantine' | 'reserved';
export interface HeldRow extends Run {
  readonly id: number;
  readonly reason: HeldReason;
}

/** What a file was when it was last written to the store. */
export interface DurableRow {
  readonly ino: number;
  readonly generation: number;
  readonly size: number;
  readonly mtimeMs: number;
}

/** One change. A batch of them becomes true together. */
export type Change =
  | { readonly type: 'putInode'; readonly row: InodeRow }
  | { readonly type: 'deleteInode'; readonly ino: number }
  | { readonly type: 'putDirent'; readonly row: DirentRow }
  | { readonly type: 'deleteDirent'; readonly parent: number; readonly name: string }
  | { readonly type: 'hold'; readonly row: HeldRow }
  | { readonly type: 'unhold'; readonly id: number }
  | { readonly type: 'putStored'; readonly ino: number; readonly extent: StoredExtent }
  | { readonly type: 'deleteStored'; readonly ino: number; readonly filePage: number }
  | { readonly type: 'putDurable'; readonly row: DurableRow }
  | { readonly type: 'markDirty'; readonly ino: number }
  | { readonly type: 'markClean'; readonly ino: number }
  | { readonly type: 'putRedo'; readonly place: number; readonly bytes: Uint8Array }
  /** Everything that was written to the data file so far is on its disk. */
  | { readonly type: 'clearRedo' }
  /** What is stored of an inode is of nobody any more. */
  | { readonly type: 'forgetStored'; readonly ino: number };

export interface MetadataStore {
  /** Undefined in a store that was never formatted. */
  superblock(key: string): string | undefined;
  setSuperblock(values: Readonly<Record<string, string>>): void;
  /**
   * Makes all changes true, and values of the superblock with them, or throws and makes none. Survives the
   * death of this process when it returns.
   */
  commit(changes: readonly Change[], superblock?: Readonly<Record<string, string>>): void;
  /** What must stay free for its own growth; infinite while it lacks even what removals need. */
  growthBytes(): number;
  /** The highest number of an inode; 0 without one. */
  lastIno(): number;
  /** In the order of their numbers. */
  inodes(): Iterable<InodeRow>;
  inode(ino: number): InodeRow | undefined;
  /** All names, directory by directory. What is given is used before the next is asked for. */
  names(): Iterable<DirentBytes>;
  dirents(): Iterable<DirentRow>;
  /** One name of an inode; looks at all names there are. */
  nameOf(ino: number): DirentRow | undefined;
  held(): HeldRow[];
  /** What is stored of a file, in the order of its pages. */
  stored(ino: number): readonly StoredExtent[];
  /** Those extents of a file that have a page in `from` .. `end`. */
  storedIn(ino: number, from: number, end: number): StoredExtent[];
  /** The places of all that is stored, in order. */
  storedPlaces(): Iterable<Run>;
  durable(ino: number): DurableRow | undefined;
  dirty(): number[];
  /** Pages to write to the data file again before it is used. */
  redo(): Iterable<{ readonly place: number; readonly bytes: Uint8Array }>;
  /** Resolves when all that was committed before the call survives a loss of power. */
  flush(): Promise<void>;
  /** As `flush`, at once. */
  flushNow(): void;
  close(): void;
}
