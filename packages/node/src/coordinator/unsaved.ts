/**
 * Files of other homes of which this node may have stores that their homes do not: what is lost if it dies
 * now. A bit for each inode, in a file of the run directory, where the node that comes after finds it.
 *
 *   clear ──somebody may store──▶ set ──all is at its home──▶ clear    looked at twice a second
 *                                  └──something is lost──▶ kept
 *
 * INVARIANT: of a file whose bit is clear nothing is lost with this node, nor was anything before that one of
 * its clients may not have been told of. So what was set at the start is kept, too.
 */
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';

const lookMs = 500;
/** Inodes begin at 1: this bit says it of all. */
const all = 0;

export class Unsaved {
  readonly #fd: number;
  readonly #bits: Uint8Array;
  /** As the node of before has left it. */
  readonly #before: Uint8Array;
  /** Set by this node, and not kept. */
  readonly #set = new Set<number>();
  readonly #timer: NodeJS.Timeout;

  /** `isSaved`: whether all that was stored into a file is at its home, as one look finds it. */
  constructor(directory: string, inodeCount: number, isSaved: () => (ino: number) => boolean) {
    this.#bits = new Uint8Array(Math.ceil(inodeCount / 8));
    this.#fd = openSync(`${directory}/unsaved`, constants.O_RDWR | constants.O_CREAT, 0o600);
    if (fstatSync(this.#fd).size > 0) readSync(this.#fd, this.#bits);
    // A full tmpfs is ENOSPC here, and not when somebody wants to store.
    else writeSync(this.#fd, this.#bits);
    this.#before = this.#bits.slice();
    this.#timer = setInterval(() => {
      if (this.#set.size > 0) this.#look(isSaved());
    }, lookMs);
    this.#timer.unref();
  }

  /** Safe to call once. */
  close(): void {
    clearInterval(this.#timer);
    closeSync(this.#fd);
  }

  /** Somebody may store into the file in the next moment. */
  set(ino: number): void {
    if (has(this.#bits, ino)) return;
    this.#set.add(ino);
    this.#write(ino, true);
  }

  /** Something of the file, or of any, is lost, or may be. */
  keep(ino: number | undefined): void {
    this.#set.delete(ino ?? all);
    if (!has(this.#bits, ino ?? all)) this.#write(ino ?? all, true);
  }

  /** Whether something of the file may have been lost with the node of before. */
  wasSet(ino: number): boolean {
    return has(this.#before, ino) || has(this.#before, all);
  }

  #look(isSaved: (ino: number) => boolean): void {
    for (const ino of this.#set) {
      if (!isSaved(ino)) continue;
      this.#set.delete(ino);
      this.#write(ino, false);
    }
  }

  #write(ino: number, isSet: boolean): void {
    const at = ino >> 3;
    const bit = 1 << (ino & 7);
    const byte = this.#bits[at] as number;
    this.#bits[at] = isSet ? byte | bit : byte & ~bit;
    writeSync(this.#fd, this.#bits, at, 1, at);
  }
}

const has = (bits: Uint8Array, ino: number): boolean => (((bits[ino >> 3] ?? 0) >> (ino & 7)) & 1) === 1;
