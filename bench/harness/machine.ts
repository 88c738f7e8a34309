/** What the figures were taken on: a figure without its machine says nothing. */
import { cpus, loadavg, release, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly node: string;
  /** Processes that wanted a core in the last minute: far from 0 at the start, others were at work. */
  readonly load: number;
}

export function machine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load: loadavg()[0] ?? 0,
  };
}

export const machineLine = ({ cpu, cores, memoryGib, kernel, node, load }: Machine): string =>
  `${cpu}, ${cores} cores, ${memoryGib} GiB, Linux ${kernel}, Node ${node}, load ${load.toFixed(2)}`;
