/**
 * Whether a tmpfs gives more than was asked for. Where it takes huge pages, one page that is written brings
 * its neighbours, as zeros: a page that is not there yet could not be told from one that is.
 */
import { readFileSync, statSync } from 'node:fs';
import { FsError } from '@cluster-fs/transport';

/** tmpfs(5): each of these may take a huge page for a write. 'advise' may not, since nobody gives that. */
const huge = /(?:^|,)huge=(always|within_size)(?:,|$)/;
const forcedBy = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';

/** @throws FsError ENOTSUP */
export function assertSmallPages(directory: string): void {
  const refuse = (why: string, cure: string): never => {
    throw new FsError('ENOTSUP', 'open', {
      path: directory,
      why: `${why}: pages could not be absent there. ${cure}, or have no store and no other nodes`,
    });
  };
  if (isForced()) refuse('all tmpfs takes huge pages', `Write another value than force to ${forcedBy}`);
  const { point = '', options = '' } = mountOf(directory) ?? {};
  const option = huge.exec(options)?.[1];
  if (option !== undefined)
    refuse(`${point} is mounted with huge=${option}`, `mount -o remount,huge=never ${point}`);
}

function isForced(): boolean {
  try {
    return readFileSync(forcedBy, 'utf8').includes('[force]');
  } catch {
    // A kernel without huge pages.
    return false;
  }
}

/** The mount that a path is on: proc_pid_mountinfo(5), which names it by the numbers of its device. */
function mountOf(path: string): { readonly point: string; readonly options: string } | undefined {
  const device = deviceName(statSync(path).dev);
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [mount = '', system = ''] = line.split(' - ');
    const [, , of, , point = ''] = mount.split(' ');
    if (of === device) return { point, options: system.split(' ')[2] ?? '' };
  }
  return undefined;
}

/** As makedev(3) puts them together. */
function deviceName(dev: number): string {
  const major = Math.floor(dev / 2 ** 8) & 0xfff;
  const minor = (dev & 0xff) | (Math.floor(dev / 2 ** 12) & 0xfff00);
  return `${major}:${minor}`;
}
