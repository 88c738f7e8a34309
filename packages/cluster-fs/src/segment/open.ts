/**
 * Verifies a segment and binds it. Refuses everything it does not know, and never repairs: EPROTONOSUPPORT
 * for another version or layout, EIO for damage.
 */
import { crc32 } from 'node:zlib';
import { FsError } from '@cluster-fs/transport';
import { checksummedBytes, layoutHash } from './format.ts';
import {
  blockSize,
  bucket,
  formatVersion,
  type Geometry,
  inode,
  lease,
  magic,
  maxHomes,
  pageShift,
  superblock,
} from './layout.ts';
import { bindSegment, type Segment } from './segment.ts';

const refuse = (code: 'EIO' | 'EPROTONOSUPPORT', why: string): never => {
  throw new FsError(code, 'mount', { why: `segment: ${why}` });
};

export function openSegment(buffer: ArrayBuffer): Segment {
  if (buffer.byteLength < superblock.size) refuse('EIO', 'shorter than a superblock');
  const block = superblock.bind(new DataView(buffer)).at(0);
  if (block.magic !== magic) refuse('EIO', 'the magic number is wrong, this is no segment');
  if (block.version !== formatVersion) {
    refuse('EPROTONOSUPPORT', `format version ${block.version}, this build knows ${formatVersion}`);
  }
  if (block.layoutHash !== layoutHash) refuse('EPROTONOSUPPORT', 'made by a build with another layout');
  if (block.checksum !== crc32(new Uint8Array(buffer, 0, checksummedBytes))) {
    refuse('EIO', 'the checksum of the superblock is wrong');
  }
  if (block.pageShift !== pageShift) refuse('EPROTONOSUPPORT', `pages of 2^${block.pageShift} bytes`);
  const { dataSize, metaSize, pageCount, inodeCount, bucketCount, blockCount } = block;
  const { bitmapOffset, inodeOffset, bucketOffset, blockOffset, absentOffset } = block;
  const geometry: Geometry = {
    dataSize,
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
  checkRegions(geometry, buffer.byteLength);
  return bindSegment(buffer, geometry, Buffer.from(block.segmentId).toString('hex'));
}

/** A checksum proves that format wrote it, not that it makes sense: no region may reach past the next. */
function checkRegions(g: Geometry, byteLength: number): void {
  const ends = [
    ['superblock', 0, superblock.size + maxHomes * lease.size, g.bitmapOffset],
    ['bitmap', g.bitmapOffset, Math.ceil(g.pageCount / 8), g.absentOffset],
    ['absence bitmap', g.absentOffset, Math.ceil(g.pageCount / 8), g.inodeOffset],
    ['inode table', g.inodeOffset, g.inodeCount * inode.size, g.bucketOffset],
    ['buckets', g.bucketOffset, g.bucketCount * bucket.size, g.blockOffset],
    ['blocks', g.blockOffset, g.blockCount * blockSize, g.metaSize],
  ] as const;
  for (const [name, start, length, end] of ends) {
    if (start + length > end) refuse('EIO', `the ${name} region reaches into the next`);
  }
  if (g.metaSize > byteLength) refuse('EIO', 'meta is shorter than the superblock says');
  if ((g.bucketCount & (g.bucketCount - 1)) !== 0) refuse('EIO', 'the bucket count is no power of two');
}
