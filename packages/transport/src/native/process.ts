/** What /proc says of a process. */
import { readFileSync } from 'node:fs';

/** When it started, in clock ticks since boot (proc(5), stat, field 22); undefined when it is gone. */
export function processStartTime(pid: number): number | undefined {
  const stat = read(pid, 'stat');
  // The name in field 2 may hold anything, brackets too; what follows the last one is regular.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields?.[19] === undefined ? undefined : Number(fields[19]);
}

function read(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
      return undefined;
    throw error;
  }
}
