/** A node as one of its cluster: what it says of that, and how it leaves. */
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import type { ClusterHome } from './home.ts';
import type { Member } from './member.ts';

/** Files of a node that stops go to others; what cannot stays for the next node that is started there. */
export async function emptyOut(member: Member, directory: string, onNotice: (message: string) => void) {
  onNotice('moving the files that this node keeps to other nodes');
  const isEmpty = await member.empty().catch((error: unknown) => {
    onNotice(error instanceof Error ? error.message : String(error));
    return false;
  });
  if (!isEmpty)
    onNotice(`some files have no other place: they are kept in ${directory} for the next node there`);
}

/** What it is in its cluster. */
export function reportOf(home: ClusterHome | undefined, member: Member | undefined): ClusterReport | null {
  if (member === undefined) return home?.report ?? null;
  return home?.reportWith(member.report) ?? member.report;
}
