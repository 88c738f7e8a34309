/** Blocks of one home that are in memory here, the oldest first, and what should go when memory is scarce. */
import type { CacheBudget } from './cache-budget.ts';

export interface ResidentParts {
  readonly budget: CacheBudget;
  /** Whether a block may be given up when memory is scarce. */
  readonly mayGo: (block: number) => boolean;
  readonly evict: (block: number) => void;
}

export class Resident {
  readonly #parts: ResidentParts;
  readonly #pagesOf = new Map<number, number>();
  #pages = 0;
  #newest = 0;
  #isShrinking = false;

  constructor(parts: ResidentParts) {
    this.#parts = parts;
  }

  get pages(): number {
    return this.#pages;
  }

  /** A block has come: it is the newest. For all that come in one turn, others go once. */
  keep(block: number, pages: number): void {
    this.forget(block);
    this.#pagesOf.set(block, pages);
    this.#count(pages);
    this.#newest = block;
    if (this.#isShrinking || this.#parts.budget.surplusPages <= 0) return;
    this.#isShrinking = true;
    setImmediate(() => this.#shrink());
  }

  #shrink(): void {
    this.#isShrinking = false;
    this.#evict(this.#parts.budget.surplusPages);
  }

  /** So many pages go, or as many as may; how many. */
  giveWay(pages: number): number {
    return this.#evict(Math.min(pages, this.#parts.budget.sparePages));
  }

  #evict(pages: number): number {
    const going = [...this.#oldest(pages)];
    const count = going.reduce((sum, block) => sum + (this.#pagesOf.get(block) ?? 0), 0);
    for (const block of going) this.#parts.evict(block);
    return count;
  }

  forget(block: number): void {
    const pages = this.#pagesOf.get(block);
    if (pages === undefined) return;
    this.#pagesOf.delete(block);
    this.#count(-pages);
  }

  #count(pages: number): void {
    this.#pages += pages;
    this.#parts.budget.usedPages += pages;
  }

  /** So many pages of the blocks that may go; who waits for the newest has not had it yet. */
  *#oldest(wanted: number): Generator<number> {
    let left = wanted;
    for (const [block, pages] of this.#pagesOf) {
      if (left <= 0) return;
      if (block === this.#newest || !this.#parts.mayGo(block)) continue;
      left -= pages;
      yield block;
    }
  }
}
