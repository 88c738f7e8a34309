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
  return sum(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
}

/** The memory under a view, in this process. */
export function memoryUnder({ address, buffer }: View): Memory {
  const end = address + buffer.byteLength;
  // One entry for each mapping: its addresses in the first line, then its numbers.
  const entries = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const under = entries.filter((entry) => {
    const start = Number.parseInt(entry, 16);
    return start >= address && start < end;
  });
  return sum(under.join(''));
}

export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function sum(smaps: string): Memory {
  const total = (field: string): number => {
    const lines = smaps.matchAll(new RegExp(`^${field}: +(\\d+) kB$`, 'gm'));
    return [...lines].reduce((bytes, [, kib]) => bytes + Number(kib) * 1024, 0);
  };
  return { rss: total('Rss'), pss: total('Pss') };
}
