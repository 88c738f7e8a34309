import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { checksummedBytes } from '../src/segment/format.ts';
import {
  epochOf,
  formatSegment,
  type Geometry,
  geometryFor,
  layout,
  openSegment,
  pageSize,
} from '../src/segment/index.ts';

const { superblock } = layout;
const geometry = geometryFor({ dataSize: 100 * pageSize + 17, inodeCount: 100 });

function formatted(change: Partial<Geometry> = {}): ArrayBuffer {
  const buffer = new ArrayBuffer(geometry.metaSize);
  const id = Buffer.from('0123456789abcdef');
  formatSegment(buffer, {
    geometry: { ...geometry, ...change, metaSize: geometry.metaSize },
    id,
    epoch: 9,
    nowMs: 1,
    nodePid: 2,
  });
  return buffer;
}

const blockOf = (buffer: ArrayBuffer) => superblock.bind(new DataView(buffer)).at(0);

/** With a field changed, and a checksum as if format had written it. */
function resealed(field: Partial<Record<keyof typeof superblock.offset, number>>): ArrayBuffer {
  const buffer = formatted();
  Object.assign(blockOf(buffer), field);
  blockOf(buffer).checksum = crc32(new Uint8Array(buffer, 0, checksummedBytes));
  return buffer;
}

describe('opening a segment', () => {
  test('gives back what format was given', () => {
    const segment = openSegment(formatted());
    expect(segment).toMatchObject(geometry);
    expect(segment.pageCount).toBe(100);
    expect(segment.bucketCount).toBe(128);
    expect(Buffer.from(segment.id, 'hex').toString()).toBe('0123456789abcdef');
    expect(epochOf(segment)).toBe(9);
  });

  test.each<[string, ArrayBuffer, string, RegExp]>([
    ['of nothing', new ArrayBuffer(0), 'EIO', /shorter than a superblock/],
    ['of zeros', new ArrayBuffer(geometry.metaSize), 'EIO', /this is no segment/],
    ['of another magic', resealed({ magic: 1 }), 'EIO', /this is no segment/],
    [
      'of another version',
      resealed({ version: 99 }),
      'EPROTONOSUPPORT',
      /format version 99, this build knows 3/,
    ],
    ['of another layout', resealed({ layoutHash: 1 }), 'EPROTONOSUPPORT', /another layout/],
    ['of other pages', resealed({ pageShift: 14 }), 'EPROTONOSUPPORT', /pages of 2\^14 bytes/],
    [
      'that is cut short',
      formatted().slice(0, geometry.metaSize - pageSize),
      'EIO',
      /shorter than the superblock says/,
    ],
    [
      'with a bitmap into the inodes',
      resealed({ pageCount: 2 ** 24 }),
      'EIO',
      /bitmap region reaches into the next/,
    ],
    ['with inodes into the buckets', resealed({ inodeCount: 10_000 }), 'EIO', /inode table region/],
    ['with buckets into the blocks', resealed({ bucketCount: 2 ** 20 }), 'EIO', /buckets region/],
    ['with blocks past the end', resealed({ blockCount: 10_000 }), 'EIO', /blocks region/],
    ['with a bucket count that is no power of two', resealed({ bucketCount: 127 }), 'EIO', /no power of two/],
  ])('%s is refused', (_, buffer, code, why) => {
    expect(() => openSegment(buffer)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(why) }),
    );
  });

  test('with any byte of its superblock changed is refused', () => {
    for (let at = 0; at < checksummedBytes; at++) {
      const buffer = formatted();
      const bytes = new Uint8Array(buffer);
      bytes[at] = (bytes[at] ?? 0) ^ 0x40;
      expect(() => openSegment(buffer), `byte ${at}`).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/EIO|EPROTONOSUPPORT/) }),
      );
    }
  });

  test('formats nothing', () => {
    const buffer = new ArrayBuffer(geometry.metaSize);
    expect(() => openSegment(buffer)).toThrow();
    expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true);
  });
});
