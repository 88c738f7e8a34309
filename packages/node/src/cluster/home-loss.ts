/**
 * What touches get while the home of a file is away for longer than a lease, as each client has said
 * (`onHomeLoss`):
 *
 *   wait     nothing: they wait until it is back
 *   fail     SIGBUS; when it is back, what was refused is fetched and shown again
 *   poison   SIGBUS, in all of the view, for as long as it is mapped
 */
import type { FsError } from '@cluster-fs/transport';
import { pagesFor } from '../coordinator/content.ts';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { poison } from '../coordinator/poison.ts';
import { isOpen, showGrown } from '../coordinator/remap.ts';
import type { View } from '../coordinator/session.ts';
import { blocksIn, inoOf, rangeOf } from './blocks.ts';
import { bringToShow } from './bring.ts';

export interface HomeLossParts {
  readonly c: Coordinator;
  /** Whether the node that may be away is the home of the file. */
  readonly isHome: (ino: number) => boolean;
  /** What the node has called its memory beside its store, also to a node of before. */
  readonly memory: { name: string | undefined };
  /** The node is there again, and has of its files what it had synced. */
  readonly lostMemory: () => void;
  /** What requests fail with meanwhile. */
  readonly unreachable: () => FsError;
  /** Whether anything of the block is here still. */
  readonly isHere: (block: number) => boolean;
}

export class HomeLoss {
  readonly #parts: HomeLossParts;
  /** Blocks whose touches were refused, in views that go on when the home is back. */
  readonly #refused = new Map<View, Set<number>>();
  readonly #poisoned = new WeakSet<View>();
  isAway = false;

  constructor(parts: HomeLossParts) {
    this.#parts = parts;
  }

  /** The lease is over. `waiting`: blocks that somebody has touched in vain. */
  away(waiting: Iterable<number>): void {
    const { c, isHome } = this.#parts;
    this.isAway = true;
    for (const [ino, views] of c.views) {
      if (!isHome(ino)) continue;
      for (const view of views)
        if (!view.isCopy && view.session.onHomeLoss === 'poison') this.#poisonAll(view);
    }
    for (const block of waiting) this.#refuse(block);
  }

  #poisonAll(view: View): void {
    this.#poisoned.add(view);
    // It may be mapped for a file that is to grow much.
    const pages = Math.max(0, Math.min(view.pages, pagesFor(view.size) - view.from));
    for (const block of blocksIn(view.ino, { from: view.from, count: pages }))
      if (!this.#parts.isHere(block)) poison(view, rangeOf(block));
  }

  /** Whether a touch of a block that is not here is answered by this: it is refused. */
  refuses(view: View, block: number): boolean {
    if (this.#poisoned.has(view)) poison(view, rangeOf(block));
    else if (this.isAway && view.session.onHomeLoss !== 'wait') this.#refuse(block);
    else return false;
    return true;
  }

  unreachable(): FsError {
    return this.#parts.unreachable();
  }

  assertThere(): void {
    if (this.isAway) throw this.unreachable();
  }

  /** All who do not wait for it. */
  #refuse(block: number): void {
    for (const view of this.#parts.c.viewsOf(inoOf(block))) {
      if (view.isCopy || view.session.onHomeLoss === 'wait') continue;
      if (view.session.onHomeLoss === 'poison') this.#poisoned.add(view);
      else this.#keep(view, block);
      poison(view, rangeOf(block));
    }
  }

  #keep(view: View, block: number): void {
    // Clients come, are refused, and die, for as long as the home is away.
    for (const known of this.#refused.keys()) if (!isOpen(this.#parts.c, known)) this.#refused.delete(known);
    this.#refused.set(view, (this.#refused.get(view) ?? new Set()).add(block));
  }

  /** The home names its memory. */
  hears(name: string): void {
    const { memory, lostMemory } = this.#parts;
    const before = memory.name;
    if (before === name) return;
    if (before !== undefined) lostMemory();
    memory.name = name;
  }

  /** The home is back. */
  back(): void {
    this.isAway = false;
    for (const [view, blocks] of this.#refused) {
      this.#refused.delete(view);
      for (const block of blocks)
        this.#showAgain(view, block).catch((error: unknown) => this.#parts.c.hub.report(error));
    }
  }

  async #showAgain(view: View, block: number): Promise<void> {
    const { c } = this.#parts;
    if (!isOpen(c, view)) return;
    try {
      await bringToShow(c, view.ino, rangeOf(block), [view]);
    } catch (error) {
      if (isOpen(c, view)) this.#keep(view, block);
      throw error;
    }
    if (isOpen(c, view)) showGrown(c, view, rangeOf(block));
  }
}
