/**
 * Which node keeps the bytes of which file, as this node knows it, and what its processes may do with them:
 * files of its own by its directories (`lent`), those of others by what it has borrowed from them.
 *
 * A file has one home at a time, by the number of a node; the coordinator decides, and says so with the
 * inode. A number is given to a node when it joins to keep files, and to no other ever after.
 */
import { FsError, type Request } from '@cluster-fs/transport';
import { homeIn } from 'cluster-fs/segment';
import type { Coordinator } from '../coordinator/coordinator.ts';
import type { Access, Blocks, FileId } from '../coordinator/elsewhere.ts';
import type { Session, View } from '../coordinator/session.ts';
import type { Range } from '../store/stored.ts';
import type { Lent } from './lent.ts';
import type { Neighbour } from './neighbour.ts';

/** The node where the cluster began: it decides on names, attributes and homes. */
export const coordinatorNumber = 0;

/** How often a request follows a file to its next home. */
const maxMoves = 16;
const movedPollMs = 20;

/** The file has another home by now: ask that one. */
export const moved = (syscall: string): FsError =>
  new FsError('EAGAIN', syscall, { why: 'the file has another home by now' });

export class Homes implements Blocks {
  readonly #c: Coordinator;
  readonly #neighbours = new Map<number, Neighbour>();
  /** Makes the neighbour of that number. */
  readonly #meet: (number: number) => Neighbour;
  /** The number of this node; undefined when it keeps no files. */
  self: number | undefined;
  /** The blocks of its own files, when it keeps some. */
  lent: Lent | undefined;

  constructor(c: Coordinator, meet: (number: number) => Neighbour) {
    this.#c = c;
    this.#meet = meet;
  }

  get neighbours(): Iterable<Neighbour> {
    return this.#neighbours.values();
  }

  neighbour(number: number): Neighbour {
    const known = this.#neighbours.get(number);
    if (known !== undefined) return known;
    const neighbour = this.#meet(number);
    this.#neighbours.set(number, neighbour);
    return neighbour;
  }

  know(number: number, neighbour: Neighbour): void {
    this.#neighbours.set(number, neighbour);
  }

  /** What is here of others goes home, so that nobody waits for a lease. */
  async leave(): Promise<void> {
    await Promise.all([...this.#neighbours.values()].map((neighbour) => neighbour.leave()));
  }

  close(): void {
    for (const neighbour of this.#neighbours.values()) neighbour.close();
  }

  /** The coordinator's, when the inode is gone: it knows best. */
  homeOf(ino: number): number {
    return homeIn(this.#c.segment, ino);
  }

  /** Asks the home of a file, and the next one when it has moved meanwhile. */
  async following<T>(ino: number, ask: (home: number) => T | Promise<T>): Promise<T> {
    for (let moves = 0; ; moves++) {
      const home = this.homeOf(ino);
      try {
        return await ask(home);
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'EAGAIN' || moves >= maxMoves) throw error;
        // It says so before this node has heard of it.
        if (this.homeOf(ino) === home) await this.#c.answers.next(movedPollMs);
      }
    }
  }

  #of(ino: number): Blocks {
    const home = this.homeOf(ino);
    return home === this.self && this.lent !== undefined ? this.lent : this.neighbour(home).borrowed;
  }

  get opening(): Promise<void> | undefined {
    return this.lent?.opening;
  }

  open(file: FileId, lease: Pick<Request<'lease'>, 'mode' | 'follow'>, session: Session): Promise<void> {
    return this.following(file.ino, () => this.#of(file.ino).open(file, lease, session));
  }

  watch(view: View): void {
    this.#of(view.ino).watch(view);
  }

  holds(ino: number, range: Range, access: Access): boolean {
    return this.#of(ino).holds(ino, range, access);
  }

  acquire(ino: number, range: Range, access: Access): Promise<void> {
    return this.following(ino, () => this.#of(ino).acquire(ino, range, access));
  }

  fault(view: View, filePage: number, access: Access): boolean {
    return this.#of(view.ino).fault(view, filePage, access);
  }

  hold(ino: number): void {
    this.lent?.hold(ino);
  }

  release(ino: number): void {
    this.lent?.release(ino);
  }

  isShared(ino: number): boolean {
    return this.#of(ino).isShared(ino);
  }

  isWritten(ino: number): boolean {
    return this.#of(ino).isWritten(ino);
  }

  sharedFiles(): Iterable<number> {
    return this.lent?.sharedFiles() ?? [];
  }
}
