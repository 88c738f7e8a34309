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
    for (const block of [...this.#surplus()]) this.#parts.evict(block);
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

  /** What should go, of the blocks that may; who waits for the newest has not had it yet. */
  *#surplus(): Generator<number> {
    let left = this.#parts.budget.surplusPages;
    for (const [block, pages] of this.#pagesOf) {
      if (left <= 0) return;
      if (block === this.#newest || !this.#parts.mayGo(block)) continue;
      left -= pages;
      yield block;
    }
  }
}
