/** A node in a process of its own, on a socket that nobody else has, and a mount of it here. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type ClusterFs, mount, runDirectory } from 'cluster-fs';
import { onEnd } from './cleanup.ts';
import { stopChild } from './processes.ts';

export interface Cluster {
  readonly url: string;
  readonly nodePid: number;
  /** Where other nodes join; '' when none may. */
  readonly peerUrl: string;
  readonly fs: ClusterFs;
}

/** A directory that goes with the bench. `base` is a tmpfs where contenders have their files. */
export function temporaryDirectory(base = tmpdir()): string {
  const directory = mkdtempSync(joinPath(base, 'clusterfs-bench-'));
  onEnd(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A directory on tmpfs: node:fs at its fastest. */
export const tmpfsDirectory = (): string => temporaryDirectory('/dev/shm');

export interface NodeOptions {
  readonly memory: number;
  /** A directory of a disk; without it files live in memory alone. */
  readonly store?: string;
  /** Bytes of files beyond memory; with a store. */
  readonly capacity?: number;
  /** How old a change may become before it is stored. */
  readonly writeBackMs?: number;
  /** Other nodes may join it, on a port that it chooses. */
  readonly forNodes?: boolean;
  /** Where the node is whose files it shall have. */
  readonly join?: string;
  /** As other nodes know it. */
  readonly name?: string;
}

export async function startCluster(options: NodeOptions): Promise<Cluster> {
  const { url, nodePid, peerUrl } = await startNode(options);
  const fs = await mount(url);
  onEnd(() => fs.unmount());
  return { url, nodePid, peerUrl, fs };
}

export interface RunningNode {
  readonly url: string;
  readonly nodePid: number;
  readonly peerUrl: string;
  stop(): Promise<void>;
}

export async function startNode(options: NodeOptions): Promise<RunningNode> {
  const { memory, store, capacity, writeBackMs, forNodes = false, join, name } = options;
  const socket = joinPath(temporaryDirectory(), 'node.sock');
  // A node that was killed leaves its run directory for the next one; here there is no next one.
  onEnd(() => rmSync(runDirectory(store ?? socket), { recursive: true, force: true }));
  const args = ['serve', '--json', '--listen', `unix:${socket}`, '--memory', String(memory)];
  if (store !== undefined) args.push('--store', store);
  if (capacity !== undefined) args.push('--capacity', String(capacity));
  if (writeBackMs !== undefined) args.push('--write-back', String(writeBackMs));
  if (forNodes) args.push('--listen', 'tcp://127.0.0.1:0');
  if (join !== undefined) args.push('--join', join);
  if (name !== undefined) args.push('--name', name);
  const endWithParent = new URL('../children/end-with-parent.mjs', import.meta.url).href;
  const node = fork(command, args, {
    execArgv: ['--import', endWithParent, ...profiling()],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  onEnd(() => stopChild(node));
  const [said] = await Promise.race([
    once(node.stdout as Readable, 'data') as Promise<[Buffer]>,
    once(node, 'exit').then((): [Buffer] => {
      throw new Error('the node did not start');
    }),
  ]);
  node.stdout?.resume();
  const peerUrl = /tcp:[^"]+/.exec(said.toString())?.[0] ?? '';
  return { url: `unix:${socket}`, nodePid: node.pid ?? 0, peerUrl, stop: () => stopChild(node) };
}

const command = fileURLToPath(new URL('../bin/clusterfs.js', import.meta.resolve('@cluster-fs/node')));

/** With --profile the node writes a CPU profile beside the results when it ends. */
function profiling(): string[] {
  const { BENCH_PROFILE: directory } = process.env;
  return directory === undefined
    ? []
    : ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=200'];
}
