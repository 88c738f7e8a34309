/**
 * mkfs: the only code that writes a fresh superblock. `openSegment` verifies and refuses, and never formats.
 */
import { crc32 } from 'node:zlib';
import { assert } from '@cluster-fs/transport';
import { formatVersion, type Geometry, layoutSignature, magic, pageShift, superblock } from './layout.ts';
import { forever, setHeldUntil } from './leases.ts';
import { bindSegment, type Segment, setCounter } from './segment.ts';

export const layoutHash = crc32(layoutSignature);

/** Bytes of the superblock that its checksum covers: what format writes once. */
export const checksummedBytes = superblock.offset.checksum;

/**
 * Writes an empty segment into `buffer`, which must be all zeros: no inode, not even a root.
 *
 * @param id 16 bytes that no other segment has
 */
export function formatSegment(
  buffer: ArrayBuffer,
  {
    geometry,
    id,
    epoch,
    nowMs,
    nodePid,
    paged = false,
  }: {
    geometry: Geometry;
    id: Uint8Array;
    epoch: number;
    nowMs: number;
    nodePid: number;
    /** Whether pages of `data` may be absent. */
    paged?: boolean;
  },
): Segment {
  assert(buffer.byteLength === geometry.metaSize, 'format: the buffer has the size of meta');
  const view = new DataView(buffer);
  const block = superblock.bind(view).at(0);
  Object.assign(block, {
    magic,
    version: formatVersion,
    layoutHash,
    pageShift,
    paged: paged ? 1 : 0,
    segmentId: id,
    createdMs: nowMs,
  });
  const { metaSize, dataSize, pageCount, inodeCount, bucketCount, blockCount } = geometry;
  Object.assign(block, { metaSize, dataSize, pageCount, inodeCount, bucketCount, blockCount });
  const { bitmapOffset, inodeOffset, bucketOffset, blockOffset, absentOffset } = geometry;
  Object.assign(block, { bitmapOffset, inodeOffset, bucketOffset, blockOffset, absentOffset });
  block.checksum = crc32(new Uint8Array(buffer, 0, checksummedBytes));
  block.epoch = BigInt(epoch);
  const segment = bindSegment(buffer, geometry, Buffer.from(id).toString('hex'));
  setCounter(segment, 'freePages', pageCount);
  setCounter(segment, 'freeInodes', inodeCount - 1);
  setCounter(segment, 'freeBlocks', blockCount - 1);
  setCounter(segment, 'nodePid', nodePid);
  // A node has its own files until it joins others.
  setHeldUntil(segment, 0, forever);
  return segment;
}
