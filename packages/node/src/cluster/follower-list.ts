/** Which nodes follow the coordinator, by their numbers: remembered over its end. */
import type { MetadataStore } from '../metadata/store.ts';

/** In the superblock. */
const key = 'followers';

export class FollowerList {
  readonly #store: MetadataStore;
  readonly #nodeIds: Set<number>;
  #isClosed = false;

  constructor(store: MetadataStore) {
    this.#store = store;
    const text = store.superblock(key) ?? '';
    this.#nodeIds = new Set(text.split(' ').filter(Boolean).map(Number));
  }

  get nodeIds(): ReadonlySet<number> {
    return this.#nodeIds;
  }

  /** On the disk when it returns: after a loss of power the node is there still, with what it has heard. */
  add(nodeId: number): void {
    if (this.#nodeIds.has(nodeId)) return;
    this.#nodeIds.add(nodeId);
    this.#save();
    this.#store.flushNow();
  }

  delete(nodeId: number): void {
    if (!this.#isClosed && this.#nodeIds.delete(nodeId)) this.#save();
  }

  /** Who goes from here on goes because the coordinator does. */
  close(): void {
    this.#isClosed = true;
  }

  #save(): void {
    this.#store.setSuperblock({ [key]: [...this.#nodeIds].join(' ') });
  }
}
