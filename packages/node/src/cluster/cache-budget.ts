/** Memory for blocks of other nodes' files, whichever node they are from. */
export class CacheBudget {
  readonly #limitPages: () => number;
  usedPages = 0;

  constructor(limitPages: () => number) {
    this.#limitPages = limitPages;
  }

  /** Pages that should go; a little more than must, so that not every block that comes takes one away. */
  get surplusPages(): number {
    const limit = this.#limitPages();
    return this.usedPages <= limit ? 0 : this.usedPages - limit * (15 / 16);
  }
}
