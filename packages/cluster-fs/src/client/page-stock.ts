/**
 * Pages that the client has set aside, so that a small write needs no round trip to get its page.
 *
 * Small requests are served from a stock that is filled ahead; large ones ask for what they need. What is in
 * the stock is memory that nobody else can have, so it is small, and grows only while it is used.
 */
import type { Run } from '@cluster-fs/transport';
import type { Backend } from '../fs/backend.ts';

/** Requests up to this many pages come from the stock. */
const smallPages = 16;
/** The stock doubles while it keeps running empty, up to a share of all pages. */
const firstBatch = 16;
const largestBatch = 1024;
/** Of what files may have together; of that, memory has an eighth when pages may be absent. */
const share = { present: 1 / 256, paged: 1 / 2048 } as const;

export class PageStock {
  readonly #backend: Pick<Backend, 'request' | 'givePages' | 'segment'>;
  #runs: Run[] = [];
  #count = 0;
  #batch = firstBatch;
  #filling: Promise<void> | undefined;
  #incarnation = 0;

  constructor(backend: Pick<Backend, 'request' | 'givePages' | 'segment'>) {
    this.#backend = backend;
  }

  /** `count` pages; at once when the stock has them. */
  take(count: number): Run[] | Promise<Run[]> {
    if (count === 0) return [];
    if (count > smallPages) return this.#reserve(count);
    if (this.#count >= count) {
      const runs = this.#cut(count);
      if (this.#count < this.#batch / 4) this.#refill();
      return runs;
    }
    return this.#takeLater(count);
  }

  /** Gives all of it back to the node: somebody needs the space, or the place. */
  giveBack(): void {
    if (this.#runs.length > 0) this.#backend.givePages(this.#runs);
    this.#runs = [];
    this.#count = 0;
    this.#batch = firstBatch;
  }

  /** The node that gave them is gone. */
  forget(): void {
    this.#runs = [];
    this.#count = 0;
    this.#incarnation++;
  }

  async #takeLater(count: number): Promise<Run[]> {
    await this.#fill();
    // Others may have been first; the segment may be too full for a whole batch but not for this.
    return this.#count >= count ? this.#cut(count) : this.#reserve(count);
  }

  async #reserve(pages: number): Promise<Run[]> {
    try {
      const { runs } = await this.#backend.request('reserve', { pages });
      return [...runs];
    } catch (error) {
      // The last free pages may be those set aside here.
      if (this.#count === 0 || !(error instanceof Error && 'code' in error && error.code === 'ENOSPC'))
        throw error;
      this.giveBack();
      return this.#reserve(pages);
    }
  }

  get #mostPages(): number {
    const { pageCount, paged } = this.#backend.segment;
    const pages = Math.floor(pageCount * (paged ? share.paged : share.present));
    return Math.max(firstBatch, Math.min(pages, largestBatch));
  }

  #refill(): void {
    // Filling ahead is a favour: when it fails, the write that needs the pages asks again and gets the error.
    this.#fill().catch(() => undefined);
  }

  #fill(): Promise<void> {
    this.#filling ??= this.#fetch().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  async #fetch(): Promise<void> {
    const incarnation = this.#incarnation;
    const batch = this.#batch;
    try {
      const runs = await this.#reserve(batch);
      if (incarnation !== this.#incarnation) return;
      this.#runs.push(...runs);
      this.#count += batch;
      this.#batch = Math.min(batch * 2, this.#mostPages);
    } catch (error) {
      this.#batch = firstBatch;
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
    }
  }

  #cut(count: number): Run[] {
    const taken: Run[] = [];
    for (let left = count; left > 0; ) {
      const run = this.#runs[0] as Run;
      const part = Math.min(left, run.count);
      taken.push({ page: run.page, count: part });
      left -= part;
      if (part === run.count) this.#runs.shift();
      else this.#runs[0] = { page: run.page + part, count: run.count - part };
    }
    this.#count -= count;
    return taken;
  }
}
