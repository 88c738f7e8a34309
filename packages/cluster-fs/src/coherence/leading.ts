/**
 * How the coordinator leads a file from one home to the next:
 *
 *   1 take    the next home fetches the file, again and again, while everybody goes on; what is stored into
 *             meanwhile is taken back from it, and fetched again
 *   2 give    the home until now lets nobody change the file any more, and hands over what is missing
 *   3 commit  the inode names the new home, and every node knows it
 *
 * Before the commit nothing has happened: who dies, is cut off or interrupted leaves the file where it was.
 */
import { FsError } from '@cluster-fs/transport';
import type { MovedFile } from './moving.ts';
import type { Progress } from './taken.ts';

/** So little may be missing when the file stands still: a millisecond's worth. */
const fewBlocks = 8;
/** Rounds that bring no less to fetch: somebody stores faster than it is fetched. */
const vainRounds = 8;

/** From which node to which. */
export interface Way {
  readonly from: number;
  readonly to: number;
}

export interface LeadingOptions {
  readonly signal?: AbortSignal;
  /** How many blocks are there, of how many. */
  readonly onProgress?: (present: number, total: number) => void;
  /** The file stands still from here on. */
  readonly fetched?: () => void;
}

export interface LeadingWorld {
  take(file: MovedFile, way: Way, signal: AbortSignal): Promise<Progress>;
  give(file: MovedFile, way: Way, signal: AbortSignal): Promise<void>;
  /** Begins at once: who asks afterwards what became of it is told so. Resolves when every node knows it. */
  commit(file: MovedFile, way: Way): Promise<void>;
  /** It has another home, and all have it open there who had it open. */
  moved(file: MovedFile, way: Way): void;
  /** Tells a node that the file stays where it is. */
  gave(node: number, file: MovedFile): void;
}

interface Led {
  readonly move: number;
  readonly to: number;
  /** Resolves when it is known what became of the move. */
  readonly ended: Promise<void>;
  /** Ends it, unless it is given away. */
  readonly interrupt: AbortController;
}

export class Leading {
  readonly #world: LeadingWorld;
  /** Files that are being moved. */
  readonly #files = new Map<number, Led>();
  #stopped: FsError | undefined;
  #nextMove: number;

  /** Moves get numbers from `firstMove` on, which were never used before and are above those that were. */
  constructor(world: LeadingWorld, { firstMove }: { readonly firstMove: number }) {
    this.#world = world;
    this.#nextMove = firstMove;
  }

  /**
   * The coordinator stops: what is not given away yet stays where it is. Nodes could not end it, since they
   * are told nothing more: it would be waited for in vain. ENONET for who asked.
   */
  stop(): void {
    this.#stopped = new FsError('ENONET', 'move', { why: 'the node is stopping' });
    for (const { interrupt } of this.#files.values()) interrupt.abort(this.#stopped);
  }

  /** Resolves when all nodes know what became of what was given away. Requires: `stop`. */
  async settled(): Promise<void> {
    await Promise.all([...this.#files.values()].map(({ ended }) => ended));
  }

  /** Whether that move of a file is under way; without a number: any. */
  isMoving(ino: number, move?: number): boolean {
    const now = this.#files.get(ino)?.move;
    return now !== undefined && (move === undefined || move === now);
  }

  /** Resolves when the file is not being moved. */
  async ended(ino: number): Promise<void> {
    for (let led = this.#files.get(ino); led !== undefined; led = this.#files.get(ino)) await led.ended;
  }

  /** Resolves when what is on its way to a node now is there, or not after all; whether anything was. */
  async endedTo(node: number): Promise<boolean> {
    const coming = [...this.#files.values()].filter(({ to }) => to === node);
    await Promise.all(coming.map(({ ended }) => ended));
    return coming.length > 0;
  }

  /**
   * Gives a file another home. EALREADY; what the nodes and the commit fail with; the reason of `signal`, or
   * of the stop.
   */
  async lead(of: Omit<MovedFile, 'move'>, way: Way, options: LeadingOptions = {}): Promise<void> {
    const { ino } = of;
    if (this.#stopped !== undefined) throw this.#stopped;
    if (this.#files.has(ino)) throw new FsError('EALREADY', 'move', { why: 'it is being moved' });
    const file = { ...of, move: this.#nextMove++ };
    let end!: () => void;
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const interrupt = new AbortController();
    const { signal } = interrupt;
    const giveUp = (): void => interrupt.abort(options.signal?.reason);
    options.signal?.addEventListener('abort', giveUp, { once: true });
    this.#files.set(ino, { move: file.move, to: way.to, ended, interrupt });
    const world = this.#world;
    try {
      options.signal?.throwIfAborted();
      await this.#fetch(file, way, { ...options, signal });
      signal.throwIfAborted();
      options.fetched?.();
      await world.give(file, way, signal);
      await world.commit(file, way);
      world.moved(file, way);
    } catch (error) {
      for (const node of [way.from, way.to]) world.gave(node, file);
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', giveUp);
      this.#files.delete(ino);
      end();
    }
  }

  async #fetch(
    file: MovedFile,
    way: Way,
    { signal, onProgress }: LeadingOptions & { readonly signal: AbortSignal },
  ): Promise<void> {
    let most = -1;
    for (let vain = 0; vain < vainRounds; ) {
      signal.throwIfAborted();
      const { present, total } = await this.#world.take(file, way, signal);
      onProgress?.(present, total);
      if (total - present <= fewBlocks) return;
      vain = present > most ? 0 : vain + 1;
      most = Math.max(most, present);
    }
  }
}
