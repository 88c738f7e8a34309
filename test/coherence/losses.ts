/**
 * What is lost when the process of a home dies: the home that starts anew knows nothing of it, so whoever had
 * stored it must say so, as long as his own node lives.
 */
interface Stored {
  readonly node: number;
  /** Whether the node has said that it is lost, or may be. */
  isSaid: boolean;
}

export class Losses {
  /** The last store into each block. */
  readonly #last = new Map<number, Stored>();
  readonly #unsaid = new Map<Stored, number>();

  /** Undefined: by processes whose node is dead. */
  stored(block: number, node: number | undefined): void {
    if (node === undefined) this.#last.delete(block);
    else this.#last.set(block, { node, isSaid: false });
  }

  /** The block is not what was stored last. */
  lost(block: number): void {
    const last = this.#last.get(block);
    this.#last.delete(block);
    if (last !== undefined && !last.isSaid) this.#unsaid.set(last, block);
  }

  /** A node has said that what it stored into a block is lost, or may be. */
  said(block: number, node: number): void {
    const last = this.#last.get(block);
    if (last?.node === node) last.isSaid = true;
    for (const [stored, of] of this.#unsaid)
      if (of === block && stored.node === node) this.#unsaid.delete(stored);
  }

  /** Whoever knew of it is gone, or the home has lost what it had: nobody can say. */
  forget(isOne: (block: number, node: number) => boolean): void {
    for (const [block, { node }] of this.#last) if (isOne(block, node)) this.#last.delete(block);
    for (const [stored, block] of this.#unsaid) if (isOne(block, stored.node)) this.#unsaid.delete(stored);
  }

  assertAllSaid(): void {
    for (const [{ node }, block] of this.#unsaid)
      throw new Error(`what node ${node} stored into ${block} is lost, and it has not said so`);
  }
}
