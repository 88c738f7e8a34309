/**
 * Which places of the store's data file are free. In memory: made from the table `stored` at each start.
 *
 *   free ──take──▶ written, named by SQLite ──retire──▶ named by no later state ──release──▶ free
 *
 * A retired place is released when no state that a loss of power could bring back names it.
 */
import { assert, type Run } from '@cluster-fs/transport';

const endOf = ({ page, count }: Run): number => page + count;

export class Places {
  /** In order, with no two that touch. */
  #free: Run[] = [];
  /** The first place that was never taken. */
  #end = 1;

  /** Takes over what is in use. Requires: it is in order. */
  constructor(used: Iterable<Run>) {
    for (const { page, count } of used) {
      if (page > this.#end) this.#free.push({ page: this.#end, count: page - this.#end });
      this.#end = Math.max(this.#end, page + count);
    }
  }

  /** Where places end: the data file is no longer than this many pages. */
  get end(): number {
    return this.#end;
  }

  get freeCount(): number {
    return this.#free.reduce((sum, { count }) => sum + count, 0);
  }

  /** What of `runs` is free, each place once. Those behind the end are no places any more. */
  freeWithin(runs: readonly Run[]): Run[] {
    const wanted = [...runs].sort((a, b) => a.page - b.page);
    const found: Run[] = [];
    let i = 0;
    for (const { page, count } of wanted) {
      while (i < this.#free.length && endOf(this.#free[i] as Run) <= page) i++;
      for (let n = i; n < this.#free.length && (this.#free[n] as Run).page < page + count; n++) {
        const free = this.#free[n] as Run;
        const from = Math.max(page, free.page, found.length === 0 ? 0 : endOf(found.at(-1) as Run));
        const end = Math.min(page + count, endOf(free));
        if (from < end) found.push({ page: from, count: end - from });
      }
    }
    return found;
  }

  /** A run of up to `count` places: the first free one that is long enough, or new ones at the end. */
  take(count: number): Run {
    assert(count > 0, 'some places are taken');
    const i = this.#free.findIndex((run) => run.count >= count);
    if (i < 0) {
      const page = this.#end;
      this.#end += count;
      return { page, count };
    }
    const found = this.#free[i] as Run;
    if (found.count === count) this.#free.splice(i, 1);
    else this.#free[i] = { page: found.page + count, count: found.count - count };
    return { page: found.page, count };
  }

  release(runs: readonly Run[]): void {
    const all = [...this.#free, ...runs].sort((a, b) => a.page - b.page);
    const joined: { page: number; count: number }[] = [];
    for (const { page, count } of all) {
      const last = joined.at(-1);
      assert(last === undefined || last.page + last.count <= page, 'a place is released once');
      if (last !== undefined && last.page + last.count === page) last.count += count;
      else joined.push({ page, count });
    }
    const last = joined.at(-1);
    if (last !== undefined && last.page + last.count === this.#end) {
      this.#end = last.page;
      joined.pop();
    }
    this.#free = joined;
  }
}
