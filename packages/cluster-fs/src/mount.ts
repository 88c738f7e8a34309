/**
 * Mounting: from a URL to an open session.
 *
 *   unix:/path/to.sock     the node that listens there
 *   /some/directory        the node that serves that directory, or one embedded in this process
 *   tcp://host:port        that node's files, by a node of this process alone that joins it
 *   (nothing)              $CLUSTERFS_URL, or the default socket of this user
 */
import { mkdirSync, realpathSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { FsError, type HomeLossPolicy, homeLossPolicies } from '@cluster-fs/transport';
import { parsePeerUrl } from '@cluster-fs/transport/peer-url';
import { defaultSocket, defaultUrl, privateName, socketFor } from './address.ts';
import { type JoinProof, startEmbedded } from './client/embedded.ts';
import { ClusterFs } from './cluster-fs.ts';

export interface MountOptions {
  /** 'rw' (default), or 'r': every change is EROFS, and this process gets no descriptor that could store. */
  readonly access?: 'r' | 'rw';
  /**
   * 'on-demand' (default) where the kernel has userfaultfd; 'pinned' forces mappings that only this process
   * gives up.
   */
  readonly mode?: 'on-demand' | 'pinned';
  /**
   * What a touch of a page gets that is not here, while the node that keeps the file cannot be reached for
   * longer than a lease (5 s). 'wait' (default): it waits until that node is back. 'fail': the process dies
   * of SIGBUS, with a line that names the view; when the node is back, views go on. 'poison': the same, and
   * such a view stays as it is: nobody comes upon bytes of after the loss who has not mapped the file anew.
   */
  readonly onHomeLoss?: HomeLossPolicy;
  /** How this process is called in `clusterfs status`; default: the name of its script. */
  readonly label?: string;
  /** How long a node that went away is looked for, in milliseconds; default 60,000. */
  readonly reconnectMs?: number;
  /** How long a node may take to answer, in milliseconds, before it is ETIMEDOUT; default 10,000. */
  readonly timeoutMs?: number;
  /**
   * Bytes of the segment when a directory is mounted and no node serves it yet, or of the files of another
   * host that are kept here; default 256 MiB.
   */
  readonly memory?: number;
  /**
   * What that node does when a client without userfaultfd maps a file to write that is to be cut, punched,
   * replaced or moved. 'wait' (default): recalls it, and refuses the change when it does not let go. 'deny':
   * refuses at once. 'revoke': recalls it, then ends its session.
   */
  readonly onConflict?: 'wait' | 'deny' | 'revoke';
  /** How long a client that is recalled may take, in milliseconds; default 2000. */
  readonly recallDeadlineMs?: number;
  /** For `tcp:`; without it both are on one machine. */
  readonly join?: JoinProof;
}

/**
 * Mounts a file system.
 *
 * @throws FsError ENOENT or ECONNREFUSED: no node there; EACCES: not for this user, or the default socket is
 *   another user's; ETIMEDOUT: no answer; EPROTONOSUPPORT: the node is of another version; EINVAL: not a URL
 *   that this version knows
 */
export async function mount(url: string = defaultUrl(), options: MountOptions = {}): Promise<ClusterFs> {
  const {
    access = 'rw',
    mode = 'on-demand',
    onHomeLoss = 'wait',
    label = process.argv[1] ?? 'node',
    reconnectMs = 60_000,
    timeoutMs = 10_000,
  } = options;
  assertOneOf({ access }, ['r', 'rw']);
  assertOneOf({ mode }, ['on-demand', 'pinned']);
  assertOneOf({ onHomeLoss }, homeLossPolicies);
  const pinned = mode === 'pinned';
  const open = (socketPath: string, stop?: () => Promise<void>) => {
    const owner = socketPath === defaultSocket() ? process.geteuid?.() : undefined;
    const session = { access, label: label.slice(-256), pinned, onHomeLoss, reconnectMs };
    return ClusterFs.open({ socketPath, owner, timeoutMs, ...session }, { url, stop });
  };
  if (url.startsWith('unix:')) return open(url.slice('unix:'.length).replace(/^\/\/(?=\/)/, ''));
  if (url.startsWith('tcp:')) return mountJoined(url, options, open);
  if (/^[a-z][a-z0-9+.-]*:/i.test(url)) {
    throw new FsError('EINVAL', 'mount', {
      path: url,
      why: 'give unix:PATH, tcp://HOST:PORT or a directory',
    });
  }
  return mountDirectory(url, options, open);
}

/** An option that is mistyped must not be taken for another one. */
function assertOneOf(option: Readonly<Record<string, string>>, values: readonly string[]): void {
  for (const [name, value] of Object.entries(option)) {
    if (!values.includes(value))
      throw new FsError('EINVAL', 'mount', {
        why: `${name} is '${value}': give one of ${values.join(', ')}`,
      });
  }
}

/** Becomes a node that has the files of another one, for this mount alone. */
async function mountJoined(
  url: string,
  { memory, join = {} }: MountOptions,
  open: (socket: string, stop?: () => Promise<void>) => Promise<ClusterFs>,
): Promise<ClusterFs> {
  const unique = process.getBuiltinModule('node:crypto').randomUUID();
  const directory = privateName(`${url}#${process.pid}-${unique}`);
  const name = join.name ?? `${hostname()}/${process.pid}`;
  const embedded = await startEmbedded({
    directory,
    join: { ...join, name, ...parsePeerUrl(url) },
    ...(memory === undefined ? {} : { memory }),
  });
  try {
    return await open(socketFor(directory), embedded?.stop);
  } catch (error) {
    await embedded?.stop();
    throw error;
  }
}

/** Attaches to the node of a directory, or becomes it. Whoever is first serves the others. */
async function mountDirectory(
  path: string,
  { memory, onConflict, recallDeadlineMs }: MountOptions,
  open: (socket: string, stop?: () => Promise<void>) => Promise<ClusterFs>,
): Promise<ClusterFs> {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there !== undefined && !there.isDirectory()) throw new FsError('ENOTDIR', 'mount', { path });
  mkdirSync(path, { recursive: true });
  const directory = realpathSync(path);
  const socket = socketFor(directory);
  for (let attempt = 0; ; attempt++) {
    try {
      return await open(socket);
    } catch (error) {
      if (!(error instanceof FsError) || (error.code !== 'ENOENT' && error.code !== 'ECONNREFUSED'))
        throw error;
    }
    const embedded = await startEmbedded({
      directory,
      ...(memory === undefined ? {} : { memory }),
      ...(onConflict === undefined ? {} : { onConflict }),
      ...(recallDeadlineMs === undefined ? {} : { recallDeadlineMs }),
    });
    if (embedded !== undefined) return open(socket, embedded.stop);
    // Another process is just becoming the node of this directory.
    if (attempt === 50)
      throw new FsError('ETIMEDOUT', 'mount', {
        path,
        why: 'a node holds the directory and does not answer',
      });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
