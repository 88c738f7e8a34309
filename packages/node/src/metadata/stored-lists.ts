/**
 * What is stored of the files that are synced again and again, as the next sync finds it. Files with many
 * extents are not worth their lists.
 */
import type { StoredExtent } from '../store/stored.ts';
import type { Change } from './store.ts';

const mostFiles = 4096;
const mostExtents = 64;

export class StoredLists {
  /** By inode; what was not asked for the longest time first. */
  readonly #lists = new Map<number, readonly StoredExtent[]>();

  get(ino: number, query: () => readonly StoredExtent[]): readonly StoredExtent[] {
    const known = this.#lists.get(ino);
    // Far from the limit, who was asked for last does not matter.
    if (known !== undefined && this.#lists.size < mostFiles / 2) return known;
    const list = known ?? query();
    this.#lists.delete(ino);
    if (list.length > mostExtents) return list;
    this.#lists.set(ino, list);
    const [oldest] = this.#lists.keys();
    if (this.#lists.size > mostFiles && oldest !== undefined) this.#lists.delete(oldest);
    return list;
  }

  changed(change: Change): void {
    if (change.type === 'putStored') this.#set(change.ino, change.extent.filePage, change.extent);
    else if (change.type === 'deleteStored') this.#set(change.ino, change.filePage, undefined);
    else if (change.type === 'forgetStored') this.#lists.delete(change.ino);
  }

  #set(ino: number, filePage: number, extent: StoredExtent | undefined): void {
    const list = this.#lists.get(ino);
    if (list === undefined) return;
    const others = list.filter((e) => e.filePage !== filePage);
    if (extent !== undefined) others.push(extent);
    this.#lists.set(
      ino,
      others.sort((a, b) => a.filePage - b.filePage),
    );
  }
}
