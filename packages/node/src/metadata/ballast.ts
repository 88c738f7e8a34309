/**
 * Space kept for the metadata on a tmpfs that data can fill to the last page: without it, a full file system
 * could not even record that a file was removed.
 *
 *   held ──a commit finds no space──▶ dropped ──there is space again──▶ held
 */
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { FsError, native } from '@cluster-fs/transport';

/** As much as the log of SQLite needs for some thousand removals. */
const ballastBytes = 2 * 2 ** 20;
/** Commits between two attempts to take it again. */
const retryEvery = 64;

export class Ballast {
  readonly #fd: number;
  #held = false;
  #sinceTry = 0;

  constructor(path: string) {
    this.#fd = openSync(path, 'a', 0o600);
    this.#take();
  }

  /** Gives the space away; false when it is given away already. */
  drop(): boolean {
    if (!this.#held) return false;
    ftruncateSync(this.#fd, 0);
    this.#held = false;
    this.#sinceTry = 0;
    return true;
  }

  /** After a commit that went well. */
  restore(): void {
    if (!this.#held && ++this.#sinceTry % retryEvery === 0) this.#take();
  }

  close(): void {
    closeSync(this.#fd);
  }

  #take(): void {
    try {
      native.allocateRange(this.#fd, 0, ballastBytes);
      this.#held = true;
    } catch (error) {
      // Full just now: a part of it may have been taken, and must not stay.
      if (!(error instanceof FsError)) throw error;
      ftruncateSync(this.#fd, 0);
    }
  }
}
