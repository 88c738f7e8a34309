/** Reading what hangs on an inode: the extents of a file, the target of a symlink. */
import { type Extent, FsError } from '@cluster-fs/transport';
import { type InodeCopy, readInode, unchanged } from './inode.ts';
import { blockHeader, blockPayload, extent, extentsPerBlock, inlineExtents, inode } from './layout.ts';
import { blockAt, inodeAt, type Segment } from './segment.ts';

/**
 * The extents of a file in file order, true together with `copy`, which is refreshed. Throws ESTALE when the
 * inode is gone.
 */
export function readExtents(s: Segment, ino: number, copy: InodeCopy): Extent[] {
  for (;;) {
    if (!readInode(s, ino, copy)) throw new FsError('ESTALE', 'read', { why: 'the inode is gone' });
    const extents = collectExtents(s, copy);
    if (unchanged(s, copy)) return extents;
  }
}

function collectExtents(s: Segment, { ino, extentCount, chain }: InodeCopy): Extent[] {
  const extents: Extent[] = [];
  const at = inodeAt(s, ino);
  if (extentCount > 0) extents.push(extentAt(s, at + inode.offset.extent0));
  if (extentCount > 1) extents.push(extentAt(s, at + inode.offset.extent1));
  let block = chain;
  for (let left = extentCount - inlineExtents; left > 0; left -= extentsPerBlock) {
    // A torn chain can point anywhere; the caller finds out by the guard.
    if (block === 0 || block >= s.blockCount) return extents;
    const first = blockAt(s, block) + blockHeader.size;
    for (let i = 0; i < Math.min(left, extentsPerBlock); i++)
      extents.push(extentAt(s, first + i * extent.size));
    block = s.u32[(blockAt(s, block) + blockHeader.offset.next) / 4] as number;
  }
  return extents;
}

const extentAt = ({ u32 }: Segment, at: number): Extent => ({
  filePage: u32[(at + extent.offset.filePage) / 4] as number,
  page: u32[(at + extent.offset.page) / 4] as number,
  count: u32[(at + extent.offset.count) / 4] as number,
});

/** The target of a symlink. Throws ENOENT when it is gone. */
export function readText(s: Segment, ino: number, copy: InodeCopy): string {
  for (;;) {
    if (!readInode(s, ino, copy)) throw new FsError('ENOENT', 'readlink');
    const parts: Buffer[] = [];
    let block = copy.chain;
    for (let left = copy.size; left > 0 && block !== 0 && block < s.blockCount; left -= blockPayload) {
      const start = blockAt(s, block) + blockHeader.size;
      parts.push(Buffer.from(s.bytes.subarray(start, start + Math.min(left, blockPayload))));
      block = s.u32[(blockAt(s, block) + blockHeader.offset.next) / 4] as number;
    }
    if (unchanged(s, copy)) return Buffer.concat(parts).toString('utf8');
  }
}
