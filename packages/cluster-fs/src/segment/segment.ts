/**
 * A segment's `meta` in memory: the geometry from its superblock and typed windows on the same bytes.
 *
 * The same functions read the published segment, which other processes change under us, and the coordinator's
 * working copy, whose guards never move. So every reader of this folder takes a Segment and goes by its
 * guards.
 */
import {
  blockHeader,
  blockSize,
  bucket,
  dirent,
  type Geometry,
  inode,
  slotsPerBlock,
  superblock,
} from './layout.ts';

export interface Segment extends Geometry {
  readonly id: string;
  /** Pages may be absent from `data`. */
  readonly paged: boolean;
  readonly view: DataView;
  readonly bytes: Buffer;
  readonly u32: Uint32Array;
  /** For Atomics on guards. */
  readonly i32: Int32Array;
  readonly f64: Float64Array;
  /** For Atomics on leases. */
  readonly i64: BigInt64Array;
}

/** Binds windows to `buffer`, whose superblock must have been verified or just been written. */
export function bindSegment(buffer: ArrayBuffer, geometry: Geometry, id: string): Segment {
  const view = new DataView(buffer);
  return {
    ...geometry,
    id,
    paged: superblock.bind(view).at(0).paged === 1,
    view,
    bytes: Buffer.from(buffer),
    u32: new Uint32Array(buffer),
    i32: new Int32Array(buffer),
    f64: new Float64Array(buffer),
    i64: new BigInt64Array(buffer),
  };
}

export const inodeAt = (s: Geometry, ino: number): number => s.inodeOffset + ino * inode.size;
export const bucketAt = (s: Geometry, index: number): number => s.bucketOffset + index * bucket.size;
export const blockAt = (s: Geometry, block: number): number => s.blockOffset + block * blockSize;
export const direntAt = (s: Geometry, reference: number): number =>
  blockAt(s, Math.floor(reference / slotsPerBlock)) + (reference % slotsPerBlock) * dirent.size;

/** Indexes of guards in `i32`. */
export const inodeGuard = (s: Geometry, ino: number): number =>
  (inodeAt(s, ino) + inode.offset.sequence) >>> 2;
export const bucketGuard = (s: Geometry, index: number): number =>
  (bucketAt(s, index) + bucket.offset.sequence) / 4;
export const blockGuard = (s: Geometry, block: number): number =>
  (blockAt(s, block) + blockHeader.offset.sequence) / 4;

/** One of the superblock's counters. */
export type Counter =
  | 'freePages'
  | 'freeInodes'
  | 'freeBlocks'
  | 'heldPages'
  | 'reservedPages'
  | 'nodePid'
  | 'rightsVersion'
  | 'evictions'
  | 'absentPages';
export const counter = (s: Segment, name: Counter): number =>
  Atomics.load(s.i32, superblock.offset[name] / 4) >>> 0;
export const setCounter = (s: Segment, name: Counter, value: number): void => {
  Atomics.store(s.i32, superblock.offset[name] / 4, value | 0);
};

/** The coordinator's term. */
export const epochOf = (s: Segment): number => Number(superblock.bind(s.view).at(0).epoch);
