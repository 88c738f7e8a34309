/**
 * Every INVARIANT of layout.ts, executable: what fsck, the tests and the node's own self-check run.
 *
 * Requires: nobody writes to `segment` meanwhile; the node checks its working copy between two batches.
 */
import type { Extent, Run } from '@cluster-fs/transport';
import { PageAllocator } from './allocator.ts';
import { type DirectoryEntry, listDirectory, lookup } from './directory.ts';
import { readExtents } from './extents.ts';
import { fileType, InodeCopy, isDirectory, isFile, isSymlink, readInode } from './inode.ts';
import {
  blockHeader,
  blockKind,
  bucket,
  dirent,
  extentsPerBlock,
  inlineExtents,
  pageSize,
  rootIno,
  slotsPerBlock,
} from './layout.ts';
import { encodeName, hashName } from './name.ts';
import { blockAt, counter, direntAt, type Segment } from './segment.ts';

/** Pages that no file has and that are in use all the same: in quarantine, or set aside for a write. */
export interface OtherPages {
  /** No inode at or above this number was ever taken; without it the whole table is looked at. */
  readonly inodeLimit?: number;
  readonly runs: readonly Run[];
  /** Inodes without a name that a handle or a lease keeps. */
  readonly orphans: ReadonlySet<number>;
}

interface Check {
  readonly s: Segment;
  readonly findings: string[];
  readonly owners: Map<number, string>;
  readonly names: Map<number, number>;
  readonly subdirectories: Map<number, number>;
  readonly blocks: Map<number, number>;
}

/** One line for each broken invariant; empty when the segment is whole. */
export function checkSegment(s: Segment, other: OtherPages): string[] {
  const check: Check = {
    s,
    findings: [],
    owners: new Map(),
    names: new Map(),
    subdirectories: new Map(),
    blocks: new Map(),
  };
  const live: InodeCopy[] = [];
  const used = s.inodeCount - 1 - counter(s, 'freeInodes');
  const end = Math.min(s.inodeCount, other.inodeLimit ?? s.inodeCount);
  for (let ino = 1; ino < end; ino++) {
    const copy = new InodeCopy();
    if (readInode(s, ino, copy)) live.push(copy);
  }
  if (live.length !== used) check.findings.push(`${used} inodes are taken, ${live.length} are there`);
  for (const copy of live) checkInode(check, copy);
  for (const run of other.runs) claim(check, run, 'held');
  checkLinks(check, live, other.orphans);
  checkChains(check);
  checkBitmap(check);
  checkBlocks(check);
  return check.findings;
}

function checkInode(check: Check, copy: InodeCopy): void {
  const { findings } = check;
  const { ino, mode, generation } = copy;
  if (generation === 0) findings.push(`inode ${ino}: generation 0`);
  if (copy.sequence % 2 !== 0) findings.push(`inode ${ino}: guard is odd`);
  if (isDirectory(mode)) checkDirectory(check, copy);
  else if (isFile(mode)) checkFile(check, copy);
  else if (isSymlink(mode))
    claimChain(check, copy, blockKind.text, Math.ceil(copy.size / (1024 - blockHeader.size)));
  else findings.push(`inode ${ino}: type ${(mode & fileType.mask).toString(8)}`);
}

function checkFile(check: Check, { ino }: InodeCopy): void {
  const copy = new InodeCopy();
  const extents = readExtents(check.s, ino, copy);
  let end = 0;
  for (const e of extents) {
    if (e.filePage < end)
      check.findings.push(`inode ${ino}: extent at page ${e.filePage} overlaps the one before`);
    if (e.count === 0) check.findings.push(`inode ${ino}: empty extent`);
    end = e.filePage + e.count;
    claim(check, e, `inode ${ino}`);
  }
  const pages = extents.reduce((sum: number, e: Extent) => sum + e.count, 0);
  if (pages !== copy.pages) check.findings.push(`inode ${ino}: counts ${copy.pages} pages, has ${pages}`);
  const limit = Math.ceil(copy.size / pageSize);
  if (end > limit) check.findings.push(`inode ${ino}: extents reach page ${end}, the file ends at ${limit}`);
  const blocks = Math.ceil(Math.max(0, extents.length - inlineExtents) / extentsPerBlock);
  claimChain(check, copy, blockKind.extents, blocks);
}

function checkDirectory(check: Check, copy: InodeCopy): void {
  const { s, findings } = check;
  const entries = listDirectory(s, copy.ino);
  if (entries.length !== copy.size)
    findings.push(`inode ${copy.ino}: counts ${copy.size} entries, has ${entries.length}`);
  for (const entry of entries) checkEntry(check, copy.ino, entry);
  claimChain(check, copy, blockKind.dirents, undefined);
}

function checkEntry(
  { s, findings, names, subdirectories }: Check,
  parent: number,
  { name, ino, type }: DirectoryEntry,
): void {
  const copy = new InodeCopy();
  const where = `inode ${parent}: entry '${name}'`;
  if (!readInode(s, ino, copy)) findings.push(`${where} names inode ${ino}, which is free`);
  if ((copy.mode & fileType.mask) !== type)
    findings.push(`${where} has type ${type}, the inode ${copy.mode & fileType.mask}`);
  if (lookup(s, parent, encodeName(name)).ino !== ino) findings.push(`${where} is not on its dentry chain`);
  names.set(ino, (names.get(ino) ?? 0) + 1);
  if (!isDirectory(copy.mode)) return;
  subdirectories.set(parent, (subdirectories.get(parent) ?? 0) + 1);
  if (copy.parent !== parent) findings.push(`inode ${ino}: is in ${parent}, says ${copy.parent}`);
}

function checkLinks(
  { names, subdirectories, findings }: Check,
  live: readonly InodeCopy[],
  orphans: ReadonlySet<number>,
): void {
  for (const { ino, mode, nlink } of live) {
    const named = names.get(ino) ?? 0;
    if (isDirectory(mode)) {
      const expected = named === 0 && ino !== rootIno ? 0 : 2 + (subdirectories.get(ino) ?? 0);
      if (nlink !== expected) findings.push(`inode ${ino}: nlink ${nlink}, should be ${expected}`);
      if (ino !== rootIno && named > 1) findings.push(`inode ${ino}: directory with ${named} names`);
    } else if (nlink !== named) findings.push(`inode ${ino}: nlink ${nlink}, has ${named} names`);
    if (named === 0 && ino !== rootIno && !orphans.has(ino))
      findings.push(`inode ${ino}: no name, and nobody holds it`);
  }
}

const bucketWords = bucket.size / 4;

/** Each dirent is on one chain, the one of its hash. */
function checkChains({ s, findings, names }: Check): void {
  const { u32, bucketCount, bucketOffset } = s;
  const seen = new Set<number>();
  const first = (bucketOffset + bucket.offset.head) / 4;
  // Most of a million buckets are empty: to look at one must cost no more than a load.
  for (let index = 0; index < bucketCount; index++) {
    const head = u32[first + index * bucketWords] as number;
    if (head !== 0) checkChain(s, findings, seen, { index, head });
  }
  const listed = [...names.values()].reduce((sum, n) => sum + n, 0);
  if (listed !== seen.size) findings.push(`directories list ${listed} names, the dentry chains ${seen.size}`);
}

function checkChain(
  s: Segment,
  findings: string[],
  seen: Set<number>,
  { index, head }: { readonly index: number; readonly head: number },
): void {
  const record = dirent.bind(s.view);
  for (let reference = head; reference !== 0; ) {
    if (seen.has(reference)) {
      findings.push(`bucket ${index}: dirent ${reference} is on two chains or in a circle`);
      return;
    }
    seen.add(reference);
    const { hash, hashNext, ino } = record.at(direntAt(s, reference));
    if ((hash & (s.bucketCount - 1)) !== index)
      findings.push(`bucket ${index}: dirent ${reference} has hash ${hash}`);
    if (ino === 0) findings.push(`bucket ${index}: dirent ${reference} is free`);
    reference = hashNext;
  }
}

function claim({ s, findings, owners }: Check, { page, count }: Run, owner: string): void {
  if (page + count > s.pageCount) {
    findings.push(`${owner}: run ${page}+${count} is outside the segment`);
    return;
  }
  for (let p = page; p < page + count; p++) {
    const before = owners.get(p);
    if (before !== undefined) findings.push(`page ${p}: belongs to ${before} and to ${owner}`);
    owners.set(p, owner);
  }
}

function claimChain(check: Check, copy: InodeCopy, kind: number, expected: number | undefined): void {
  const { s, findings, blocks } = check;
  const header = blockHeader.bind(s.view);
  let count = 0;
  for (let block = copy.chain; block !== 0; count++) {
    if (block >= s.blockCount) {
      findings.push(`inode ${copy.ino}: block ${block} is outside the table`);
      return;
    }
    if (blocks.has(block)) {
      findings.push(`block ${block}: belongs to inodes ${blocks.get(block)} and ${copy.ino}`);
      return;
    }
    blocks.set(block, copy.ino);
    const { kind: found, ino, generation, next, used } = header.at(blockAt(s, block));
    if (found !== kind || ino !== copy.ino || generation !== copy.generation) {
      findings.push(`block ${block}: kind ${found} of inode ${ino}, hangs on inode ${copy.ino}`);
    }
    if (kind === blockKind.dirents) claimNames(check, block, used);
    block = next;
  }
  if (expected !== undefined && count !== expected)
    findings.push(`inode ${copy.ino}: ${count} blocks, should be ${expected}`);
}

function claimNames({ s, findings, blocks }: Check, block: number, used: number): void {
  const record = dirent.bind(s.view);
  for (let slot = 1; slot < slotsPerBlock; slot++) {
    const { nameBlock, ino, parent, hash } = record.at(direntAt(s, block * slotsPerBlock + slot));
    if (((used >> slot) & 1) !== (ino === 0 ? 0 : 1))
      findings.push(`block ${block}: slot ${slot} and its used bit disagree`);
    if (ino === 0) continue;
    if (hash !== hashOf(s, block * slotsPerBlock + slot, parent))
      findings.push(`block ${block}: slot ${slot} has a wrong hash`);
    if (nameBlock === 0) continue;
    if (blocks.has(nameBlock)) findings.push(`block ${nameBlock}: belongs to two owners`);
    blocks.set(nameBlock, ino);
  }
}

function hashOf(s: Segment, reference: number, parent: number): number {
  const { nameLength, nameBlock, name } = dirent.bind(s.view).at(direntAt(s, reference));
  if (nameBlock === 0) return hashName(parent, name.subarray(0, nameLength));
  const rest = blockAt(s, nameBlock) + blockHeader.size;
  return hashName(parent, Buffer.concat([name, s.bytes.subarray(rest, rest + nameLength - name.length)]));
}

function checkBitmap({ s, findings, owners }: Check): void {
  const pages = new PageAllocator(s);
  for (const page of owners.keys())
    if (!pages.isUsed(page)) findings.push(`page ${page}: used by ${owners.get(page)}, free in the bitmap`);
  const used = s.pageCount - pages.free;
  if (used !== owners.size) findings.push(`the bitmap has ${used} pages in use, their owners ${owners.size}`);
  if (counter(s, 'freePages') !== pages.free)
    findings.push(`freePages says ${counter(s, 'freePages')}, the bitmap ${pages.free}`);
}

function checkBlocks({ s, findings, blocks }: Check): void {
  const taken = s.blockCount - 1 - counter(s, 'freeBlocks');
  if (taken !== blocks.size) findings.push(`${taken} blocks are taken, ${blocks.size} are reachable`);
}
