/**
 * Pages of a file on their way from the store: where each of them is there, what it should be, and room for
 * its bytes. Used again and again: to make such arrays takes longer than to read a page.
 */
import type { Extent } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import type { Range, StoredExtent } from './stored.ts';

/** Pages that are read, and put in one turn of the event loop: more would not stay in the cache between. */
export const piecePages = 256;

/** A range as pieces, from its begin on. */
export function* piecesOf({ from, count }: Range): Generator<Range> {
  for (let done = 0; done < count; done += piecePages)
    yield { from: from + done, count: Math.min(piecePages, count - done) };
}

export class PageBuffer {
  /** File pages; of the arrays, the first `count` entries are theirs. */
  from = 0;
  count = 0;
  /** 0 where nothing is stored, or nothing was asked for: zeros. */
  readonly places = new Float64Array(piecePages);
  readonly sums = new BigUint64Array(piecePages);
  readonly bytes = Buffer.allocUnsafeSlow(piecePages * pageSize);

  /** Takes up what `stored` says of `pages`. Requires: they are in the range, one piece at most. */
  describe({ from, count }: Range, stored: readonly StoredExtent[], pages: readonly Extent[]): void {
    this.from = from;
    this.count = count;
    this.places.fill(0, 0, count);
    for (const e of stored) for (const run of pages) this.#describe(e, run);
  }

  #describe({ filePage, count, place, sums }: StoredExtent, run: Extent): void {
    const first = Math.max(filePage, run.filePage);
    const end = Math.min(filePage + count, run.filePage + run.count);
    if (first >= end) return;
    for (let at = first; at < end; at++) this.places[at - this.from] = place + at - filePage;
    // At once: one by one each would be a BigInt.
    this.sums.set(sums.subarray(first - filePage, end - filePage), first - this.from);
  }

  /** Whether both say the same of the content of a file page. Requires: it is in both ranges. */
  saysTheSame(other: PageBuffer, filePage: number): boolean {
    const [i, j] = [filePage - this.from, filePage - other.from];
    const isStored = this.places[i] !== 0;
    return isStored === (other.places[j] !== 0) && (!isStored || this.sums[i] === other.sums[j]);
  }

  /** The bytes of pages. Requires: they are in the range. */
  bytesOf(filePage: number, count: number): Buffer {
    const at = (filePage - this.from) * pageSize;
    return this.bytes.subarray(at, at + count * pageSize);
  }
}
