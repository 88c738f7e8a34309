/**
 * A disk that takes so many writes a second and no more, as those of clouds do: for one process, by the block
 * controller of its control group (v1 or v2). As root.
 */
import { existsSync, mkdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onEnd } from './cleanup.ts';

const root = '/sys/fs/cgroup';

/**
 * From now on, until the bench ends, process `pid` writes to the disk of `directory` so often at most. Why
 * that cannot be had here, or undefined.
 */
export function limitWrites(pid: number, directory: string, perSecond: number): string | undefined {
  const group = groupOn(existsSync(join(root, 'blkio')) ? 'v1' : 'v2');
  const { dev } = statSync(directory);
  // As makedev(3) packs them, in the numbers that disks have.
  const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  try {
    mkdirSync(group.path);
    writeFileSync(join(group.path, group.file), group.limit(device, perSecond));
    writeFileSync(join(group.path, 'cgroup.procs'), String(pid));
  } catch (error) {
    if (existsSync(group.path)) rmdirSync(group.path);
    return (error as Error).message;
  }
  onEnd(() => {
    // The node may be there still: back to where all are.
    writeFileSync(join(group.path, '..', 'cgroup.procs'), String(pid));
    rmdirSync(group.path);
  });
  return undefined;
}

interface Group {
  readonly path: string;
  readonly file: string;
  limit(device: string, perSecond: number): string;
}

function groupOn(version: 'v1' | 'v2'): Group {
  const name = `clusterfs-bench-${process.pid}`;
  return version === 'v1'
    ? {
        path: join(root, 'blkio', name),
        file: 'blkio.throttle.write_iops_device',
        limit: (device, perSecond) => `${device} ${perSecond}`,
      }
    : {
        path: join(root, name),
        file: 'io.max',
        limit: (device, perSecond) => `${device} wiops=${perSecond}`,
      };
}
