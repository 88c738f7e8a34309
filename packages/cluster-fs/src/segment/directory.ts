/**
 * Reading directories: one name by its dentry chain, all names by the directory's blocks.
 *
 * A listing reads block after block. Dirents never change their slot, so a name that was there all the time
 * is listed exactly once, whatever is made and removed meanwhile: what readdir(3) promises.
 */
import { FsError } from '@cluster-fs/transport';
import { InodeCopy, readInode } from './inode.ts';
import { blockHeader, blockKind, bucket, dirent, slotsPerBlock } from './layout.ts';
import { hashName, nameOf, sameName } from './name.ts';
import { blockAt, blockGuard, bucketAt, bucketGuard, direntAt, type Segment } from './segment.ts';
import { guardBegin, guardChanged } from './seqlock.ts';

const { ino: inoAt, parent: parentAt, hash: hashAt, hashNext: hashNextAt, type: typeAt } = dirent.offset;

/** What a lookup found, and by which chain: as long as the bucket's guard stays, the answer stays. */
export interface Lookup {
  /** 0 when there is no such name. */
  ino: number;
  /** The dirent, 0 when there is none. */
  reference: number;
  bucket: number;
  sequence: number;
}

/** Finds `name` in directory `parent`. */
export function lookup(s: Segment, parent: number, name: Uint8Array): Lookup {
  const hash = hashName(parent, name);
  const index = hash & (s.bucketCount - 1);
  const guard = bucketGuard(s, index);
  for (;;) {
    const sequence = guardBegin(s.i32, guard);
    const reference = findOnChain(s, index, { parent, hash, name });
    const ino = reference === 0 ? 0 : (s.u32[(direntAt(s, reference) + inoAt) / 4] as number);
    if (!guardChanged(s.i32, guard, sequence)) return { ino, reference, bucket: index, sequence };
  }
}

function findOnChain(
  s: Segment,
  index: number,
  wanted: { parent: number; hash: number; name: Uint8Array },
): number {
  const { u32 } = s;
  const limit = s.blockCount * slotsPerBlock;
  let reference = u32[(bucketAt(s, index) + bucket.offset.head) / 4] as number;
  // A torn chain could lead in a circle; a whole one is never longer than the table.
  for (let steps = 0; reference !== 0 && reference < limit && steps < limit; steps++) {
    const at = direntAt(s, reference);
    const found = u32[(at + hashAt) / 4] === wanted.hash && u32[(at + parentAt) / 4] === wanted.parent;
    if (found && sameName(s, at, wanted.name)) return reference;
    reference = u32[(at + hashNextAt) / 4] as number;
    if (steps > 1000 && guardIsOdd(s, index)) return 0;
  }
  return 0;
}

const guardIsOdd = (s: Segment, index: number): boolean =>
  (Atomics.load(s.i32, bucketGuard(s, index)) & 1) === 1;

export interface DirectoryEntry {
  readonly name: string;
  readonly ino: number;
  /** File type bits of the mode, as in `inode.mode`. */
  readonly type: number;
}

/** All entries of directory `ino`, in the order of their slots. Throws ENOENT when the directory is gone. */
export function listDirectory(s: Segment, ino: number): DirectoryEntry[] {
  const copy = new InodeCopy();
  // A block that left the directory under the reader's feet makes it start again; that needs a removed
  // directory.
  for (let attempt = 0; attempt < 100; attempt++) {
    if (!readInode(s, ino, copy)) throw new FsError('ENOENT', 'scandir');
    const entries = listBlocks(s, copy);
    if (entries !== undefined) return entries;
  }
  throw new FsError('EAGAIN', 'scandir', { why: 'the directory changes faster than it can be read' });
}

function listBlocks(s: Segment, directory: InodeCopy): DirectoryEntry[] | undefined {
  const entries: DirectoryEntry[] = [];
  let block = directory.chain;
  for (let steps = 0; block !== 0; steps++) {
    if (block >= s.blockCount || steps > s.blockCount) return undefined;
    const next = listBlock(s, block, directory, entries);
    if (next === undefined) return undefined;
    block = next;
  }
  return entries;
}

/** Adds the entries of one block and returns the next; undefined when the block is none of this directory. */
function listBlock(
  s: Segment,
  block: number,
  directory: InodeCopy,
  entries: DirectoryEntry[],
): number | undefined {
  const guard = blockGuard(s, block);
  const header = blockHeader.bind(s.view).at(blockAt(s, block));
  const kept = entries.length;
  for (;;) {
    const sequence = guardBegin(s.i32, guard);
    const owned =
      header.kind === blockKind.dirents &&
      header.ino === directory.ino &&
      header.generation === directory.generation;
    const { used, next } = header;
    for (let slot = 1; owned && slot < slotsPerBlock; slot++) {
      if ((used & (1 << slot)) === 0) continue;
      const at = direntAt(s, block * slotsPerBlock + slot);
      const type = (s.bytes[at + typeAt] as number) << 12;
      entries.push({ name: nameOf(s, at), ino: s.u32[(at + inoAt) / 4] as number, type });
    }
    if (!guardChanged(s.i32, guard, sequence)) return owned ? next : undefined;
    entries.length = kept;
  }
}
