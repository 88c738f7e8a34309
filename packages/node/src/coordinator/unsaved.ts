/**
 * Files of other homes of which this node may have stores that their homes do not: what is lost if it dies
 * now. A bit for each inode, in a file of the run directory, where the node that comes after finds it.
 *
 *   clear ──somebody may store──▶ set ──all is at its home──▶ clear        looked at twice a second
 *                                  └──something is lost──▶ kept ──all clients know──▶ clear
 *
 * INVARIANT: of a file whose bit is clear nothing is lost with this node, nor was anything before that one of
 * its clients may not have been told of. So what was set when a node died is kept by the next.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { writeAllNow } from '../store/file-calls.ts';

const lookMs = 500;
/** Inodes begin at 1: this bit says it of all files of other homes. */
const all = 0;

export interface UnsavedParts {
  readonly inodeCount: number;
  /** No client of before is there: nobody has to be told what was lost. */
  readonly isOfNobody: boolean;
  /** Whether all that was stored into a file is at its home, as one look finds it. */
  readonly isSaved: () => (ino: number) => boolean;
  /** Whether every client knows of all that was lost. */
  readonly isTold: () => boolean;
}

export class Unsaved {
  readonly #parts: UnsavedParts;
  readonly #path: string;
  readonly #fd: number;
  readonly #bits: Uint8Array;
  /** Those that are set and not kept. */
  readonly #set = new Set<number>();
  #keepsSome: boolean;
  readonly #timer: NodeJS.Timeout;

  constructor(directory: string, parts: UnsavedParts) {
    this.#parts = parts;
    this.#path = `${directory}/unsaved`;
    this.#bits = new Uint8Array(Math.ceil(parts.inodeCount / 8));
    this.#fd = openSync(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      const isWhole = fstatSync(this.#fd).size >= this.#bits.length;
      if (!parts.isOfNobody) readSync(this.#fd, this.#bits, 0, this.#bits.length, 0);
      // A full tmpfs is ENOSPC here, and not when somebody wants to store.
      if (!isWhole || parts.isOfNobody) writeAllNow(this.#fd, this.#bits, 0, this.#path);
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
    this.#keepsSome = this.#bits.some((byte) => byte !== 0);
    this.#timer = setInterval(() => this.#look(), lookMs);
    this.#timer.unref();
  }

  /**
   * The node stops, and sessions are about to end: what of theirs is not at its home by now may not come
   * there. What is set then stays.
   */
  hold(): void {
    this.#look();
    clearInterval(this.#timer);
  }

  /** Safe to call once. */
  close(): void {
    clearInterval(this.#timer);
    closeSync(this.#fd);
  }

  /** Somebody may store into the file in the next moment. */
  set(ino: number): void {
    if (this.#has(ino)) return;
    this.#write(ino, true);
    this.#set.add(ino);
  }

  /** Something of the file, or of any, is lost, or may be. */
  keep(ino: number = all): void {
    if (!this.#has(ino)) this.#write(ino, true);
    this.#set.delete(ino);
    this.#keepsSome = true;
  }

  /**
   * Whether something that a client of before has stored into the file may be lost. `isOwn`: this node is its
   * home, by now.
   */
  mayLack(ino: number, { isOwn }: { readonly isOwn: boolean }): boolean {
    return (this.#has(ino) && !this.#set.has(ino)) || (this.#has(all) && !isOwn);
  }

  #look(): void {
    if (this.#keepsSome && this.#parts.isTold()) this.#forgetKept();
    if (this.#set.size === 0) return;
    const isSaved = this.#parts.isSaved();
    for (const ino of this.#set) {
      if (!isSaved(ino)) continue;
      this.#write(ino, false);
      this.#set.delete(ino);
    }
  }

  /** From here on they are as those that are set: they go when all is at its home. */
  #forgetKept(): void {
    this.#keepsSome = false;
    this.#bits.forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit++) if ((byte >> bit) & 1) this.#set.add(8 * at + bit);
    });
  }

  #has(ino: number): boolean {
    return (((this.#bits[ino >> 3] ?? 0) >> (ino & 7)) & 1) === 1;
  }

  #write(ino: number, isSet: boolean): void {
    const at = ino >> 3;
    const bit = 1 << (ino & 7);
    const byte = this.#bits[at] as number;
    const changed = isSet ? byte | bit : byte & ~bit;
    writeAllNow(this.#fd, Uint8Array.of(changed), at, this.#path);
    this.#bits[at] = changed;
  }
}
