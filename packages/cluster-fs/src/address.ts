/** Where nodes are found: sockets and run directories, by user and by name. */

/** Loaded when a directory is mounted: a client of a socket does without those megabytes. */
const sha256 = (text: string): string =>
  process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');

const uid = (): number => process.getuid?.() ?? 0;

/**
 * The socket of a node that was started without saying where: in $XDG_RUNTIME_DIR, or in /tmp with the user's
 * number.
 */
export function defaultSocket(): string {
  const { XDG_RUNTIME_DIR: runtime } = process.env;
  return runtime === undefined || runtime === ''
    ? `/tmp/clusterfs-${uid()}.sock`
    : `${runtime}/clusterfs.sock`;
}

export const defaultUrl = (): string => process.env.CLUSTERFS_URL ?? `unix:${defaultSocket()}`;

/**
 * The run directory of a node on tmpfs: its segment, its metadata and its lock. `name` is the socket it
 * listens on, or the directory it serves, so that a node that is started again after a crash finds what it
 * left.
 */
export const runDirectory = (name: string, base = '/dev/shm'): string =>
  `${base}/clusterfs-${uid()}-${kindOf(name)}${sha256(name).slice(0, 16)}`;

const privateMark = 'private:';
const kindOf = (name: string): string => (name.startsWith(privateMark) ? 'private-' : '');

/** The name of a node that one process has, and no other goes on with: what a killed one left is useless. */
export const privateName = (unique: string): string => `${privateMark}${unique}`;

/** The run directories of such nodes of this user begin so. */
export const privateRunDirectories = (): string => `${runDirectories()}private-`;

/** The same of all nodes of this user. */
export const runDirectories = (): string => `clusterfs-${uid()}-`;

/** The socket of the node that serves a directory. */
export const socketFor = (directory: string): string => `${runDirectory(directory)}/clusterfs.sock`;
