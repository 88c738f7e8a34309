/**
 * The checker finds nothing in a whole segment, and each kind of damage by itself: one field wrong, one
 * line or more.
 */
import { describe, expect, test } from 'vitest';
import { checkSegment, layout, pageSize, rootIno, setCounter } from '../src/segment/index.ts';
import { blockAt, bucketAt, direntAt, inodeAt } from '../src/segment/segment.ts';
import { SegmentTree } from './segment-tree.ts';

const { inode, blockHeader, bucket, dirent, extent, slotsPerBlock } = layout;

/** One of everything. */
function sample() {
  const tree = new SegmentTree();
  const directory = tree.mkdir(rootIno, 'directory');
  const below = tree.mkdir(directory, 'below');
  const file = tree.file(directory, 'file', { pages: 5 });
  const scattered = tree.file(rootIno, 'scattered', { pages: 100, scattered: true });
  const link = tree.symlink(rootIno, 'link', 'target/'.repeat(300));
  const long = tree.file(rootIno, 'long '.repeat(40));
  tree.link(file, rootIno, 'another name');
  tree.publish();
  return { tree, directory, below, file, scattered, link, long };
}

type Sample = ReturnType<typeof sample>;

const at = {
  inode: ({ tree }: Sample, ino: number) =>
    inode.bind(tree.writer.segment.view).at(inodeAt(tree.writer.segment, ino)),
  extent: ({ tree }: Sample, ino: number, which: 'extent0' | 'extent1') =>
    extent.bind(tree.writer.segment.view).at(inodeAt(tree.writer.segment, ino) + inode.offset[which]),
  block: ({ tree }: Sample, block: number) =>
    blockHeader.bind(tree.writer.segment.view).at(blockAt(tree.writer.segment, block)),
  dirent: ({ tree }: Sample, reference: number) =>
    dirent.bind(tree.writer.segment.view).at(direntAt(tree.writer.segment, reference)),
  bucket: ({ tree }: Sample, index: number) =>
    bucket.bind(tree.writer.segment.view).at(bucketAt(tree.writer.segment, index)),
};

const firstBlockOf = (s: Sample, ino: number) => at.inode(s, ino).chain;
/** The only name in a directory of one. */
const firstDirentOf = (s: Sample, ino: number) => firstBlockOf(s, ino) * slotsPerBlock + 1;
const bucketOf = (s: Sample, reference: number) =>
  at.dirent(s, reference).hash & (s.tree.writer.segment.bucketCount - 1);

const damages: Record<string, readonly [(s: Sample) => unknown, RegExp]> = {
  'a generation of 0': [
    (s) => Object.assign(at.inode(s, s.file), { generation: 0 }),
    /inode \d+: generation 0/,
  ],
  'a type that there is not': [
    (s) => Object.assign(at.inode(s, s.file), { mode: 0o644 }),
    /inode \d+: type 0/,
  ],
  'a file that says it is a directory': [
    (s) => Object.assign(at.inode(s, s.file), { mode: 0o040755 }),
    /has type \d+, the inode 16384/,
  ],
  'an extent over the one before': [
    (s) => Object.assign(at.extent(s, s.scattered, 'extent1'), { filePage: 0 }),
    /extent at page 0 overlaps the one before/,
  ],
  'an empty extent': [
    (s) => Object.assign(at.extent(s, s.scattered, 'extent0'), { count: 0 }),
    /empty extent/,
  ],
  'an extent outside the segment': [
    (s) => Object.assign(at.extent(s, s.file, 'extent0'), { page: 10_000 }),
    /run 10000\+5 is outside the segment/,
  ],
  'an extent over those of another file': [
    (s) =>
      Object.assign(at.extent(s, s.scattered, 'extent0'), { page: at.extent(s, s.file, 'extent0').page }),
    /page \d+: belongs to inode \d+ and to inode \d+/,
  ],
  'a wrong count of pages': [
    (s) => Object.assign(at.inode(s, s.file), { pages: 4 }),
    /counts 4 pages, has 5/,
  ],
  'extents behind the end': [
    (s) => Object.assign(at.inode(s, s.file), { size: pageSize }),
    /extents reach page 5, the file ends at 1/,
  ],
  'extents without their blocks': [
    (s) => Object.assign(at.inode(s, s.scattered), { chain: 0 }),
    /0 blocks, should be|has 2/,
  ],
  'a wrong count of names': [
    (s) => Object.assign(at.inode(s, s.directory), { size: 3 }),
    /counts 3 entries, has 2/,
  ],
  'a name of nobody': [
    (s) => Object.assign(at.dirent(s, firstDirentOf(s, s.directory)), { ino: 200 }),
    /names inode 200, which is free/,
  ],
  'a name of another type': [
    (s) => Object.assign(at.dirent(s, firstDirentOf(s, s.directory)), { type: 8 }),
    /has type 32768, the inode 16384/,
  ],
  'a name that is on no chain': [
    (s) => Object.assign(at.bucket(s, bucketOf(s, firstDirentOf(s, s.directory))), { head: 0 }),
    /is not on its dentry chain/,
  ],
  'a name on a chain of another hash': [
    (s) =>
      Object.assign(at.bucket(s, (bucketOf(s, firstDirentOf(s, s.directory)) + 1) % 256), {
        head: firstDirentOf(s, s.directory),
      }),
    /bucket \d+: dirent \d+ (has hash|is on two chains)/,
  ],
  'a chain in a circle': [
    (s) =>
      Object.assign(at.dirent(s, firstDirentOf(s, s.directory)), { hashNext: firstDirentOf(s, s.directory) }),
    /is on two chains or in a circle/,
  ],
  'a wrong hash': [
    (s) =>
      Object.assign(at.dirent(s, firstDirentOf(s, s.directory)), {
        hash: at.dirent(s, firstDirentOf(s, s.directory)).hash ^ (0x8000_0000 >>> 0),
      }),
    /slot 1 has a wrong hash/,
  ],
  'a used bit without a name': [
    (s) => Object.assign(at.block(s, firstBlockOf(s, s.directory)), { used: 0b1110 }),
    /slot 3 and its used bit disagree/,
  ],
  'a name without a used bit': [
    (s) => Object.assign(at.block(s, firstBlockOf(s, s.directory)), { used: 0b10 }),
    /slot 2 and its used bit disagree/,
  ],
  'a directory that says it is elsewhere': [
    (s) => Object.assign(at.inode(s, s.below), { parent: rootIno }),
    /is in \d+, says 1/,
  ],
  'a wrong nlink of a directory': [
    (s) => Object.assign(at.inode(s, s.directory), { nlink: 2 }),
    /nlink 2, should be 3/,
  ],
  'a wrong nlink of a file': [
    (s) => Object.assign(at.inode(s, s.file), { nlink: 1 }),
    /nlink 1, has 2 names/,
  ],
  'a directory with two names': [
    (s) => Object.assign(at.dirent(s, firstDirentOf(s, s.directory) + 1), { ino: s.below, type: 4 }),
    /directory with 2 names/,
  ],
  'a block outside the table': [
    (s) => Object.assign(at.inode(s, s.link), { chain: 100_000 }),
    /block 100000 is outside the table/,
  ],
  'a block of two inodes': [
    (s) => Object.assign(at.inode(s, s.link), { chain: firstBlockOf(s, s.scattered) }),
    /belongs to inodes \d+ and \d+/,
  ],
  'a block of another kind': [
    (s) => Object.assign(at.block(s, firstBlockOf(s, s.link)), { kind: 2 }),
    /kind 2 of inode \d+, hangs on inode \d+/,
  ],
  'a block of another inode': [
    (s) => Object.assign(at.block(s, firstBlockOf(s, s.link)), { ino: 3 }),
    /kind 3 of inode 3, hangs on inode \d+/,
  ],
  'a block of an earlier life': [
    (s) => Object.assign(at.block(s, firstBlockOf(s, s.link)), { generation: 1 }),
    /kind 3 of inode \d+, hangs on/,
  ],
  'a target that lacks a block': [
    (s) => Object.assign(at.block(s, firstBlockOf(s, s.link)), { next: 0 }),
    /1 blocks, should be 3/,
  ],
  'a page in use that is free in the bitmap': [
    (s) => s.tree.writer.pages.release({ page: at.extent(s, s.file, 'extent0').page, count: 1 }),
    /used by inode \d+, free in the bitmap/,
  ],
  'a page that nobody has': [
    (s) => s.tree.writer.pages.allocate(1),
    /the bitmap has 106 pages in use, their owners 105/,
  ],
  'a wrong count of free pages': [
    (s) => setCounter(s.tree.writer.segment, 'freePages', 7),
    /freePages says 7, the bitmap 407/,
  ],
  'a wrong count of free inodes': [
    (s) => setCounter(s.tree.writer.segment, 'freeInodes', 250),
    /5 inodes are taken, /,
  ],
  'a wrong count of free blocks': [
    (s) => setCounter(s.tree.writer.segment, 'freeBlocks', 250),
    /5 blocks are taken, \d+ are reachable/,
  ],
};

describe('the checker', () => {
  test('finds nothing in a whole segment', () => {
    const { tree } = sample();
    expect(tree.check()).toEqual([]);
    expect(tree.check(tree.published)).toEqual([]);
  });

  test.each(Object.entries(damages))('finds %s', (_, [damage, finding]) => {
    const s = sample();
    damage(s);
    expect(s.tree.check()).toContainEqual(expect.stringMatching(finding));
  });

  test('asks who holds an inode without a name, and pages without a file', () => {
    const { tree, file } = sample();
    const { segment } = tree.writer;
    tree.writer.touchInode(file).nlink = 0;
    const nameless = { runs: [], orphans: new Set([file]) };
    expect(checkSegment(segment, nameless)).toContainEqual(expect.stringMatching(/nlink 0, has 2 names/));
    const [run] = tree.writer.pages.allocate(3) ?? [];
    tree.writer.touchInode(file).nlink = 2;
    tree.publish();
    expect(checkSegment(segment, { runs: [], orphans: new Set() })).not.toEqual([]);
    expect(checkSegment(segment, { runs: run === undefined ? [] : [run], orphans: new Set() })).toEqual([]);
  });
});
