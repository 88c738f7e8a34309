/**
 * Pages that come under a live array before the node can arm them. Who touches the view waits in this process
 * until it has: else a store, say, would go into a block of which others have copies, without a word.
 *
 *   shown ──pages come that are not armed──▶ paused ──the node has armed the last of them──▶ shown
 *
 * Pages may be absent then: to bring them in first takes as long as another node is away.
 */
import { pauseMapping, resumeMapping } from './mapping.ts';
import type { OpenView } from './open-views.ts';

interface ArmingOptions {
  /** Tells the node where the view is: when that resolves, all is armed that was under it then. */
  readonly tellWhere: (view: OpenView) => Promise<unknown>;
  readonly isOpen: (view: OpenView) => boolean;
  /** The view can be touched again. */
  readonly shown: (view: OpenView) => void;
}

export class Arming {
  readonly #options: ArmingOptions;
  /** What came last, another object each time. */
  readonly #unarmed = new WeakMap<OpenView, object>();

  constructor(options: ArmingOptions) {
    this.#options = options;
  }

  isUnarmed(view: OpenView): boolean {
    return this.#unarmed.has(view);
  }

  /** To be called before pages come that are not armed. False when nobody could be made to wait. */
  pause(view: OpenView): boolean {
    if (!pauseMapping(view.mapping)) return false;
    this.#unarmed.set(view, {});
    return true;
  }

  /** Has the node arm what is under the view. As long as that fails, it stays paused. */
  async arm(view: OpenView): Promise<void> {
    const { tellWhere, isOpen, shown } = this.#options;
    const last = this.#unarmed.get(view);
    await tellWhere(view);
    // Or more has come, and the node hears of it, too.
    if (last === undefined || this.#unarmed.get(view) !== last || !isOpen(view)) return;
    this.#unarmed.delete(view);
    resumeMapping(view.mapping);
    shown(view);
  }
}
