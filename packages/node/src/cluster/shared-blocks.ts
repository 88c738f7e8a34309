/** Blocks of this node's files that are not its processes' alone, by file: those that a directory knows. */
import type { Range } from '../store/stored.ts';
import { blockPages, blocksIn, indexOf, inoOf } from './blocks.ts';

const nothing: ReadonlySet<number> = new Set();

export class SharedBlocks {
  readonly #files = new Map<number, Set<number>>();

  get count(): number {
    let count = 0;
    for (const blocks of this.#files.values()) count += blocks.size;
    return count;
  }

  files(): Iterable<number> {
    return this.#files.keys();
  }

  hasFile(ino: number): boolean {
    return this.#files.has(ino);
  }

  has(block: number): boolean {
    return this.#files.get(inoOf(block))?.has(block) === true;
  }

  of(ino: number): ReadonlySet<number> {
    return this.#files.get(ino) ?? nothing;
  }

  add(block: number): void {
    const ino = inoOf(block);
    const blocks = this.#files.get(ino);
    if (blocks === undefined) this.#files.set(ino, new Set([block]));
    else blocks.add(block);
  }

  delete(block: number): void {
    const blocks = this.#files.get(inoOf(block));
    blocks?.delete(block);
    if (blocks?.size === 0) this.#files.delete(inoOf(block));
  }

  deleteFile(ino: number): void {
    this.#files.delete(ino);
  }

  /** Those that have pages of the range: found from whichever side has fewer. */
  within(ino: number, range: Range): number[] {
    const blocks = this.#files.get(ino);
    if (blocks === undefined) return [];
    const first = Math.floor(range.from / blockPages);
    const count = Math.ceil((range.from + range.count) / blockPages) - first;
    if (count < blocks.size) return blocksIn(ino, range).filter((block) => blocks.has(block));
    return [...blocks].filter((block) => indexOf(block) >= first && indexOf(block) < first + count);
  }
}
