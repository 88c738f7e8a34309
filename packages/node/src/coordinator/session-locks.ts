/**
 * Which sessions may touch pages, for the node that comes after: each has a file in the run directory, and
 * its client an open file of that with a lock on it (flock(2)), from `hello` on.
 *
 *   taken ──the client has the descriptor──▶ held ──it closes it, or its process ends──▶ free
 *
 * The kernel gives such a lock back with the last descriptor of its open file, and not before. So a node sees
 * the end of a process that it cannot see: of another user, or in another PID namespace; and the end of a
 * session whose process lives on.
 */
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type ErrorCode, FsError, native } from '@cluster-fs/transport';

/** A session of before, whose client has not let go. */
export interface HeldSession {
  /** Of its process, as the node of before saw it; 0 when it saw none. */
  readonly pid: number;
  /** Of its file; whoever gets the lock of it knows that nobody has it. */
  readonly fd: number;
}

export class SessionLocks {
  readonly #directory: string;

  /** `runDirectory` is the node's alone. */
  constructor(runDirectory: string) {
    this.#directory = `${runDirectory}/sessions`;
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /**
   * A descriptor that holds the lock of a new session, for its client; to be closed here when it has it.
   *
   * @throws FsError EMFILE, ENOSPC
   */
  take(session: number, pid: number): number {
    const path = this.#pathOf(session);
    try {
      writeFileSync(path, String(pid), { mode: 0o600 });
      const fd = openSync(path, 'r');
      native.lockFile(fd);
      return fd;
    } catch (error) {
      this.remove(session);
      if (error instanceof FsError) throw error;
      const { code = 'EIO' } = error as NodeJS.ErrnoException;
      throw new FsError(code as ErrorCode, 'mount', { why: 'of the node', cause: error });
    }
  }

  /** Nobody needs to know of the session any more. */
  remove(session: number): void {
    rmSync(this.#pathOf(session), { force: true });
  }

  /** Those of before that are held, by number. The others are removed. */
  held(): Map<number, HeldSession> {
    const found = new Map<number, HeldSession>();
    for (const name of readdirSync(this.#directory)) {
      const session = Number(name);
      const fd = openSync(this.#pathOf(session), 'r');
      if (isFree(fd)) {
        closeSync(fd);
        this.remove(session);
      } else found.set(session, { pid: Number(readFileSync(fd, 'utf8')), fd });
    }
    return found;
  }

  #pathOf(session: number): string {
    return `${this.#directory}/${session}`;
  }
}

/** Requires: of a session of before, whose lock nobody takes anew. */
export const isFree = (fd: number): boolean => native.lockFile(fd);
