/** What the coordinator tells of the nodes of its cluster. */
import type { PeerIdentity, PeerLink } from '@cluster-fs/transport/peer';
import type { NodeReport } from '../coordinator/elsewhere.ts';
import type { Follower } from './feed.ts';
import type { Roster } from './roster.ts';

interface Joined {
  readonly identity: PeerIdentity;
  readonly follower: Follower | undefined;
  readonly link: PeerLink | undefined;
}

/** `sequence`: of the last commit. `kept`: bytes, by the numbers of nodes. */
export function nodeReports(
  peers: Iterable<Joined>,
  { roster, kept, sequence }: { roster: Roster; kept: ReadonlyMap<number, number>; sequence: number },
): NodeReport[] {
  const joined = [...peers].map(({ identity, follower, link }) => {
    const number = roster.named(identity.nodeId)?.number;
    return {
      nodeId: identity.nodeId,
      name: identity.name,
      url: link?.url ?? null,
      behind: sequence - (follower?.appliedSequence ?? 0),
      keptBytes: number === undefined ? null : (kept.get(number) ?? 0),
    };
  });
  const away = roster.keepers
    .filter(({ nodeId, number }) => kept.has(number) && !joined.some((each) => each.nodeId === nodeId))
    .map(({ name, number }) => ({ name, url: null, behind: 0, keptBytes: kept.get(number) ?? 0 }));
  return [...joined.map(({ nodeId: _, ...report }) => report), ...away];
}
