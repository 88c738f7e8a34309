/**
 * Which sessions may touch pages, for the node that comes after: each has a file in the run directory, and
 * its client an open file of that with a lock on it (flock(2)), from `hello` on.
 *
 *   taken ──the client has the descriptor──▶ held ──it closes it, or its process ends──▶ free
 *
 * The kernel gives such a lock back with the last descriptor of its open file, and not before. So a node sees
 * the end of a process that it cannot see: of another user, or in another PID namespace; and the end of a
 * session whose process lives on. The files are empty: a client can mount when tmpfs is full.
 */
import { closeSync, constants, mkdirSync, openSync, readdirSync, rmSync } from 'node:fs';
import { assert, type ErrorCode, FsError, native } from '@cluster-fs/transport';

/** A session, and its process as the node sees it; 0 when it sees none. */
interface Named {
  readonly id: number;
  readonly pid: number;
}

/** A session of before, whose client has not let go. */
export interface HeldSession extends Named {
  /** Of its file; whoever gets the lock of it knows that nobody has it. */
  readonly fd: number;
}

const nameOf = ({ id, pid }: Named): string => `${id}.${pid}`;

export class SessionLocks {
  readonly #directory: string;
  #isKept = false;

  /** `runDirectory` is the node's alone. */
  constructor(runDirectory: string) {
    this.#directory = directoryIn(runDirectory);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /**
   * A descriptor that holds the lock of a new session, for its client; to be closed here when it has it.
   *
   * @throws FsError EMFILE, ENOSPC
   */
  take(session: Named): number {
    const { O_RDONLY, O_CREAT, O_EXCL } = constants;
    let fd: number;
    try {
      fd = openSync(this.#pathOf(session), O_RDONLY | O_CREAT | O_EXCL, 0o600);
    } catch (error) {
      const { code = 'EIO' } = error as NodeJS.ErrnoException;
      throw new FsError(code as ErrorCode, 'mount', { why: 'of the node', cause: error });
    }
    assert(isFree(fd), 'the lock of a session that is new');
    return fd;
  }

  /** Nobody needs to know of the session any more. */
  remove(session: Named): void {
    if (!this.#isKept) rmSync(this.#pathOf(session), { force: true });
  }

  /** The node stops: clients do not let go of what they map, and what it leaves may be gone on with. */
  keep(): void {
    this.#isKept = true;
  }

  /** Those of before that are held. The others are removed. */
  held(): HeldSession[] {
    const found: HeldSession[] = [];
    for (const name of readdirSync(this.#directory)) {
      const [id, pid] = name.split('.').map(Number) as [number, number];
      const fd = openSync(this.#pathOf({ id, pid }), 'r');
      if (isFree(fd)) {
        closeSync(fd);
        this.remove({ id, pid });
      } else found.push({ id, pid, fd });
    }
    return found;
  }

  #pathOf(session: Named): string {
    return `${this.#directory}/${nameOf(session)}`;
  }
}

const directoryIn = (runDirectory: string): string => `${runDirectory}/sessions`;

/** Whether a client of a node that is gone has not let go. */
export function hasHeldSession(runDirectory: string): boolean {
  const held = new SessionLocks(runDirectory).held();
  for (const { fd } of held) closeSync(fd);
  return held.length > 0;
}

/** What sessions of before map is gone. */
export const forgetSessions = (runDirectory: string): void =>
  rmSync(directoryIn(runDirectory), { recursive: true, force: true });

/** Requires: of a session whose lock nobody takes anew. */
export const isFree = (fd: number): boolean => native.lockFile(fd);
