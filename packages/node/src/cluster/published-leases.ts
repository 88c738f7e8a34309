/** Leases of other homes where all processes of this host see them, also while this node stands still. */
import { forever, heldUntilNs, setHeldUntil } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';

const nsPerMs = 1e6;

/** Milliseconds of the clock that all processes of a host share. */
export const hostNowMs = (): number => Number(process.hrtime.bigint()) / nsPerMs;

/** `untilMs`: on that clock; undefined when there is nothing here of that home. */
export function publishLease(c: Coordinator, home: number, untilMs: number | undefined): void {
  const s = c.journal.published;
  const untilNs = untilMs === undefined ? 0n : BigInt(Math.floor(untilMs * nsPerMs));
  const before = heldUntilNs(s, home);
  if (before === untilNs) return;
  // Order: told before there is something to watch. Who watches already sees it by itself.
  if (before === 0n)
    for (const { ended, isGuest, control } of c.sessions.values())
      if (!ended && !isGuest) control.event('leases', {});
  setHeldUntil(s, home, untilNs);
}

/** Files of that home are this node's own. */
export const publishOwn = (c: Coordinator, home: number): void =>
  setHeldUntil(c.journal.published, home, forever);
