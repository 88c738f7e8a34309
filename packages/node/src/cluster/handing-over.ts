/**
 * Blocks of files that are on their way from one home to the next, at either of them: who gets what
 * meanwhile, and what the directories know of it.
 *
 * Frozen, a file stands still at the home that gives it away: nobody gets a block but the next home. Adopted,
 * its blocks are known to the next home before the coordinator has said so to all: whoever has heard of it
 * may ask.
 */
import { FsError } from '@cluster-fs/transport';
import { atRest, type CacheId, type Entry, type Home, ownCache } from 'cluster-fs/coherence';
import { Signal } from '../coordinator/signal.ts';
import type { SharedBlocks } from './shared-blocks.ts';

/** How often is looked at a file that becomes quiet when nothing says so: a lease has ended, say. */
const pollMs = 100;

export interface HandingOverParts {
  readonly home: () => Home<Buffer>;
  readonly shared: SharedBlocks;
  /** Whether this node keeps the file, as its inode says. */
  readonly isOwn: (ino: number) => boolean;
  /** What the home has of these blocks of a file besides `data`: all that it has of it. */
  readonly forget: (ino: number, blocks: readonly number[]) => void;
}

export class HandingOver {
  readonly #parts: HandingOverParts;
  /** The next home's session. */
  readonly #frozen = new Map<number, CacheId>();
  readonly #adopted = new Set<number>();
  readonly #stepped = new Signal();
  /** Files that nodes may store into which have not opened them here yet. */
  readonly #written = new Map<number, object>();

  constructor(parts: HandingOverParts) {
    this.#parts = parts;
  }

  /** The session that alone gets blocks of a file; undefined when it stands not still. */
  givenTo(ino: number): CacheId | undefined {
    return this.#frozen.get(ino);
  }

  /** Whether it is none of this node's concern what is said of a file. */
  hasLeft(ino: number): boolean {
    return !this.#parts.isOwn(ino) && !this.#adopted.has(ino);
  }

  /** From here on, until `takeBack` or `giveAway`, nobody but that session gets anything of the file. */
  freeze(ino: number, session: CacheId): void {
    this.#frozen.set(ino, session);
  }

  /** Whether its bytes are this node's to keep, while another one is its home, or may be soon. */
  isOnItsWay(ino: number): boolean {
    return this.#frozen.has(ino) || this.#adopted.has(ino);
  }

  /** It stays here. */
  takeBack(ino: number): void {
    if (this.#frozen.delete(ino)) this.#parts.home().release();
  }

  /** It has another home: whoever waits for a block asks there. Requires: the inode says so. */
  giveAway(ino: number): void {
    this.#frozen.delete(ino);
    this.#written.delete(ino);
    this.#forgetFile(ino);
  }

  /** A file becomes this node's: the node that had it goes on with a copy to read of these blocks. */
  adopt(ino: number, session: CacheId, blocks: Iterable<number>): void {
    this.#adopted.add(ino);
    this.#parts.home().adopt(blocks, session);
  }

  /** Nodes may store into it that had opened it at the home of before; until `areOpen`. */
  inherit(ino: number): void {
    this.#written.set(ino, {});
  }

  /** Something while nodes may store into a file that have not opened it here; another with each move. */
  inherited(ino: number): object | undefined {
    return this.#written.get(ino);
  }

  /** Whoever had it open has opened it here. */
  areOpen(ino: number): void {
    this.#written.delete(ino);
  }

  /** It is this node's, or it is not after all. */
  settle(ino: number, isOwn: boolean): void {
    if (!isOwn) this.#written.delete(ino);
    if (this.#adopted.delete(ino) && !isOwn) this.#forgetFile(ino);
  }

  #forgetFile(ino: number): void {
    const { shared, home, forget } = this.#parts;
    const blocks = [...shared.of(ino)];
    shared.deleteFile(ino);
    forget(ino, blocks);
    for (const block of blocks) home().abandon(block);
  }

  /**
   * Resolves when whoever asked for a block before the file stood still has it. Until then the next home may
   * lose what it has, and does not know it yet: the messages of the directories and what is said of the move
   * come over two links. Requires: `freeze`.
   */
  async quiet(ino: number, limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs;
    const session = this.#frozen.get(ino);
    const isForOthers = ({ state, queue }: Entry): boolean => {
      // Whom it is done for stands at the head of the line.
      if (queue.length === 0) return state === 'invalidating' || state === 'recalling';
      return queue.some(({ from }) => from !== session);
    };
    // Nobody else asks for more: what is quiet stays so.
    for (let busy = this.#those(this.#parts.shared.of(ino), isForOthers); busy.length > 0; ) {
      if (performance.now() > endMs)
        throw new FsError('ETIMEDOUT', 'move', { why: 'a node does not answer for a block of the file' });
      await this.#stepped.next(pollMs);
      busy = this.#those(busy, isForOthers);
    }
  }

  /** The blocks of whose entries something is so. Few entries are shared by many blocks. */
  #those(blocks: Iterable<number>, isSo: (entry: Entry) => boolean): number[] {
    const { entries } = this.#parts.home();
    const known = new Map<Entry, boolean>();
    const those: number[] = [];
    for (const block of blocks) {
      const entry = entries.get(block) ?? atRest;
      const verdict = known.get(entry) ?? isSo(entry);
      known.set(entry, verdict);
      if (verdict) those.push(block);
    }
    return those;
  }

  /** A directory has taken a step. */
  stepped(): void {
    if (this.#frozen.size > 0) this.#stepped.notify();
  }

  /** Blocks that others have than that session and the processes here. Requires: `quiet`. */
  elsewhere(ino: number, session: CacheId): number[] {
    const isElse = ({ owner, sharers }: Entry): boolean => {
      if (owner !== undefined) return owner !== session && owner !== ownCache;
      for (const sharer of sharers) if (sharer !== session && sharer !== ownCache) return true;
      return false;
    };
    return this.#those(this.#parts.shared.of(ino), isElse);
  }

  /** Blocks of which processes here and that session have a copy to read, and nobody else anything. */
  sharedWith(ino: number, session: CacheId): number[] {
    const isShared = ({ state, sharers }: Entry): boolean =>
      state === 'idle' && sharers.has(session) && sharers.has(ownCache);
    return this.#those(this.#parts.shared.of(ino), isShared);
  }
}
