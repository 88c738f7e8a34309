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

export class Ballast {
  readonly #fd: number;
  #held = false;

  constructor(path: string) {
    this.#fd = openSync(path, 'a', 0o600);
    this.#take();
  }

  /** Gives the space away; false when it is given away already. */
  drop(): boolean {
    if (!this.#held) return false;
    ftruncateSync(this.#fd, 0);
    this.#held = false;
    return true;
  }

  /** Takes the space again if there is any; whether it is held. */
  restore(): boolean {
    if (!this.#held) this.#take();
    return this.#held;
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
