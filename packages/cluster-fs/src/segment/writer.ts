/**
 * Changing a segment: the coordinator's half.
 *
 * The coordinator changes a private *working copy* and, when SQLite has committed, publishes the touched
 * records into the segment that readers see. So a reader meets an odd guard for microseconds, never for the
 * length of a commit, and what fails half-way is undone before anybody could have seen it.
 *
 *   clean ──touch──▶ touched ──savepoint/rollback──▶ as at the savepoint
 *                       └──publish──▶ clean
 *
 * Order of publish: all guards odd, all records, all guards even. A reader that holds any one guard sees all
 * or nothing.
 * INVARIANT: between batches the working copy and the published segment are equal, but for guards and the
 * epoch.
 */
import { assert } from '@cluster-fs/transport';
import { PageAllocator } from './allocator.ts';
import { blockHeader, blockKind, blockSize, bucket, inode, pageSize } from './layout.ts';
import {
  blockAt,
  blockGuard,
  bucketAt,
  bucketGuard,
  type Counter,
  counter,
  inodeAt,
  inodeGuard,
  type Segment,
  setCounter,
} from './segment.ts';

export class SegmentWriter {
  readonly segment: Segment;
  readonly pages: PageAllocator;
  /** Cursors on the working copy; position them with `at`, after `touchX` when storing through them. */
  readonly inode: ReturnType<typeof inode.bind>;
  readonly block: ReturnType<typeof blockHeader.bind>;
  readonly #touched = { inodes: new Set<number>(), blocks: new Set<number>(), buckets: new Set<number>() };
  readonly #undo: (() => void)[] = [];
  #loading = false;
  #freeInodes: number[] = [];
  #freeBlocks: number[] = [];
  #nextInode = 1;
  #nextBlock = 1;

  readonly #firstGeneration: number;

  /**
   * Takes over `segment`, freshly formatted. New inodes get generations that no earlier term gave: a slot
   * that was free at a crash has forgotten its own.
   */
  constructor(segment: Segment, epoch = 0) {
    this.segment = segment;
    this.#firstGeneration = (epoch * 0x1_0000) >>> 0;
    this.pages = new PageAllocator(segment);
    this.inode = inode.bind(segment.view);
    this.block = blockHeader.bind(segment.view);
  }

  /** A mark to roll back to. */
  savepoint(): number {
    return this.#undo.length;
  }

  rollback(savepoint: number): void {
    while (this.#undo.length > savepoint) (this.#undo.pop() as () => void)();
  }

  /** Runs `undo` if the change is rolled back. */
  onRollback(undo: () => void): void {
    if (!this.#loading) this.#undo.push(undo);
  }

  /**
   * Runs `fill` and makes what it made visible in `target`, with no account of what it touches and of how to
   * undo it: for recovery. `prepare` is told which bytes of `target` are filled next. Requires: `target` is
   * freshly formatted, as this segment is, and nobody reads it; when `fill` throws, both are of no use.
   */
  load(fill: () => void, target: Segment, prepare: (from: number, length: number) => void): void {
    this.#loading = true;
    fill();
    this.#loading = false;
    const { inodeOffset, bucketOffset, bucketCount, blockOffset } = this.segment;
    const copy = (from: number, length: number): void => {
      prepare(from, length);
      this.segment.bytes.copy(target.bytes, from, from, from + length);
    };
    this.#eachUsed(inodeOffset, this.#nextInode * inode.size, copy);
    this.#eachUsed(bucketOffset, bucketCount * bucket.size, copy);
    this.#eachUsed(blockOffset, this.#nextBlock * blockSize, copy);
    this.#publishCounters(target);
  }

  /** No inode at or above this number was ever taken. */
  get inodeLimit(): number {
    return this.#nextInode;
  }

  /** Inodes touched since the last publish. */
  get touchedInodes(): ReadonlySet<number> {
    return this.#touched.inodes;
  }

  /** The record of an inode, about to be changed. */
  touchInode(ino: number): ReturnType<typeof inode.bind> {
    const at = inodeAt(this.segment, ino);
    if (!this.#loading) {
      this.#save(at, inode.size);
      this.#touched.inodes.add(ino);
    }
    return this.inode.at(at);
  }

  /** The first `length` bytes of a block, about to be changed. */
  touchBlock(block: number, length = blockSize): ReturnType<typeof blockHeader.bind> {
    const at = blockAt(this.segment, block);
    this.touchInBlock(block, at, length);
    return this.block.at(at);
  }

  /** Any other bytes of a block, about to be changed. */
  touchInBlock(block: number, at: number, length: number): void {
    if (this.#loading) return;
    this.#save(at, length);
    this.#touched.blocks.add(block);
  }

  /** The head of a dentry chain, about to be changed. */
  touchBucket(index: number): number {
    const at = bucketAt(this.segment, index);
    if (!this.#loading) {
      this.#save(at, bucket.size);
      this.#touched.buckets.add(index);
    }
    return at;
  }

  count(name: Counter, difference: number): void {
    setCounter(this.segment, name, counter(this.segment, name) + difference);
    if (this.#loading) return;
    this.#undo.push(() => setCounter(this.segment, name, counter(this.segment, name) - difference));
  }

  /** A free inode slot, or undefined when there is none. Its generation is already that of the new life. */
  takeInode(): number | undefined {
    const ino =
      this.#freeInodes.pop() ?? (this.#nextInode < this.segment.inodeCount ? this.#nextInode++ : undefined);
    if (ino === undefined) return undefined;
    this.onRollback(() => this.#freeInodes.push(ino));
    const record = this.touchInode(ino);
    record.ino = ino;
    record.generation = (Math.max(record.generation, this.#firstGeneration) % 0xffff_ffff) + 1;
    this.count('freeInodes', -1);
    return ino;
  }

  /** Takes exactly inode `ino`, as recovery does when it rebuilds what SQLite says. */
  takeInodeAt(ino: number, generation: number): void {
    for (; this.#nextInode < ino; this.#nextInode++) this.#freeInodes.push(this.#nextInode);
    if (this.#nextInode === ino) this.#nextInode++;
    else this.#freeInodes.splice(this.#freeInodes.indexOf(ino), 1);
    const first = this.touchInode(ino).base / 4;
    const { u32 } = this.segment;
    assert(u32[first + inode.offset.ino / 4] === 0, 'the inode is free');
    u32[first + inode.offset.ino / 4] = ino;
    u32[first + inode.offset.generation / 4] = generation;
    this.count('freeInodes', -1);
  }

  /** Frees the slot; its generation stays, so that what still names it is told apart from its next life. */
  freeInode(ino: number): void {
    const record = this.touchInode(ino);
    const { base } = record;
    const { generation } = record;
    this.segment.bytes.fill(0, base + inode.offset.ino, base + inode.size);
    record.generation = generation;
    this.#freeInodes.push(ino);
    this.onRollback(() => this.#freeInodes.splice(this.#freeInodes.lastIndexOf(ino), 1));
    this.count('freeInodes', 1);
  }

  /** A free block, zeroed, with its header filled; undefined when there is none. */
  takeBlock(kind: number, ino: number, generation: number): number | undefined {
    const block =
      this.#freeBlocks.pop() ?? (this.#nextBlock < this.segment.blockCount ? this.#nextBlock++ : undefined);
    if (block === undefined) return undefined;
    this.onRollback(() => this.#freeBlocks.push(block));
    const header = this.touchBlock(block);
    const { base } = header;
    this.segment.bytes.fill(0, base + blockHeader.offset.kind, base + blockSize);
    header.kind = kind;
    header.ino = ino;
    header.generation = generation;
    this.count('freeBlocks', -1);
    return block;
  }

  freeBlock(block: number): void {
    const { base } = this.touchBlock(block);
    this.segment.bytes.fill(0, base + blockHeader.offset.kind, base + blockSize);
    this.block.at(base).kind = blockKind.free;
    this.#freeBlocks.push(block);
    this.onRollback(() => this.#freeBlocks.splice(this.#freeBlocks.lastIndexOf(block), 1));
    this.count('freeBlocks', 1);
  }

  /** Makes everything touched visible in `target`, and forgets how to undo it. */
  publish(target: Segment): void {
    const { inodes, blocks, buckets } = this.#touched;
    const { i32 } = target;
    const guards: number[] = [];
    for (const ino of inodes) guards.push(inodeGuard(target, ino));
    for (const block of blocks) guards.push(blockGuard(target, block));
    for (const index of buckets) guards.push(bucketGuard(target, index));
    // Pairs with guardBegin and guardChanged of the readers.
    for (const guard of guards) Atomics.store(i32, guard, Atomics.load(i32, guard) | 1);
    for (const ino of inodes) this.#copy(target, inodeAt(target, ino), inode.size);
    for (const block of blocks) this.#copy(target, blockAt(target, block), blockSize);
    for (const index of buckets) this.#copy(target, bucketAt(target, index), bucket.size);
    this.#publishCounters(target);
    for (const guard of guards) Atomics.store(i32, guard, (Atomics.load(i32, guard) + 1) | 0);
    this.forget();
  }

  /** Forgets what was touched and how to undo it. */
  forget(): void {
    const { inodes, blocks, buckets } = this.#touched;
    inodes.clear();
    blocks.clear();
    buckets.clear();
    this.#undo.length = 0;
  }

  /** Copies a record behind its guard, which is its first word. */
  #copy(target: Segment, at: number, length: number): void {
    const first = at / 4 + 1;
    const end = (at + length) / 4;
    for (let i = first; i < end; i++) target.u32[i] = this.segment.u32[i] as number;
  }

  /** The bytes of a table, but for pages of zeros: they stay holes. */
  #eachUsed(from: number, length: number, use: (from: number, length: number) => void): void {
    const { u32 } = this.segment;
    const end = from + length;
    let used = from;
    let at = from;
    for (; at < end; at += pageSize) {
      let word = at / 4;
      const pageEnd = Math.min(at + pageSize, end) / 4;
      while (word < pageEnd && u32[word] === 0) word++;
      if (word < pageEnd) continue;
      if (used < at) use(used, at - used);
      used = at + pageSize;
    }
    if (used < end) use(used, end - used);
  }

  #publishCounters(target: Segment): void {
    const first = this.segment.bitmapOffset / 4;
    for (const word of this.pages.takeDirtyWords())
      target.u32[first + word] = this.segment.u32[first + word] as number;
    const names: Counter[] = ['freeInodes', 'freeBlocks', 'heldPages', 'reservedPages', 'rightsVersion'];
    for (const name of names) setCounter(target, name, counter(this.segment, name));
    setCounter(this.segment, 'freePages', this.pages.free);
    setCounter(target, 'freePages', this.pages.free);
  }

  #save(at: number, length: number): void {
    const { bytes } = this.segment;
    const before = Buffer.allocUnsafe(length);
    bytes.copy(before, 0, at, at + length);
    this.#undo.push(() => bytes.set(before, at));
  }
}
