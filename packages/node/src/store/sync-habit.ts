/**
 * Which files are synced after each write, as a log or a journal is: the next write of such a file is stored
 * at once, and the sync that asks for it finds it under way.
 *
 *   unknown ──write, sync──▶ once ──write, sync──▶ foreseen
 *      ▲                                              │
 *      └──────────────── write, write ────────────────┘
 */

/** How often in a row a write was followed by a sync, for the next one to be foreseen. */
const enough = 2;

/** Files that are remembered; beyond that the one that was synced first is forgotten. */
const mostFiles = 1024;

interface Habit {
  pairs: number;
  isWritten: boolean;
}

export class SyncHabits {
  readonly #files = new Map<number, Habit>();

  /** Whether a sync is to be expected after this write. */
  wrote(ino: number): boolean {
    const habit = this.#files.get(ino);
    if (habit === undefined) return false;
    if (habit.isWritten) habit.pairs = 0;
    habit.isWritten = true;
    return habit.pairs >= enough;
  }

  synced(ino: number): void {
    const habit = this.#files.get(ino);
    if (habit === undefined) this.#remember(ino);
    else {
      if (habit.isWritten) habit.pairs++;
      habit.isWritten = false;
    }
  }

  forget(ino: number): void {
    this.#files.delete(ino);
  }

  #remember(ino: number): void {
    for (const first of this.#files.keys()) {
      if (this.#files.size < mostFiles) break;
      this.#files.delete(first);
    }
    this.#files.set(ino, { pairs: 0, isWritten: false });
  }
}
