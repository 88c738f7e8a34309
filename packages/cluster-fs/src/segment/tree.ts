/**
 * Changing what hangs on inodes: names in directories, extents of files, targets of symlinks.
 *
 * Requires: names are valid and not there yet (insert) or there (remove, retarget); the caller, who has
 * walked the path, knows. Errors here are only those of a full table: ENOSPC, and then the caller rolls back.
 */
import { assert, type Extent, FsError } from '@cluster-fs/transport';
import { lookup } from './directory.ts';
import {
  blockHeader,
  blockKind,
  blockPayload,
  bucket,
  dirent,
  extent,
  extentsPerBlock,
  inlineExtents,
  inlineName,
  inode,
  slotsPerBlock,
} from './layout.ts';
import { encodeName, hashName } from './name.ts';
import { blockAt, bucketAt, direntAt, inodeAt } from './segment.ts';
import type { SegmentWriter } from './writer.ts';

const tableFull = (what: string) => new FsError('ENOSPC', 'write', { why: `no free ${what}` });

/** Names of one directory's free slots, found by one walk over its blocks and kept from then on. */
export class DirectorySlots {
  readonly #free = new Map<number, number[]>();

  take(w: SegmentWriter, directory: number): number {
    let slots = this.#free.get(directory);
    if (slots === undefined) {
      slots = findFreeSlots(w, directory);
      this.#free.set(directory, slots);
    }
    // A rolled-back change leaves the list out of step; it is found again when it is next needed.
    w.onRollback(() => this.#free.delete(directory));
    const slot = slots.pop();
    if (slot !== undefined) return slot;
    const { generation, chain } = w.inode.at(inodeAt(w.segment, directory));
    const block = w.takeBlock(blockKind.dirents, directory, generation);
    if (block === undefined) throw tableFull('blocks');
    w.block.at(blockAt(w.segment, block)).next = chain;
    w.touchInode(directory).chain = block;
    for (let i = slotsPerBlock - 1; i > 1; i--) slots.push(block * slotsPerBlock + i);
    return block * slotsPerBlock + 1;
  }

  give(w: SegmentWriter, directory: number, reference: number): void {
    this.#free.get(directory)?.push(reference);
    w.onRollback(() => this.#free.delete(directory));
  }

  forget(directory: number): void {
    this.#free.delete(directory);
  }
}

function findFreeSlots(w: SegmentWriter, directory: number): number[] {
  const slots: number[] = [];
  for (let block = w.inode.at(inodeAt(w.segment, directory)).chain; block !== 0; ) {
    const { used, next } = w.block.at(blockAt(w.segment, block));
    for (let i = slotsPerBlock - 1; i > 0; i--)
      if ((used & (1 << i)) === 0) slots.push(block * slotsPerBlock + i);
    block = next;
  }
  return slots;
}

export interface NewEntry {
  readonly parent: number;
  /** UTF-8 already, or not. */
  readonly name: string | Uint8Array;
  readonly ino: number;
  readonly type: number;
}

const direntWord = {
  parent: dirent.offset.parent / 4,
  ino: dirent.offset.ino / 4,
  hash: dirent.offset.hash / 4,
  hashNext: dirent.offset.hashNext / 4,
  nameBlock: dirent.offset.nameBlock / 4,
};

/**
 * Adds a name. The directory's size counts its entries. Typed arrays and not the struct's cursor: a start
 * adds all names there are. Requires: free slots are zeros.
 */
export function insertDirent(
  w: SegmentWriter,
  slots: DirectorySlots,
  { parent, name, ino, type }: NewEntry,
): void {
  const s = w.segment;
  const encoded = typeof name === 'string' ? encodeName(name) : name;
  const hash = hashName(parent, encoded);
  const reference = slots.take(w, parent);
  const block = Math.floor(reference / slotsPerBlock);
  const at = direntAt(s, reference);
  w.touchInBlock(block, at, dirent.size);
  const { base } = w.touchBlock(block, blockHeader.size);
  const bucketOffset = w.touchBucket(hash & (s.bucketCount - 1));
  const head = bucketOffset / 4 + bucket.offset.head / 4;
  const rest = encoded.length > inlineName ? storeRestOfName(w, ino, encoded.subarray(inlineName)) : 0;
  const { u32, bytes } = s;
  const usedAt = base + blockHeader.offset.used;
  bytes[usedAt] = (bytes[usedAt] as number) | (1 << (reference % slotsPerBlock));
  u32[at / 4 + direntWord.parent] = parent;
  u32[at / 4 + direntWord.ino] = ino;
  u32[at / 4 + direntWord.hash] = hash;
  u32[at / 4 + direntWord.hashNext] = u32[head] as number;
  u32[at / 4 + direntWord.nameBlock] = rest;
  bytes[at + dirent.offset.nameLength] = encoded.length;
  bytes[at + dirent.offset.type] = type >> 12;
  const nameAt = at + dirent.offset.name;
  for (let i = 0; i < inlineName && i < encoded.length; i++) bytes[nameAt + i] = encoded[i] as number;
  u32[head] = reference;
  w.touchInode(parent).size += 1;
}

function storeRestOfName(w: SegmentWriter, ino: number, rest: Uint8Array): number {
  const { generation } = w.inode.at(inodeAt(w.segment, ino));
  const block = w.takeBlock(blockKind.name, ino, generation);
  if (block === undefined) throw tableFull('blocks');
  const at = blockAt(w.segment, block);
  w.block.at(at).length = rest.length;
  w.segment.bytes.set(rest, at + blockHeader.size);
  return block;
}

/** Removes a name. */
export function removeDirent(w: SegmentWriter, slots: DirectorySlots, parent: number, name: string): void {
  const s = w.segment;
  const { reference, bucket: index } = lookup(s, parent, encodeName(name));
  assert(reference !== 0, 'removeDirent: the name is there');
  const at = direntAt(s, reference);
  const { hashNext, nameBlock } = dirent.bind(s.view).at(at);
  unlinkFromChain(w, index, reference, hashNext);
  if (nameBlock !== 0) w.freeBlock(nameBlock);
  const block = Math.floor(reference / slotsPerBlock);
  w.touchInBlock(block, at, dirent.size);
  s.bytes.fill(0, at, at + dirent.size);
  w.touchBlock(block, blockHeader.size).used &= ~(1 << (reference % slotsPerBlock));
  w.touchInode(parent).size -= 1;
  slots.give(w, parent, reference);
}

function unlinkFromChain(w: SegmentWriter, index: number, reference: number, next: number): void {
  const { u32 } = w.segment;
  w.touchBucket(index);
  let link = (bucketAt(w.segment, index) + bucket.offset.head) / 4;
  while (u32[link] !== reference) {
    const previous = u32[link] as number;
    assert(previous !== 0, 'a dirent is on the chain of its hash');
    link = (direntAt(w.segment, previous) + dirent.offset.hashNext) / 4;
    if (u32[link] === reference) w.touchInBlock(Math.floor(previous / slotsPerBlock), link * 4, 4);
  }
  u32[link] = next;
}

/** Makes an existing name mean another inode, in one step: what makes rename atomic for readers. */
export function retargetDirent(w: SegmentWriter, entry: NewEntry & { readonly name: string }): void {
  const { reference, bucket: index } = lookup(w.segment, entry.parent, encodeName(entry.name));
  assert(reference !== 0, 'retargetDirent: the name is there');
  const at = direntAt(w.segment, reference);
  w.touchBucket(index);
  w.touchInBlock(Math.floor(reference / slotsPerBlock), at, dirent.size);
  const record = dirent.bind(w.segment.view).at(at);
  record.ino = entry.ino;
  record.type = entry.type >> 12;
  if (record.nameBlock !== 0) {
    const { generation } = w.inode.at(inodeAt(w.segment, entry.ino));
    Object.assign(w.touchBlock(record.nameBlock, blockHeader.size), { ino: entry.ino, generation });
  }
}

/** Replaces the extents of a file and counts its pages. */
export function setExtents(w: SegmentWriter, ino: number, extents: readonly Extent[]): void {
  freeChain(w, ino);
  const { generation } = w.inode.at(inodeAt(w.segment, ino));
  const blocks = Math.ceil(Math.max(0, extents.length - inlineExtents) / extentsPerBlock);
  let next = 0;
  for (let i = blocks - 1; i >= 0; i--) {
    const block = w.takeBlock(blockKind.extents, ino, generation);
    if (block === undefined) throw tableFull('blocks');
    const part = extents.slice(
      inlineExtents + i * extentsPerBlock,
      inlineExtents + (i + 1) * extentsPerBlock,
    );
    const header = w.block.at(blockAt(w.segment, block));
    header.next = next;
    header.length = part.length;
    for (const [k, e] of part.entries()) storeExtent(w, header.base + blockHeader.size + k * extent.size, e);
    next = block;
  }
  const record = w.touchInode(ino);
  record.chain = next;
  record.extentCount = extents.length;
  record.pages = extents.reduce((sum, e) => sum + e.count, 0);
  const none = { filePage: 0, page: 0, count: 0 };
  storeExtent(w, record.base + inode.offset.extent0, extents[0] ?? none);
  storeExtent(w, record.base + inode.offset.extent1, extents[1] ?? none);
}

function storeExtent(w: SegmentWriter, at: number, { filePage, page, count }: Extent): void {
  const { u32 } = w.segment;
  u32[(at + extent.offset.filePage) / 4] = filePage;
  u32[(at + extent.offset.page) / 4] = page;
  u32[(at + extent.offset.count) / 4] = count;
}

/** Stores the target of a symlink. */
export function setText(w: SegmentWriter, ino: number, text: Uint8Array): void {
  const { generation } = w.inode.at(inodeAt(w.segment, ino));
  let next = 0;
  for (let i = Math.ceil(text.length / blockPayload) - 1; i >= 0; i--) {
    const block = w.takeBlock(blockKind.text, ino, generation);
    if (block === undefined) throw tableFull('blocks');
    const part = text.subarray(i * blockPayload, (i + 1) * blockPayload);
    const header = w.block.at(blockAt(w.segment, block));
    header.next = next;
    header.length = part.length;
    w.segment.bytes.set(part, header.base + blockHeader.size);
    next = block;
  }
  const record = w.touchInode(ino);
  record.chain = next;
  record.size = text.length;
}

/** Frees every block that hangs on an inode. */
export function freeChain(w: SegmentWriter, ino: number): void {
  let block = w.inode.at(inodeAt(w.segment, ino)).chain;
  if (block === 0) return;
  w.touchInode(ino).chain = 0;
  while (block !== 0) {
    const { next } = w.block.at(blockAt(w.segment, block));
    w.freeBlock(block);
    block = next;
  }
}
