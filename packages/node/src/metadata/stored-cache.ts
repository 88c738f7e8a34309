/**
 * What was last asked of the table `stored`, in windows of pages: a file that is paged in is asked for again
 * and again, and a query takes as long as reading a page.
 */
import { extentPages, type StoredExtent } from '../store/stored.ts';
import type { Change } from './store.ts';

/** As long as an extent may be: one that begins in a window reaches into the next at most. */
const windowPages = extentPages;
/** Of 2 KiB of checksums each, mostly. */
const mostWindows = 1024;

type Query = (ino: number, from: number, end: number) => StoredExtent[];

export class StoredCache {
  readonly #query: Query;
  /** By inode and number of the window; what was not used for the longest time first. */
  readonly #files = new Map<number, Map<number, readonly StoredExtent[]>>();
  #windows = 0;

  constructor(query: Query) {
    this.#query = query;
  }

  /** The extents that have a page in `from` .. `end`, in order. */
  within(ino: number, from: number, end: number): StoredExtent[] {
    const windows = this.#files.get(ino) ?? new Map<number, readonly StoredExtent[]>();
    this.#files.delete(ino);
    this.#files.set(ino, windows);
    const found: StoredExtent[] = [];
    for (let window = Math.floor(from / windowPages); window * windowPages < end; window++) {
      for (const e of this.#window(ino, windows, window)) {
        // One that reaches over from the window before is there twice.
        const isNew = found.at(-1)?.filePage !== e.filePage;
        if (isNew && e.filePage < end && e.filePage + e.count > from) found.push(e);
      }
    }
    if (this.#windows > mostWindows) this.#drop();
    return found;
  }

  /** Forgets what a change makes wrong. */
  changed(change: Change): void {
    if (change.type === 'forgetStored') this.#forget(change.ino);
    else if (change.type === 'putStored') this.#forgetFrom(change.ino, change.extent.filePage);
    else if (change.type === 'deleteStored') this.#forgetFrom(change.ino, change.filePage);
  }

  #window(
    ino: number,
    windows: Map<number, readonly StoredExtent[]>,
    window: number,
  ): readonly StoredExtent[] {
    const known = windows.get(window);
    if (known !== undefined) return known;
    const extents = this.#query(ino, window * windowPages, (window + 1) * windowPages);
    windows.set(window, extents);
    this.#windows++;
    return extents;
  }

  #forgetFrom(ino: number, filePage: number): void {
    const windows = this.#files.get(ino);
    const first = Math.floor(filePage / windowPages);
    for (const window of [first, first + 1]) if (windows?.delete(window) === true) this.#windows--;
  }

  #forget(ino: number): void {
    this.#windows -= this.#files.get(ino)?.size ?? 0;
    this.#files.delete(ino);
  }

  /** The files that were not used for the longest time; the one in use, too, when it alone is too much. */
  #drop(): void {
    for (const ino of this.#files.keys()) {
      if (this.#windows <= mostWindows / 2) return;
      this.#forget(ino);
    }
  }
}
