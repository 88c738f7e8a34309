/**
 * Pages that no file has any more, and that a client may still map or store into. They are given to nobody
 * until each of those has let go: maps others and says so, closed the view, finished the write, or died.
 *
 *   freed ──nobody maps it──▶ free
 *     └──held (journalled)──all let go──▶ punched ──▶ free
 *
 * INVARIANT: a page in quarantine is set in the bitmap, is in no extent, and has a row in `held`.
 * INVARIANT: a view lets go of pages when it may map none of them, and not by the number of an answer: one
 * commit may change a file more than once, and a view that keeps old pages takes part in moves of others.
 */
import type { Run } from '@cluster-fs/transport';
import { overlap, pageCountOf } from './runs.ts';
import type { Grant, View } from './session.ts';

/** Whoever may still touch the pages: a view, or a write in place. */
export type Party = { readonly view: View } | { readonly grant: Grant };

/**
 * Whether a view may map one of these pages: by what it was told last, by what that replaces as long as it
 * has not answered, or by what it is told with the commit that is being made.
 */
export const mayMap = ({ extents, unanswered, planned }: View, runs: readonly Run[]): boolean =>
  overlap(extents, runs) ||
  unanswered.some(({ before }) => overlap(before, runs)) ||
  planned.some((next) => overlap(next, runs));

/** Whether the party can no longer touch these pages, whatever it was told meanwhile. */
export const hasLetGo = (party: Party, runs: readonly Run[]): boolean =>
  'view' in party
    ? party.view.session.views.get(party.view.id) !== party.view || !mayMap(party.view, runs)
    : party.grant.session.grants.get(party.grant.id) !== party.grant;

export interface Confined {
  /** Rows of `held`; undefined when nothing needed to survive a crash. */
  readonly heldId: number | undefined;
  readonly runs: readonly Run[];
  /** The file that had them, 0 when it is none any more. */
  readonly ino: number;
  readonly path: string;
  readonly sinceMs: number;
  readonly parties: Set<Party>;
}

export class Quarantine {
  readonly #confined = new Set<Confined>();
  readonly #free: (confined: Confined) => void;
  readonly #waiters = new Set<{ readonly confined: ReadonlySet<Confined>; done(): void }>();

  /** `free` gets what nobody holds any more. */
  constructor(free: (confined: Confined) => void) {
    this.#free = free;
  }

  get all(): ReadonlySet<Confined> {
    return this.#confined;
  }

  add(confined: Confined): void {
    this.#confined.add(confined);
    this.#freeIfEmpty(confined);
  }

  /** The view has a remap in place, or is gone. */
  viewAnswered(view: View): void {
    this.#look((party) => 'view' in party && party.view === view);
  }

  /** The write has ended. */
  grantEnded(grant: Grant): void {
    this.#look((party) => 'grant' in party && party.grant === grant);
  }

  /** How many pages were set apart after `sinceMs`: their holders may not have had the time to let go yet. */
  leaving(sinceMs: number): number {
    let pages = 0;
    for (const confined of this.#confined)
      if (confined.sinceMs > sinceMs) pages += pageCountOf(confined.runs);
    return pages;
  }

  /** Resolves to true when all that is confined now (of one file) is free, or to false after `deadlineMs`. */
  settled(deadlineMs: number, ino?: number): Promise<boolean> {
    const confined = new Set([...this.#confined].filter((c) => ino === undefined || c.ino === ino));
    if (confined.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiter = { confined, done: () => finish(true) };
      const finish = (settled: boolean): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        resolve(settled);
      };
      const timer = setTimeout(finish, deadlineMs, false);
      this.#waiters.add(waiter);
    });
  }

  #look(isOne: (party: Party) => boolean): void {
    for (const confined of this.#confined) {
      const { parties, runs } = confined;
      for (const party of parties) if (isOne(party) && hasLetGo(party, runs)) parties.delete(party);
      this.#freeIfEmpty(confined);
    }
  }

  #freeIfEmpty(confined: Confined): void {
    if (confined.parties.size > 0 || !this.#confined.delete(confined)) return;
    this.#free(confined);
    for (const waiter of this.#waiters) {
      if (![...waiter.confined].some((c) => this.#confined.has(c))) waiter.done();
    }
  }
}
