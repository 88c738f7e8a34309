/**
 * The segment format: every record of `meta`, and the order of its regions. docs/segment-format.md is
 * generated from here.
 *
 *   meta:  superblock | leases | page bitmap | absence bitmap | inode table | dentry buckets | blocks
 *   data:  pages, 4 KiB each; page n of the segment is at byte n * 4096
 *
 * `meta` has one writer, the coordinator, and any number of lock-free readers. What a reader can find is
 * guarded by a sequence counter: odd while the writer is inside, changed when it was. A reader copies what it
 * needs between two loads of the counter and starts again when they differ (a seqlock, as in
 * linux/seqlock.h).
 *   - an inode record, with its chain of extent or text blocks: guarded by inode.sequence
 *   - a dentry chain, with every dirent on it: guarded by bucket.sequence
 *   - the dirents of a directory block, for listing: guarded by block.sequence
 *   - the superblock's counters, and the leases: each is one word, no guard
 *
 * INVARIANT: an extent lies inside the data file, belongs to one inode, and its pages are set in the bitmap.
 * INVARIANT: a dirent is on exactly one dentry chain, in a block of its parent's chain, and names a live
 * inode.
 * INVARIANT: every block with a kind is reachable from exactly one inode; the others are free.
 */
import { bytes, f64, signature, struct, u8, u16, u32, u53, u64 } from '@cluster-fs/transport';

export const magic = 0x3153_4643; // 'CFS1', little-endian
/** History: 1, the first; 2, files have a home; 3, and the host a lease on what it has of a home. */
export const formatVersion = 3;

export const pageShift = 12;
export const pageSize = 1 << pageShift;
export const maxNameBytes = 255;
export const maxSymlinks = 40;
export const rootIno = 1;

export const superblock = struct('superblock', 192, {
  magic: u32('`CFS1`; anything else is not a segment'),
  version: u32('format version; a reader refuses one that it does not know'),
  layoutHash: u32('crc32 over all tables of this page: two builds that disagree refuse each other'),
  pageShift: u16('log2 of the page size'),
  paged: u16('1 when pages of `data` may be absent: they are in the store, and must be asked for'),
  segmentId: bytes(16, 'UUID given by format; guards against mapping the wrong segment'),
  metaSize: u53('length of `meta` in bytes'),
  dataSize: u53('length of `data` in bytes'),
  pageCount: u32('pages in `data`'),
  inodeCount: u32('slots in the inode table; slot 0 is never used'),
  bucketCount: u32('dentry buckets, a power of two'),
  blockCount: u32('blocks; block 0 is never used'),
  bitmapOffset: u53('where the page bitmap starts in `meta`'),
  inodeOffset: u53('where the inode table starts'),
  bucketOffset: u53('where the dentry buckets start'),
  blockOffset: u53('where the blocks start'),
  absentOffset: u53(
    'where the absence bitmap starts: a set bit is a page of a file that is not in `data` now',
  ),
  createdMs: f64('when format ran, milliseconds since 1970'),
  checksum: u32('crc32 of everything above, which format writes once'),
  reserved1: u32('zero'),
  epoch: u64("the coordinator's term; only grows"),
  freePages: u32('pages that no file, view or session has'),
  freeInodes: u32('inodes that can still be made'),
  freeBlocks: u32('blocks that can still be taken'),
  heldPages: u32('pages in quarantine: of no file any more, but a process may still map them'),
  reservedPages: u32('pages set aside for writes under way'),
  nodePid: u32('process id of the coordinator'),
  rightsVersion: u32(
    'grows when the mode or owner of a directory changes: what was resolved before must be checked again',
  ),
  evictions: u32(
    'grows before pages become absent: who read meanwhile reads again, it may have read zeros of a hole',
  ),
  absentPages: u32('pages of files that are absent'),
  reserved2: bytes(28, 'zero'),
});

/** Behind the superblock, one for each home, by its number. */
export const lease = struct('lease', 8, {
  heldUntilNs: u64(
    'until when processes of this host may use what `data` has of the files of that home, on ' +
      'CLOCK_MONOTONIC; 0: there is nothing of it; 2^63 - 1: the home is this node',
  ),
});
/** They fill the first page. Numbers of homes are below this. */
export const maxHomes = (pageSize - superblock.size) / lease.size;

export const inode = struct('inode', 128, {
  sequence: u32('guard of this record and its block chain: odd while the writer is inside'),
  ino: u32('own number; 0 marks a free slot'),
  generation: u32('count of the uses of this slot, so that a stale handle gets ESTALE'),
  mode: u32('file type and permission bits, as st_mode'),
  uid: u32('owner'),
  gid: u32('group'),
  nlink: u32('names; a directory has 2 and one for each directory in it'),
  parent: u32('of a directory: the directory it is in, the root is in itself; else 0'),
  size: u53('length in bytes; of a directory the number of its entries'),
  layoutVersion: u53('grows whenever the extents or the content behind them are changed by the coordinator'),
  atimeMs: f64('milliseconds since 1970'),
  mtimeMs: f64('content changed'),
  ctimeMs: f64('inode changed'),
  birthtimeMs: f64('made'),
  chain: u32(
    'first block: dirents of a directory, target of a symlink, extents of a file after the first two',
  ),
  extentCount: u32('extents of the file'),
  pages: u32('pages of all extents'),
  home: u32('of a file: the node that keeps its bytes, by its number in the cluster; 0 is the coordinator'),
  extent0: bytes(16, 'the first extent, see extent'),
  extent1: bytes(16, 'the second'),
});
export const inlineExtents = 2;

export const extent = struct('extent', 16, {
  filePage: u32('first page of the file that this run holds'),
  page: u32('where the run lies in `data`'),
  count: u32('pages in the run'),
  reserved0: u32('zero'),
});

export const bucket = struct('bucket', 8, {
  sequence: u32('guard of the chain and of every dirent on it'),
  head: u32('reference of the first dirent; 0 when the chain is empty'),
});

/** What a block holds. */
export const blockKind = { free: 0, dirents: 1, extents: 2, text: 3, name: 4 } as const;

export const blockHeader = struct('block header', 32, {
  sequence: u32('guard of the dirents in this block, for listing'),
  kind: u8('0 free, 1 dirents, 2 extents, 3 text of a symlink, 4 the rest of a long name'),
  used: u8('dirents: bit n is set when slot n holds one'),
  length: u16('extents: how many; text and name: how many bytes'),
  ino: u32('the inode it belongs to'),
  generation: u32('and its generation'),
  next: u32('next block of the chain; 0 ends it'),
  reserved0: bytes(12, 'zero'),
});
export const blockSize = 1024;
/** Bytes of text, and extents, that fit behind a block's header. */
export const blockPayload = blockSize - blockHeader.size;
export const extentsPerBlock = blockPayload / extent.size;
/**
 * Slot 0 of a block of dirents is the header; 1 to 7 are dirents. A dirent's reference is block * 8 + slot.
 */
export const slotsPerBlock = 8;

export const dirent = struct('dirent', 128, {
  parent: u32('inode of the directory'),
  ino: u32('inode it names; 0 marks a free slot'),
  hash: u32('hash of parent and name: the low bits choose the bucket'),
  hashNext: u32('next dirent of the chain; 0 ends it'),
  nameBlock: u32('block that holds the name when it is longer than 104 bytes; else 0'),
  nameLength: u8('bytes of the name'),
  type: u8('type bits of the mode, st_mode >> 12'),
  reserved0: u16('zero'),
  name: bytes(104, 'the name, UTF-8'),
});
export const inlineName = 104;

export const structs = [superblock, lease, inode, extent, bucket, blockHeader, dirent] as const;
export const layoutSignature = signature(structs);

/** Sizes and places of the regions; written into the superblock by format, and never computed again. */
export interface Geometry {
  readonly dataSize: number;
  readonly metaSize: number;
  readonly pageCount: number;
  readonly inodeCount: number;
  readonly bucketCount: number;
  readonly blockCount: number;
  readonly bitmapOffset: number;
  readonly inodeOffset: number;
  readonly bucketOffset: number;
  readonly blockOffset: number;
  readonly absentOffset: number;
}

const alignUp = (n: number, to: number) => Math.ceil(n / to) * to;

/**
 * `meta` is sparse: what no file needs takes no memory, so the tables are sized for the limit and not for
 * today.
 */
export function geometryFor({ dataSize, inodeCount }: { dataSize: number; inodeCount: number }): Geometry {
  const pageCount = Math.floor(dataSize / pageSize);
  const bucketCount = 2 ** Math.ceil(Math.log2(inodeCount));
  const blockCount = inodeCount;
  const bitmapOffset = pageSize;
  const absentOffset = alignUp(bitmapOffset + Math.ceil(pageCount / 8), pageSize);
  const inodeOffset = alignUp(absentOffset + Math.ceil(pageCount / 8), pageSize);
  const bucketOffset = alignUp(inodeOffset + inodeCount * inode.size, pageSize);
  const blockOffset = alignUp(bucketOffset + bucketCount * bucket.size, pageSize);
  const metaSize = alignUp(blockOffset + blockCount * blockSize, pageSize);
  return {
    dataSize: pageCount * pageSize,
    metaSize,
    pageCount,
    inodeCount,
    bucketCount,
    blockCount,
    bitmapOffset,
    inodeOffset,
    bucketOffset,
    blockOffset,
    absentOffset,
  };
}
