/**
 * Files that have moved just now, on their way to be opened at their new homes by a node that maps them.
 * Until they are, this node does not say that it has applied the move: when that is answered, everybody has
 * them open.
 */
import { setTimeout as pause } from 'node:timers/promises';

/** A home that does not answer for so long holds nobody else up. */
const patienceMs = 2000;

export class Openings {
  readonly #under = new Set<Promise<void>>();

  add(opening: Promise<void>): void {
    const bounded = Promise.race([opening, pause(patienceMs, undefined, { ref: false })]).finally(() => {
      this.#under.delete(bounded);
    });
    this.#under.add(bounded);
  }

  /** Resolves when none is under way; undefined when none is. */
  get done(): Promise<void> | undefined {
    if (this.#under.size === 0) return undefined;
    return Promise.all(this.#under).then(() => this.done);
  }
}
