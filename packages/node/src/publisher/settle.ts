/**
 * Waiting until a path of the disk is left alone.
 *
 * Nobody says when a writer is done with a file, so it counts as done when nothing has changed for a while. A
 * rename into place is whole at once, but looks no different; it waits as long.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { type DiskEntry, lookAt } from './disk-entry.ts';

export interface SettleOptions {
  readonly settleMs: number;
  readonly signal: AbortSignal;
  /**
   * What was last changed longer ago than `settleMs` needs no waiting: for a first look at what lies there.
   */
  readonly trustAge: boolean;
}

/** What is at `path` once it has been the same for `settleMs`; undefined when that is nothing. */
export async function settled(path: string, options: SettleOptions): Promise<DiskEntry | undefined> {
  const { settleMs, signal, trustAge } = options;
  let entry = await lookAt(path);
  if (trustAge && entry !== undefined && ageMs(entry) > settleMs) return entry;
  // Only what is in a file comes bit by bit.
  while (entry === undefined || entry.kind === 'file') {
    await wait(settleMs, undefined, { signal });
    const next = await lookAt(path);
    if (isSame(entry, next)) return next;
    entry = next;
  }
  return entry;
}

function isSame(a: DiskEntry | undefined, b: DiskEntry | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.kind === b.kind && a.ino === b.ino && a.size === b.size && a.ctimeNs === b.ctimeNs;
}

/** Since the last change of content, attributes or name; negative when the clock was set back. */
const ageMs = ({ ctimeNs }: DiskEntry): number => Date.now() - Number(ctimeNs / 1_000_000n);
