/** How much memory a process really costs, as the kernel counts it: proc_pid_smaps(5). */
import { readFileSync } from 'node:fs';
import type { View } from 'cluster-fs';

export interface Memory {
  /** Bytes of it that are in memory. */
  readonly rss: number;
  /** The same, but a page that several processes map counts for each of them by its share. */
  readonly pss: number;
}

/** All memory of a process. */
export function memoryOf(pid: number): Memory {
  return sum([readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')]);
}

/** The memory of a process that is mapped from files of such a name. */
export function memoryFrom(pid: number, name: RegExp): Memory {
  return sum(mappings(pid).filter((mapping) => name.test(mapping.split('\n', 1)[0] ?? '')));
}

/** The memory under a view of this process. */
export function memoryUnder({ address, buffer }: View): Memory {
  const end = address + buffer.byteLength;
  const isUnder = (start: number): boolean => start >= address && start < end;
  return sum(mappings(process.pid).filter((mapping) => isUnder(Number.parseInt(mapping, 16))));
}

export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Each begins with a line of its addresses and the file it is from; its numbers follow. */
function mappings(pid: number): string[] {
  return readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
}

function sum(mappings: readonly string[]): Memory {
  const total = (field: string): number => {
    const lines = mappings.join('').matchAll(new RegExp(`^${field}: +(\\d+) kB$`, 'gm'));
    return [...lines].reduce((bytes, [, kib]) => bytes + Number(kib) * 1024, 0);
  };
  return { rss: total('Rss'), pss: total('Pss') };
}
