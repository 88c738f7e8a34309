/**
 * Nodes as processes that a test starts, stops, kills and starts again; nothing of them outlives the test.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Allowed, Limits } from '@cluster-fs/node';
import { type ClusterFs, mount, runDirectory } from 'cluster-fs';
import { onTestFinished } from 'vitest';

const MiB = 2 ** 20;

export interface NodeOptions {
  readonly memory?: number;
  readonly inodeCount?: number;
  readonly runDirectory?: string;
  /** A directory of a disk. */
  readonly store?: string;
  readonly writeBackMs?: number;
  readonly allowUids?: readonly Allowed[];
  readonly allowGids?: readonly Allowed[];
  readonly limits?: Partial<Limits>;
  /** Of the process, on top of the test's own. */
  readonly env?: Readonly<Record<string, string>>;
  readonly onConflict?: 'wait' | 'deny' | 'revoke';
  readonly recallDeadlineMs?: number;
  /** Bytes of the segment, with a store or in a cluster. */
  readonly capacity?: number;
  /** Where other nodes join it; a node that joins itself keeps files then. */
  readonly peerPort?: number;
  /** Where the node is whose files it shall have. */
  readonly joinPort?: number;
  /** Of either port; default: loopback. */
  readonly peerHost?: string;
  /** Where a node that joins listens itself; default: `peerHost`. */
  readonly ownHost?: string;
  /** What nodes prove themselves with to each other; without, loopback alone will do. */
  readonly token?: string;
  /** What it is called in the cluster. */
  readonly name?: string;
  /** In front of the command that starts it. */
  readonly enter?: readonly string[];
}

interface Message {
  readonly kind: 'ready' | 'refused' | 'error' | 'notice';
  readonly recovered?: boolean;
  readonly code?: string;
  readonly text?: string;
}

export interface NodeProcess {
  readonly url: string;
  readonly socketPath: string;
  readonly runDirectory: string;
  readonly pid: number;
  /** What the node could not tell any client, and what it wrote to stderr: bugs of its own. */
  readonly errors: string[];
  /** What the node told its operator. */
  readonly notices: string[];
  /** Whether the last start went on with what a node of before had left. */
  readonly recovered: boolean;
  readonly isAlive: boolean;
  /** Open descriptors of the node, by what they are. */
  descriptors(): string[];
  rssBytes(): number;
  start(): Promise<void>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a node on a socket of its own. The test's end kills it and removes all it left. */
export async function startNodeProcess(options: NodeOptions = {}): Promise<NodeProcess> {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-chaos-'));
  const socketPath = join(home, 'node.sock');
  const directory = options.runDirectory ?? runDirectory(socketPath);
  const errors: string[] = [];
  const notices: string[] = [];
  let child: ChildProcess | undefined;
  let recovered = false;
  const start = async (): Promise<void> => {
    const { env, enter, ...forNode } = options;
    const started = { memory: 64 * MiB, ...forNode, socketPath, runDirectory: directory };
    child = fork(programPath('node-program.mjs'), [JSON.stringify(started)], {
      ...commandFor(enter),
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      errors.push(chunk.toString());
    });
    child.on('message', ({ kind, text }: Message) => {
      if (kind === 'error') errors.push(text ?? '');
      if (kind === 'notice') notices.push(text ?? '');
    });
    const message = await firstAnswer(child);
    if (message.kind === 'refused') {
      throw Object.assign(new Error(`no node: ${message.text}`), { code: message.code });
    }
    recovered = message.recovered === true;
  };
  const end = async (signal: 'kill' | 'stop'): Promise<void> => {
    const ending = child;
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = once(ending, 'exit');
    if (signal === 'kill') ending.kill('SIGKILL');
    else ending.send('stop');
    await exited;
  };
  onTestFinished(async () => {
    await end('kill');
    for (const path of [home, directory]) rmSync(path, { recursive: true, force: true });
  });
  await start();
  const pidOf = () => child?.pid ?? 0;
  return {
    url: `unix:${socketPath}`,
    socketPath,
    runDirectory: directory,
    errors,
    notices,
    get pid() {
      return pidOf();
    },
    get recovered() {
      return recovered;
    },
    get isAlive() {
      return child?.exitCode === null && child.signalCode === null;
    },
    descriptors: () => readdirSync(`/proc/${pidOf()}/fd`),
    rssBytes: () => memoryOf(pidOf()),
    start,
    kill: () => end('kill'),
    stop: () => end('stop'),
  };
}

/** How to fork a program somewhere else: in place of node comes what leads there. */
export const commandFor = ([execPath, ...before]: readonly string[] = []) =>
  execPath === undefined ? { execArgv: [] } : { execPath, execArgv: [...before, process.execPath] };

export const programPath = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

async function firstAnswer(child: ChildProcess): Promise<Message> {
  return new Promise((resolve, reject) => {
    child.on('message', (message: Message) => {
      if (message.kind === 'ready' || message.kind === 'refused') resolve(message);
    });
    child.once('exit', (code, signal) =>
      reject(new Error(`the node ended before it was ready: ${code ?? signal}`)),
    );
  });
}

/** Resident memory of a process. */
export function memoryOf(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}

/** A directory for a node to store in; it goes with the test. */
export function newStore(): string {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  return store;
}

/** A mount that ends with the test. */
export async function mountForTest(node: Pick<NodeProcess, 'url'>): Promise<ClusterFs> {
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return fs;
}
