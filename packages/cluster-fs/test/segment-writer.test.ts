import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  counter,
  encodeName,
  layout,
  listDirectory,
  lookup,
  rootIno,
  type Segment,
} from '../src/segment/index.ts';
import { blockGuard, bucketGuard, inodeGuard } from '../src/segment/segment.ts';
import { SegmentTree } from './segment-tree.ts';

const kinds = [
  'file',
  'file',
  'mkdir',
  'symlink',
  'link',
  'fill',
  'scatter',
  'remove',
  'remove',
  'rename',
  'rename',
] as const;
const step = fc.record({ kind: fc.constantFrom(...kinds), a: fc.nat(11), b: fc.nat(11), size: fc.nat(140) });
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
/** Several steps at once, which are then undone or published. */
const batch = fc.record({ steps: fc.array(step, { maxLength: 8 }), undo: fc.boolean() });

/** Some fit in a dirent, some do not, some collide in what fits. */
const nameOf = (n: number) => (n % 3 === 0 ? `${'long name '.repeat(20)}${n}` : `name ${n}`);

function apply(tree: SegmentTree, { kind, a, b, size }: Step): void {
  const [parent, name, other] = [rootIno, nameOf(a), nameOf(b)];
  const ino = tree.inoOf(parent, name);
  const isFile = ino !== 0 && a % 4 < 2;
  // Which names are files, directories and symlinks is fixed, so that renames need no rules.
  if (kind === 'remove' && ino !== 0) tree.remove(parent, name);
  else if (kind === 'rename' && ino !== 0 && a % 4 === b % 4 && a % 4 < 3)
    tree.rename({ parent, name }, { parent, name: other });
  else if (kind === 'link' && isFile && b % 4 < 2 && tree.inoOf(parent, other) === 0)
    tree.link(ino, parent, other);
  else if (kind === 'fill' && isFile) tree.fill(ino, { pages: size % 20 });
  else if (kind === 'scatter' && isFile) tree.fill(ino, { pages: size, scattered: true });
  else if (ino === 0 && a % 4 < 2) tree.file(parent, name, { pages: size % 5 });
  else if (ino === 0 && a % 4 === 2) tree.symlink(parent, name, 't'.repeat(size * 20 + 1));
  else if (ino === 0) tree.mkdir(parent, name);
}

describe('a segment', () => {
  test('is whole after any changes, those that were undone included', () => {
    fc.assert(
      fc.property(fc.array(batch, { maxLength: 25 }), (batches) => {
        const tree = new SegmentTree();
        for (const { steps, undo } of batches) {
          const savepoint = tree.writer.savepoint();
          for (const each of steps) apply(tree, each);
          if (undo) tree.rollback(savepoint);
          tree.publish();
          expect(tree.check()).toEqual([]);
          expect(tree.check(tree.published)).toEqual([]);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('is byte for byte what it was when changes are undone', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), fc.array(step, { maxLength: 20 }), (kept, undone) => {
        const tree = new SegmentTree();
        for (const each of kept) apply(tree, each);
        const before = tree.snapshot();
        const free = tree.writer.pages.free;
        const savepoint = tree.writer.savepoint();
        for (const each of undone) apply(tree, each);
        tree.rollback(savepoint);
        expect(tree.snapshot().equals(before)).toBe(true);
        expect(tree.writer.pages.free).toBe(free);
        for (const each of undone) apply(tree, each);
        tree.publish();
        expect(tree.check()).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  test('is published as it was made, but for guards', () => {
    fc.assert(
      fc.property(fc.array(fc.array(step, { maxLength: 10 }), { maxLength: 10 }), (batches) => {
        const tree = new SegmentTree();
        for (const steps of batches) {
          for (const each of steps) apply(tree, each);
          tree.publish();
        }
        expect(withoutGuards(tree.published).equals(withoutGuards(tree.writer.segment))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  test('leaves every guard even, and moves those of what changed', () => {
    const tree = new SegmentTree();
    const file = tree.file(rootIno, 'file', { pages: 200, scattered: true });
    tree.publish();
    const guards = allGuards(tree.published);
    expect(guards.filter((guard) => (tree.published.i32[guard] ?? 0) % 2 !== 0)).toEqual([]);
    const before = guards.map((guard) => tree.published.i32[guard]);
    tree.fill(file, { pages: 3 });
    tree.publish();
    const moved = guards.filter((guard, i) => tree.published.i32[guard] !== before[i]);
    expect(moved).toContain(inodeGuard(tree.published, file));
    expect(moved).not.toContain(inodeGuard(tree.published, rootIno));
  });

  test('is full when its tables are, and takes nothing for what it refused', () => {
    const tree = new SegmentTree(16);
    for (let i = 0; i < 14; i++) tree.file(rootIno, `${i}`);
    const before = tree.snapshot();
    const savepoint = tree.writer.savepoint();
    expect(tree.writer.takeInode()).toBeUndefined();
    expect(() => tree.symlink(rootIno, 'link', 'target')).toThrow('the table is full');
    tree.rollback(savepoint);
    expect(tree.snapshot().equals(before)).toBe(true);
    expect(counter(tree.writer.segment, 'freeInodes')).toBe(0);
  });

  test('gives a slot that is used again another generation', () => {
    const tree = new SegmentTree();
    const generations = Array.from({ length: 5 }, () => {
      const ino = tree.file(rootIno, 'file');
      const { generation } = tree.writer.inode.at(tree.writer.segment.inodeOffset + ino * layout.inode.size);
      tree.remove(rootIno, 'file');
      return `${ino}:${generation}`;
    });
    expect(new Set(generations).size).toBe(5);
  });
});

describe('names', () => {
  test('of every length up to the longest are found and listed', () => {
    const tree = new SegmentTree(1024);
    const names = Array.from({ length: 255 }, (_, i) => 'n'.repeat(i + 1));
    for (const name of names) tree.file(rootIno, name);
    tree.publish();
    expect(
      listDirectory(tree.published, rootIno)
        .map(({ name }) => name)
        .sort(),
    ).toEqual([...names].sort());
    for (const name of names) expect(lookup(tree.published, rootIno, encodeName(name)).ino).not.toBe(0);
    expect(lookup(tree.published, rootIno, encodeName('n'.repeat(256))).ino).toBe(0);
    expect(tree.check()).toEqual([]);
  });

  test('of any characters are what they were', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }), { maxLength: 20 }),
        (names) => {
          const tree = new SegmentTree();
          for (const name of names) tree.file(rootIno, name);
          expect(new Set(listDirectory(tree.writer.segment, rootIno).map(({ name }) => name))).toEqual(
            new Set(names),
          );
          expect(tree.check()).toEqual([]);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('that are never touched keep their places while others come and go', () => {
    const tree = new SegmentTree();
    const kept = ['first', 'second', 'third'];
    for (const name of kept) tree.file(rootIno, name);
    for (let i = 0; i < 60; i++) {
      tree.file(rootIno, `other ${i}`);
      if (i % 2 === 1) tree.remove(rootIno, `other ${i - 1}`);
      const listed = listDirectory(tree.writer.segment, rootIno).map(({ name }) => name);
      expect(listed.filter((name) => kept.includes(name))).toEqual(kept);
    }
  });
});

function allGuards(s: Segment): number[] {
  const upTo = (count: number, guardOf: (index: number) => number) =>
    Array.from({ length: count }, (_, i) => guardOf(i));
  return [
    ...upTo(s.inodeCount, (ino) => inodeGuard(s, ino)),
    ...upTo(s.blockCount, (block) => blockGuard(s, block)),
    ...upTo(s.bucketCount, (index) => bucketGuard(s, index)),
  ];
}

function withoutGuards(s: Segment): Buffer {
  const copy = Buffer.from(s.bytes);
  const words = new Int32Array(copy.buffer, copy.byteOffset, copy.length / 4);
  for (const guard of allGuards(s)) words[guard] = 0;
  return copy;
}
