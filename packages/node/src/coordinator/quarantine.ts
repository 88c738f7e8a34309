/**
 * Pages that no file has any more, and that a client may still map or store into. They are given to nobody
 * until each of those has let go: acknowledged the remap, closed the view, finished the write, or died.
 *
 *   freed ──nobody maps it──▶ free
 *     └──held (journalled)──all let go──▶ punched ──▶ free
 *
 * INVARIANT: a page in quarantine is set in the bitmap, is in no extent, and has a row in `held`.
 */
import type { Run } from '@cluster-fs/transport';
import { pageCountOf } from './runs.ts';
import type { Grant, View } from './session.ts';

/** Whoever may still touch the pages: a view, until it acknowledged `serial`; or a write in place. */
export type Party = { readonly view: View; readonly serial: number } | { readonly grant: Grant };

/** Whether the party can no longer touch the pages, whatever it was told meanwhile. */
export const hasLetGo = (party: Party): boolean =>
  'view' in party
    ? party.view.session.views.get(party.view.id) !== party.view || party.view.ackedSerial >= party.serial
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

  /** The view has remap `serial` in place, or is gone (Infinity). */
  viewLetGo(view: View, serial: number): void {
    this.#remove((party) => 'view' in party && party.view === view && party.serial <= serial);
  }

  grantLetGo(grant: Grant): void {
    this.#remove((party) => 'grant' in party && party.grant === grant);
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

  #remove(leaves: (party: Party) => boolean): void {
    for (const confined of this.#confined) {
      for (const party of confined.parties) if (leaves(party)) confined.parties.delete(party);
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
