/** Files that nobody here uses, and of which nothing is here, are given back to their home. */
import type { Holder } from 'cluster-fs/coherence';
import { InodeCopy, readInode } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { inoOf } from './blocks.ts';

/** How often they are looked for. */
const sweepMs = 1000;
/** The same while there are files without a name: their home may want the space. */
const orphanSweepMs = 100;

interface IdleParts {
  readonly c: Coordinator;
  readonly holder: Pick<Holder<Buffer>, 'isIn' | 'cache'>;
  /** Files that were opened at the home, and that no view here shows. */
  readonly idle: () => Iterable<number>;
  readonly at: {
    /** Files that this node is about to keep. */
    readonly taken: { has(ino: number): boolean };
    giveBack(ino: number): void;
    evict(ino: number): void;
  };
}

export class IdleFiles {
  readonly #parts: IdleParts;
  readonly #timers: readonly NodeJS.Timeout[];

  constructor(parts: IdleParts) {
    this.#parts = parts;
    this.#timers = [
      setInterval(() => this.#sweep(), sweepMs),
      setInterval(() => {
        if (parts.c.orphans.size > 0) this.#sweep();
      }, orphanSweepMs),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  #sweep(): void {
    const { c, holder, idle, at } = this.#parts;
    if (!holder.isIn) return;
    const used = new Set<number>();
    for (const block of holder.cache.blocks.keys()) used.add(inoOf(block));
    const inode = new InodeCopy();
    for (const ino of [...idle()]) {
      if (at.taken.has(ino) || c.references.has(ino)) continue;
      const isThere = readInode(c.segment, ino, inode) && inode.nlink > 0;
      if (!used.has(ino)) at.giveBack(ino);
      else if (!isThere) at.evict(ino);
    }
  }
}
