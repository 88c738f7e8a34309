/** A node in a process of its own, on a socket that nobody else has, and a mount of it here. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount, runDirectory } from 'cluster-fs';
import { onEnd } from './cleanup.ts';
import { startChild } from './processes.ts';

export interface Cluster {
  readonly url: string;
  readonly nodePid: number;
  readonly fs: ClusterFs;
}

/** A directory that goes with the bench. `base` is a tmpfs where contenders have their files. */
export function temporaryDirectory(base = tmpdir()): string {
  const directory = mkdtempSync(join(base, 'clusterfs-bench-'));
  onEnd(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A directory on tmpfs: node:fs at its fastest. */
export const tmpfsDirectory = (): string => temporaryDirectory('/dev/shm');

export async function startCluster({ memory }: { memory: number }): Promise<Cluster> {
  const { url, nodePid } = await startNode({ memory });
  const fs = await mount(url);
  onEnd(() => fs.unmount());
  return { url, nodePid, fs };
}

export async function startNode({ memory }: { memory: number }): Promise<{ url: string; nodePid: number }> {
  const socket = join(temporaryDirectory(), 'node.sock');
  // A node that was killed leaves its run directory for the next one; here there is no next one.
  onEnd(() => rmSync(runDirectory(socket), { recursive: true, force: true }));
  const node = startChild('node.mjs', [socket, String(memory)], profiling());
  await Promise.race([
    once(node, 'message'),
    once(node, 'exit').then(() => Promise.reject(new Error('the node did not start'))),
  ]);
  return { url: `unix:${socket}`, nodePid: node.pid ?? 0 };
}

/** With --profile the node writes a CPU profile beside the results when it ends. */
function profiling(): string[] {
  const { BENCH_PROFILE: directory } = process.env;
  return directory === undefined
    ? []
    : ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=200'];
}
