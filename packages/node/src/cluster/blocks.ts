/** Blocks of files: the unit that nodes share. */
import { FsError } from '@cluster-fs/transport';
import type { Range } from '../store/stored.ts';

/** 64 KiB. */
export const blockPages = 16;
/** Page numbers have 32 bits. */
export const blocksOfFile = 2 ** 28;

/** A block of a file as one number, for as long as the inode lives. EPROTO for an index that no file has. */
export function blockOf(ino: number, index: number): number {
  if (index < blocksOfFile) return ino * blocksOfFile + index;
  throw new FsError('EPROTO', 'blocks', { why: `no file has a block ${index}` });
}
export const inoOf = (block: number): number => Math.floor(block / blocksOfFile);
export const indexOf = (block: number): number => block % blocksOfFile;

export const rangeOf = (block: number): Range => ({ from: indexOf(block) * blockPages, count: blockPages });

/** The block that a page of a file is in. */
export const blockAt = (ino: number, filePage: number): number =>
  blockOf(ino, Math.floor(filePage / blockPages));

/** The blocks that a range of file pages is in, in order. */
export function blocksIn(ino: number, { from, count }: Range): number[] {
  if (count === 0) return [];
  const first = Math.floor(from / blockPages);
  const end = Math.ceil((from + count) / blockPages);
  // A loop: a file has thousands, and may stand still until they are counted.
  const blocks = new Array<number>(end - first);
  for (let index = first; index < end; index++) blocks[index - first] = blockOf(ino, index);
  return blocks;
}
