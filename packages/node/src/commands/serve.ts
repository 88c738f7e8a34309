/**
 * `clusterfs serve`: a node until a signal ends it.
 *
 *   starting ──▶ loading what is published ──▶ ready ──signal──▶ stopped (exit 0)
 *       └───────────────┴──signal──▶ stopped (exit 130)
 *
 * After an error that nobody caught the process ends at once: it must not go on writing shared memory. The
 * next node on the same socket goes on with what it leaves.
 */
import { resolve } from 'node:path';
import { FsError } from '@cluster-fs/transport';
import { formatPeerUrl, type PeerAddress } from '@cluster-fs/transport/peer';
import { defaultSocket } from 'cluster-fs/address';
import { type Command, InvalidArgumentError } from 'commander';
import type { Allowed } from '../admission.ts';
import { removeAbandoned } from '../claim.ts';
import type { LimitName } from '../limits.ts';
import { type ClusterNode, type NodeOptions, runDirectoryOf, startAlone } from '../node.ts';
import { closedDirectory, parseAllowed, parseLimit } from './allow-option.ts';
import {
  addClusterOptions,
  type ClusterCliOptions,
  clusterOptions,
  peerAddressIn,
} from './cluster-option.ts';
import { logEvents } from './event-log.ts';
import { createLog, type Log } from './log.ts';
import { type Publication, type Published, parsePublication, startPublishing } from './publish-option.ts';
import { addRecallOptions, type RecallOptions, recallPolicy } from './recall-option.ts';
import { count, formatDuration, formatSize, parseCount, parseSize } from './size.ts';
import { asServer, type Host, type Run, verb } from './verb.ts';

interface Options extends RecallOptions, ClusterCliOptions {
  readonly json?: true;
  readonly listen?: readonly (string | PeerAddress)[];
  readonly memory?: number;
  readonly inodes?: number;
  readonly store?: string;
  readonly writeBack?: number;
  readonly capacity?: number;
  readonly allowUid?: readonly Allowed[];
  readonly allowGid?: readonly Allowed[];
  readonly limit?: readonly (readonly [LimitName, number])[];
  readonly publish?: readonly Publication[];
  readonly settle?: number;
  readonly verbose?: true;
}

const defaultMemory = 2 ** 30;

const description =
  'Without --store the files live in shared memory and nowhere else: when the node is stopped, they ' +
  'are gone. A node that crashed, or was killed, loses nothing: start it again on the same socket, ' +
  'and it goes on.\n\n' +
  'With --store they outlive memory and power. What was synced (fsync, `clusterfs sync`) is there ' +
  'after any crash; a loss of power takes at most what was changed in the last --write-back ' +
  'milliseconds.\n\n' +
  'A published directory is followed: a file is replaced in one step once it has been left alone for ' +
  'a while, so that nobody sees half of it, and live views show the new content. Links that lead out ' +
  'of the directory, sockets and pipes are left out. What clients change there stays until the disk ' +
  'changes too.\n\n' +
  'Other nodes join where it listens on tcp:, with --join; they have its files, from memory of their ' +
  'own (docs/cluster.md). One that also listens on tcp: can keep files itself: clusterfs move --to. ' +
  'Where this one has a --store, those that keep files have one each. All have one token, or ' +
  'certificates; without, they are on one machine.\n\n' +
  'Only you and root may connect. --allow-uid and --allow-gid let others in, by number or name; with ' +
  ':r behind it they may read and not change. The socket must lie where they can reach it.';

export function addServe(program: Command, host: Host): void {
  const serving = verb(program, 'serve', {
    summary: 'start a node, and serve until Ctrl-C',
    description,
    examples: [
      'clusterfs serve --memory 4GiB',
      'clusterfs serve --store /var/lib/clusterfs   # files outlive the node',
      'clusterfs serve --listen unix:/run/app/cluster.sock --allow-gid app --allow-uid 1000:r',
      'clusterfs serve --publish ./models:/models   # /models follows the directory',
      'clusterfs serve --listen tcp://0.0.0.0:7070 --token-file token',
      'clusterfs serve --join tcp://a:7070 --token-file token   # on another host: the files of a',
      'clusterfs serve --join tcp://a:7070 --listen tcp://0.0.0.0:7070 --token-file token   # keeps some',
      'clusterfs serve --on-conflict revoke         # no client may stop a file from being changed',
    ],
  })
    .option(
      '--listen <url>',
      'unix:PATH for programs, tcp://HOST:PORT for nodes that join; repeatable (default: the default socket)',
      collect(place),
    )
    .option('--memory <size>', 'of files: 64MiB, 1GiB, 512M, bytes (default: 1GiB)', parseSize)
    .option('--inodes <count>', 'how many files and directories there may be (default: 1048576)', parseCount)
    .option('--capacity <size>', 'of all files, with a store (default: eight times --memory)', parseSize)
    .option('--store <dir>', 'a directory of a disk where files outlive memory; made if need be')
    .option(
      '--write-back <ms>',
      'how old a change may become before it is stored (default: 5000)',
      parseCount,
    )
    .option(
      '--allow-uid <user>',
      'let this user in too, with :r only to read; repeatable',
      collect(parseAllowed('passwd')),
    )
    .option(
      '--allow-gid <group>',
      'let members of this group in too, with :r only to read; repeatable',
      collect(parseAllowed('group')),
    )
    .option(
      '--limit <name=amount>',
      'what a client may take (views=1000, keptBytes=64MiB; all in docs/security.md); repeatable',
      collect(parseLimit),
    );
  addClusterOptions(serving);
  addRecallOptions(serving)
    .option(
      '--publish <dir:path>',
      'show a directory of the disk there, and follow it; repeatable',
      collect(parsePublication),
    )
    .option(
      '--settle <ms>',
      'how long a published file must be left alone to count as written (default: 100)',
      parseCount,
    )
    .option('--verbose', 'log to stderr in JSON what goes on')
    .action(
      asServer(host, serve, ({ join }: Options) => (join === undefined ? undefined : formatPeerUrl(join))),
    );
}

async function serve(run: Run, options: Options): Promise<void> {
  const { signal, out } = run;
  const log = await createLog({ verbose: options.verbose === true });
  endOnBug(run.host, log);
  const node = await start(options, log, signal);
  const stopLog = options.verbose === true ? await logEvents(node, log) : undefined;
  try {
    const { publish: publications = [], settle: settleMs = 100 } = options;
    const publishing = await startPublishing(run, node, { publications, settleMs, log });
    try {
      signal.throwIfAborted();
      announce(run, node, publishing.published);
      await aborted(signal);
    } finally {
      await publishing.stop();
    }
  } finally {
    await stopLog?.();
    await node.stop();
  }
  out.say('clusterfs: stopped');
}

async function start(options: Options, log: Log, signal: AbortSignal): Promise<ClusterNode> {
  const { listen = [], memory = defaultMemory, inodes, store, writeBack, capacity } = options;
  const { allowUid = [], allowGid = [], limit = [] } = options;
  const [first = resolve(defaultSocket()), ...alsoListen] = new Set(
    listen.filter((each) => typeof each === 'string'),
  );
  const forNodes = listen.filter((each) => typeof each !== 'string');
  const node = await startAs({ ...options, signal }, forNodes, {
    socketPath: first,
    alsoListen,
    memory,
    ...(inodes === undefined ? {} : { inodeCount: inodes }),
    ...(store === undefined ? {} : { store }),
    ...(capacity === undefined ? {} : { capacity }),
    ...(writeBack === undefined ? {} : { writeBackMs: writeBack }),
    ...recallPolicy(options),
    allowUids: allowUid,
    allowGids: allowGid,
    limits: Object.fromEntries(limit),
    onError: (error) => log.error(failureOf(error), error),
    onNotice: (message) => log.notice(message),
  });
  try {
    for (const address of forNodes) await node.listen(address);
  } catch (error) {
    await node.stop();
    throw error;
  }
  const closed = allowUid.length + allowGid.length > 0 ? closedDirectory(first) : undefined;
  if (closed !== undefined)
    log.notice(`${closed} may not be entered by all: who is allowed may not get here`);
  return node;
}

/** A disk that fails is no fault of the node, and says itself what it is. */
const failureOf = (error: unknown): string =>
  error instanceof FsError ? 'not done' : 'a request failed by a fault of the node';

/** A node that has its own files, or one that has those of another. */
async function startAs(
  options: Options & { readonly signal: AbortSignal },
  forNodes: readonly PeerAddress[],
  common: NodeOptions,
): Promise<ClusterNode> {
  const { join, signal } = options;
  assertFit(options, forNodes);
  removeAbandoned({ own: runDirectoryOf(common) });
  if (join === undefined && forNodes.length === 0) return startAlone(common);
  const { joinNode, startNode } = await import('../cluster/start.ts');
  if (join === undefined) return startNode({ ...common, cluster: clusterOptions(options) });
  const keeps = forNodes.length > 0;
  return joinNode({ ...common, cluster: clusterOptions(options), join, keeps, signal });
}

/** EINVAL for options that do not go together. */
function assertFit(options: Options, forNodes: readonly PeerAddress[]): void {
  const { join, store, publish, inodes, tokenFile, certDir } = options;
  const refuse = (why: string): never => {
    throw new FsError('EINVAL', 'serve', { why });
  };
  const isAlone = forNodes.length === 0;
  if (join === undefined && isAlone && (tokenFile ?? certDir) !== undefined)
    refuse('a token or certificates are for other nodes: give --join, or --listen tcp://HOST:PORT');
  if (join === undefined) return;
  if (store !== undefined && isAlone)
    refuse('a node with a store keeps files, and others must reach it: give --listen tcp://HOST:PORT, too');
  if (publish !== undefined) refuse('publish where the home of the files is');
  if (inodes !== undefined) refuse('the home says how many inodes there are');
}

function announce(
  { out }: Run,
  { facts, recovered, coordinator, member }: ClusterNode,
  published: readonly Published[],
): void {
  const { dataSize } = coordinator.segment;
  const { listening, persistent } = facts;
  const directory = coordinator.data.directory;
  out.result({
    ready: true,
    url: listening[0],
    listening,
    pid: process.pid,
    segmentBytes: dataSize,
    runDirectory: directory,
    recovered,
    persistent,
    published,
  });
  if (recovered) out.say('clusterfs: went on with what a node of before had left');
  for (const { directory: from, path, files, bytes, elapsedMs } of published) {
    const what = `${count(files, 'file')}, ${formatSize(bytes)} from ${from} as ${path}`;
    out.say(`clusterfs: published ${what} in ${formatDuration(elapsedMs)}`);
  }
  const segment = `segment ${formatSize(dataSize)} in ${directory}`;
  out.say(`clusterfs: ready on ${listening.join(', ')} (${segment}, pid ${process.pid})`);
  const where = coordinator.writeBack?.report.path;
  if (member !== undefined) {
    const kept = where === undefined ? '' : `; those that this node keeps are stored in ${where}`;
    out.say(`clusterfs: the files are those of ${member.report.home?.url}${kept}`);
    return;
  }
  out.say(
    where === undefined
      ? 'clusterfs: files live in memory only; when this node is stopped (Ctrl-C) they are gone'
      : `clusterfs: files are stored in ${where}`,
  );
}

const collect =
  <T>(parse: (text: string) => T) =>
  (text: string, before: readonly T[] = []): readonly T[] => [...before, parse(text)];

function place(url: string): string | PeerAddress {
  const address = peerAddressIn(url);
  if (address !== undefined) return address;
  const path = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(url)?.[1];
  if (path === undefined) throw new InvalidArgumentError('Give unix:PATH or tcp://HOST:PORT.');
  return resolve(path);
}

/** Resolves when a signal ends the node. */
const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    // A promise keeps no process alive; the socket of the node does.
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });

function endOnBug(host: Host, log: Log): void {
  process.on('uncaughtException', (error) => {
    log.error('ended by an error that nobody caught; files are kept for the next node on this socket', error);
    process.stderr.write(`${error.stack ?? ''}\n`);
    host.exit(1);
  });
}
