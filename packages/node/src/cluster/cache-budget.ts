/** Memory for what this node has of other nodes' files, whichever node they are from. */

/** However many files a node keeps, it can work with those of others. */
const minPages = 1024;

export class CacheBudget {
  readonly #limitPages: () => number;
  /** What it may have whatever else is in memory. */
  readonly #sharePages: number;
  /** Of blocks, which go when memory is scarce. */
  usedPages = 0;
  /** Of copies that are mapped, and do not. */
  keptPages = 0;

  constructor(limitPages: () => number, sharePages: number) {
    this.#limitPages = limitPages;
    this.#sharePages = sharePages;
  }

  /** Pages that can go when memory is wanted for something else. */
  get sparePages(): number {
    return Math.max(0, this.usedPages - this.#sharePages);
  }

  /** How many pages more may be kept. */
  get roomToKeep(): number {
    return Math.max(0, this.#limitPages() - this.keptPages);
  }

  /** Pages that should go; a little more than must, so that not every block that comes takes one away. */
  get surplusPages(): number {
    const limit = Math.max(minPages, this.#limitPages() - this.keptPages);
    return this.usedPages <= limit ? 0 : this.usedPages - limit * (15 / 16);
  }
}
