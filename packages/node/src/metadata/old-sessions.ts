/**
 * Sessions of a node of before schema 6, which named them by process. Their clients have no locks, and speak
 * another protocol: they do not come back, and may store for as long as they live.
 */
import { readFileSync } from 'node:fs';
import { FsError } from '@cluster-fs/transport';

export interface OldSession {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), field 22): tells a process from a later one with the same pid. */
  readonly startTime: number;
}

/** @throws FsError EBUSY while the process lives: nothing may become of its pages */
export function assertOver({ pid, startTime }: OldSession): void {
  if (startTimeOf(pid) !== startTime) return;
  const why = `pid ${pid} mounted it while an older version served, and may store still: end it first`;
  throw new FsError('EBUSY', 'open', { why });
}

function startTimeOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined;
    throw error;
  }
  // The name in field 2 may hold anything, brackets too; what follows the last one is regular.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // A zombie has no memory any more.
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
}
