/** A node as one of its cluster: what it says of that, and how it leaves. */
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import { standDownMs, takeHome } from '../coordinator/sync.ts';
import type { Entered } from './enter.ts';
import type { ClusterHome } from './home.ts';
import type { Member } from './member.ts';

interface Telling {
  /** Where it has what it has in memory. */
  readonly directory: string;
  readonly onNotice: (message: string) => void;
}

/** Files of a node that stops go to others; what cannot stays for the next node that is started there. */
async function emptyOut(member: Member, { directory, onNotice }: Telling): Promise<void> {
  onNotice('moving the files that this node keeps to other nodes');
  const isEmpty = await member.empty().catch((error: unknown) => {
    onNotice(error instanceof Error ? error.message : String(error));
    return false;
  });
  if (!isEmpty)
    onNotice(`some files have no other place: they are kept in ${directory} for the next node there`);
}

/**
 * Before the end: what others have of this node's files comes home, and nobody is served any more; what it
 * has of theirs goes back.
 */
export async function standDown(c: Coordinator, { home, member }: Entered, telling: Telling): Promise<void> {
  const isStored = c.writeBack !== undefined;
  if (!isStored && member?.keepsSome === true) await emptyOut(member, telling);
  await home?.moving.settle(standDownMs);
  if (home !== undefined && (isStored || member?.keepsSome === true)) await takeHome(c);
  await home?.turnAway();
  await c.blocks?.giveUp();
  c.blocks?.bringBack();
}

/** What it is in its cluster. */
export function reportOf(home: ClusterHome | undefined, member: Member | undefined): ClusterReport | null {
  if (member === undefined) return home?.report ?? null;
  return home?.reportWith(member.report) ?? member.report;
}
