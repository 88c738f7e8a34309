/** A node as one of its cluster: what it says of that, and how it leaves. */
import { setTimeout as pause } from 'node:timers/promises';
import type { PeerFailure } from '@cluster-fs/transport/peer';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { ClusterReport } from '../coordinator/elsewhere.ts';
import { hasHeldSession } from '../coordinator/session-locks.ts';
import { standDownMs, takeHome } from '../coordinator/sync.ts';
import type { Entered } from './enter.ts';
import type { ClusterHome } from './home.ts';
import type { Member } from './member.ts';
import { stopped } from './stopping.ts';

interface Telling {
  /** Where it has what it has in memory. */
  readonly directory: string;
  readonly onNotice: (message: string) => void;
}

/** Files of a node that stops go to others; what cannot stays for the next node that is started there. */
async function emptyOut(c: Coordinator, member: Member, { directory, onNotice }: Telling): Promise<void> {
  onNotice('moving the files that this node keeps to other nodes');
  let failures: readonly PeerFailure[] = [];
  const attempt = async (): Promise<boolean> => {
    try {
      failures = await member.empty();
    } catch (error) {
      onNotice(error instanceof Error ? error.message : String(error));
    }
    return !member.keepsSome;
  };
  // Of what a client of before a crash may touch nothing moves.
  const canMove = c.unresolved.size === 0;
  const isEmpty = canMove && ((await attempt()) || (endUnmoved(c) && (await attempt())));
  if (isEmpty) return;
  for (const { path, why } of failures) onNotice(`${path} stays: ${why}`);
  onNotice(`some files have no other place: they are kept in ${directory} for the next node there`);
}

/** How long nothing goes home because of a client that is in the way: in the middle of a write, say. */
const graceMs = 1000;

/**
 * Ends the sessions that hold files here since their clients keep what they map, and only read it; whether
 * there were any.
 */
function endUnmoved(c: Coordinator): boolean {
  const sessions = [...c.sessions.values()].filter(({ isGuest, userfault, views, grants }) => {
    const all = [...views.values()];
    const isInTheWay = userfault === undefined || all.some(({ follow }) => follow === 'manual');
    return !isGuest && isInTheWay && grants.size === 0 && all.every(({ mode }) => mode === 'r');
  });
  if (sessions.length === 0) return false;
  // They may go on to read what they have mapped.
  c.leaveMemory();
  for (const { control } of sessions) control.close(stopped('ECONNRESET'));
  return true;
}

/**
 * Before the end: what others have of this node's files comes home, and no other node is served any more;
 * what it has of theirs goes back. Its clients are served until then: who stores meanwhile into what goes
 * waits, and stores at the next node. `dismiss` ends their sessions, and says whether one goes on with what
 * is in memory.
 */
export async function standDown(
  c: Coordinator,
  { home, member }: Entered,
  { dismiss, ...telling }: Telling & { dismiss(): { readonly isLeft: boolean } },
): Promise<void> {
  const isStored = c.writeBack !== undefined;
  if (!isStored && member?.keepsSome === true) await emptyOut(c, member, telling);
  await home?.moving.settle(standDownMs);
  // Who does not hear what became of a move may stop before this node is there again, and lose what it has.
  await Promise.race([home?.migration?.settled(), pause(standDownMs, undefined, { ref: false })]);
  if (home !== undefined && (isStored || member?.keepsSome === true)) await takeHome(c);
  await home?.turnAway();
  await c.blocks?.giveUp(graceMs);
  // When the next node goes on, what is not at home by now is lost, and told, as when this one is killed.
  if (!dismiss().isLeft) await c.blocks?.giveUp(standDownMs);
  c.blocks?.bringBack();
}

/**
 * Whether the next node goes on with what is in memory: nothing else has it, or clients have it mapped, and
 * the files are there when this node is not.
 */
export function isGoneOnWith(c: Coordinator, { home, member }: Entered): boolean {
  const isStored = c.writeBack !== undefined;
  if (!isStored && member?.keepsSome === true) return true;
  const mayBe = isStored || (home !== undefined && member !== undefined);
  return mayBe && hasHeldSession(c.data.directory);
}

/** What it is in its cluster. */
export function reportOf(home: ClusterHome | undefined, member: Member | undefined): ClusterReport | null {
  if (member === undefined) return home?.report ?? null;
  return home?.reportWith(member.report) ?? member.report;
}
