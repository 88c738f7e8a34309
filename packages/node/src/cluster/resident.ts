/** Blocks of one home that are in memory here, the oldest first, and what should go when memory is scarce. */
import type { CacheBudget } from './cache-budget.ts';

export class Resident {
  readonly #budget: CacheBudget;
  readonly #pagesOf = new Map<number, number>();
  #pages = 0;

  constructor(budget: CacheBudget) {
    this.#budget = budget;
  }

  get pages(): number {
    return this.#pages;
  }

  /** A block has come: it is the newest. */
  keep(block: number, pages: number): void {
    this.forget(block);
    this.#pagesOf.set(block, pages);
    this.#count(pages);
  }

  forget(block: number): void {
    const pages = this.#pagesOf.get(block);
    if (pages === undefined) return;
    this.#pagesOf.delete(block);
    this.#count(-pages);
  }

  #count(pages: number): void {
    this.#pages += pages;
    this.#budget.usedPages += pages;
  }

  /** What should go, of the blocks that may. */
  *surplus(mayGo: (block: number) => boolean): Generator<number> {
    let left = this.#budget.surplusPages;
    for (const [block, pages] of this.#pagesOf) {
      if (left <= 0) return;
      if (!mayGo(block)) continue;
      left -= pages;
      yield block;
    }
  }
}
