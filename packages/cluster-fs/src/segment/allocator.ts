/**
 * Pages of `data`: which are free, over the page bitmap of a segment (a set bit is a page in use).
 *
 * First fit. A request gets one run when there is one that is long enough, and else the longest runs there
 * are, so that fragmentation costs extents and never ENOSPC while pages are free.
 * INVARIANT: `free` is the number of clear bits below pageCount; bits at and above it are set.
 */
import { assert, type Run } from '@cluster-fs/transport';
import type { Segment } from './segment.ts';

export class PageAllocator {
  readonly pageCount: number;
  readonly #words: Uint32Array;
  /** No page below this one is free. */
  #lowest = 0;
  #free: number;
  /** Words of the bitmap that changed since the last `takeDirtyWords`. */
  #dirty = new Set<number>();

  constructor(s: Segment) {
    this.pageCount = s.pageCount;
    this.#words = new Uint32Array(s.view.buffer, s.bitmapOffset, Math.ceil(s.pageCount / 32));
    this.#free = countFree(this.#words, s.pageCount);
  }

  get free(): number {
    return this.#free;
  }

  isUsed(page: number): boolean {
    return ((this.#words[page >>> 5] as number) & (1 << (page & 31))) !== 0;
  }

  /** Takes `count` pages, in as few runs as there are; undefined when fewer are free. */
  allocate(count: number): Run[] | undefined {
    if (count > this.#free) return undefined;
    if (count === 0) return [];
    const whole = this.#findRun(count, this.#lowest);
    if (whole !== undefined) return [this.take({ page: whole, count })];
    return this.#allocateScattered(count);
  }

  /** Takes `count` pages in one run, at `from` or above; undefined when there is none. */
  allocateRun(count: number, from = 0): Run | undefined {
    const page = count > this.#free ? undefined : this.#findRun(count, Math.max(from, this.#lowest));
    return page === undefined ? undefined : this.take({ page, count });
  }

  /** Takes up to `count` pages at exactly `page`; how many were free there. */
  extendAt(page: number, count: number): number {
    let got = 0;
    while (got < count && page + got < this.pageCount && !this.isUsed(page + got)) got++;
    if (got > 0) this.take({ page, count: got });
    return got;
  }

  /** Marks a run that is known to be free. */
  take(run: Run): Run {
    this.#mark(run, true);
    this.#free -= run.count;
    if (run.page <= this.#lowest) this.#lowest = run.page + run.count;
    return run;
  }

  release(run: Run): void {
    this.#mark(run, false);
    this.#free += run.count;
    this.#lowest = Math.min(this.#lowest, run.page);
  }

  /** The free runs, in order of their pages. */
  *freeRuns(): Generator<Run> {
    for (let page = this.#nextFree(0); page < this.pageCount; ) {
      const end = this.#nextUsed(page);
      yield { page, count: end - page };
      page = this.#nextFree(end);
    }
  }

  /** The runs in use, in order of their pages. */
  *usedRuns(): Generator<Run> {
    for (let page = this.#nextUsed(0); page < this.pageCount; ) {
      const end = this.#nextFree(page);
      yield { page, count: end - page };
      page = this.#nextUsed(end);
    }
  }

  /** Indexes of the bitmap words that changed, once. */
  takeDirtyWords(): Set<number> {
    const dirty = this.#dirty;
    this.#dirty = new Set();
    return dirty;
  }

  #findRun(count: number, from: number): number | undefined {
    for (let page = this.#nextFree(from); page + count <= this.pageCount; ) {
      const end = this.#nextUsed(page, page + count);
      if (end - page >= count) return page;
      page = this.#nextFree(end);
    }
    return undefined;
  }

  /** The longest runs first: the file gets as few extents as can be. */
  #allocateScattered(count: number): Run[] {
    const byLength = [...this.freeRuns()].sort((a, b) => b.count - a.count);
    const taken: Run[] = [];
    let left = count;
    for (const run of byLength) {
      if (left === 0) break;
      taken.push(this.take({ page: run.page, count: Math.min(run.count, left) }));
      left -= Math.min(run.count, left);
    }
    assert(left === 0, 'the free count is the number of clear bits');
    return taken.sort((a, b) => a.page - b.page);
  }

  #nextFree(from: number): number {
    let page = from;
    while (page < this.pageCount) {
      const word = ~(this.#words[page >>> 5] as number) & (-1 << (page & 31));
      if (word !== 0) return Math.min((page & ~31) + trailingZeros(word), this.pageCount);
      page = (page & ~31) + 32;
    }
    return this.pageCount;
  }

  /** The first used page at or after `from`, but no further than `stop`. */
  #nextUsed(from: number, stop = this.pageCount): number {
    let page = from;
    while (page < stop) {
      const word = (this.#words[page >>> 5] as number) & (-1 << (page & 31));
      if (word !== 0) return Math.min((page & ~31) + trailingZeros(word), stop);
      page = (page & ~31) + 32;
    }
    return stop;
  }

  #mark({ page, count }: Run, used: boolean): void {
    if (page < 0 || page + count > this.pageCount)
      throw new Error(`run ${page}+${count} is outside the segment`);
    for (let at = page; at < page + count; ) {
      const word = at >>> 5;
      const bits = Math.min(32 - (at & 31), page + count - at);
      const mask = (bits === 32 ? -1 : ((1 << bits) - 1) << (at & 31)) >>> 0;
      const before = this.#words[word] as number;
      const expected = used ? (before & mask) === 0 : (before & mask) >>> 0 === mask;
      if (!expected) throw new Error(`run ${page}+${count} was not ${used ? 'free' : 'used'}`);
      this.#words[word] = used ? before | mask : before & ~mask;
      this.#dirty.add(word);
      at += bits;
    }
  }
}

const trailingZeros = (word: number): number => 31 - Math.clz32(word & -word);

function countFree(words: Uint32Array, pageCount: number): number {
  let used = 0;
  for (let i = 0; i < words.length; i++) {
    let word = words[i] as number;
    if (i === words.length - 1 && pageCount % 32 !== 0) word &= (1 << (pageCount % 32)) - 1;
    for (; word !== 0; word &= word - 1) used++;
  }
  return pageCount - used;
}
