/** What /proc says of a process. */
import { fstatSync, readdirSync, readFileSync, statSync } from 'node:fs';

/** When it started, in clock ticks since boot (proc(5), stat, field 22); undefined when it is gone. */
export function processStartTime(pid: number): number | undefined {
  const stat = unlessGone(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // The name in field 2 may hold anything, brackets too; what follows the last one is regular.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields?.[19] === undefined ? undefined : Number(fields[19]);
}

/**
 * False when a process has the file of `fd` neither open nor mapped, so that no thread of it reads or stores
 * there, and none will before somebody gives it the file. True also when that cannot be told: the process is
 * another user's (ptrace(2), "access mode checking"), or is just ending. Requires: a file of tmpfs; others
 * may show another device in maps than in stat.
 */
export function mayTouchFile(pid: number, fd: number): boolean {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  try {
    // Descriptors first: without one, no mapping comes that is not there yet.
    for (const name of readdirSync(`/proc/${pid}/fd`)) {
      const stat = unlessGone(() => statSync(`/proc/${pid}/fd/${name}`, { bigint: true }));
      if (stat?.dev === dev && stat.ino === ino) return true;
    }
    const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
    // None at all: its first thread is gone, others may be in the middle of a call still.
    return maps === '' || mapsOf(deviceText(dev), ino).test(maps);
  } catch (error) {
    if (error instanceof Error && 'code' in error) return true;
    throw error;
  }
}

/** Finds a line of /proc/PID/maps (proc(5)): addresses, rights, offset, device, inode. */
const mapsOf = (device: string, ino: bigint): RegExp =>
  new RegExp(`^\\S+ \\S+ \\S+ ${device} ${ino}(?: |$)`, 'm');

/** As maps shows it; `dev` as in makedev(3), with 12 bits of major and 20 of minor below 2^32. */
function deviceText(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffffffffn);
  return [major, minor].map((n) => n.toString(16).padStart(2, '0')).join(':');
}

/** Undefined when the process, or what was asked of it, is gone. */
function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH'))
      return undefined;
    throw error;
  }
}
