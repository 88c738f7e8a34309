/**
 * Blocks of files that are on their way from one home to the next, at either of them: who gets what
 * meanwhile, and what the directories know of it.
 *
 * Frozen, a file stands still at the home that gives it away: nobody gets a block but the next home. Adopted,
 * its blocks are known to the next home before the coordinator has said so to all: whoever has heard of it
 * may ask, and waits until the next home has heard it as well.
 */
import type { BlockId } from './block-cache.ts';
import type { CacheState } from './cache.ts';
import type { CacheId, Entry } from './directory.ts';
import { atRest, type Home, ownCache } from './home.ts';

export interface HandingOverParts<B> {
  readonly home: () => Home<B>;
  /** Blocks of a file that are not this node's processes' alone. */
  readonly sharedOf: (ino: number) => ReadonlySet<BlockId>;
  /** Whether this node keeps the file, as its inode says. */
  readonly isOwn: (ino: number) => boolean;
  /** What the home has of these blocks of a file besides its pages: all that it has of it. */
  readonly forget: (ino: number, blocks: readonly BlockId[]) => void;
}

/** In which the pages have the bytes of a copy to read, also when it is about to go. */
const inPages: ReadonlySet<CacheState> = new Set(['S', 'SE', 'E', 'SI', 'SIE']);

export class HandingOver<B> {
  readonly #parts: HandingOverParts<B>;
  /** The next home's session. */
  readonly #frozen = new Map<number, CacheId>();
  /** Those that the next home has been told of: it may have them by now. */
  readonly #told = new Set<number>();
  readonly #adopted = new Set<number>();
  /** Files that nodes may store into which have not opened them here yet; by which move they came. */
  readonly #written = new Map<number, number>();

  constructor(parts: HandingOverParts<B>) {
    this.#parts = parts;
  }

  /** The session that alone gets blocks of a file; undefined when it stands not still. */
  givenTo(ino: number): CacheId | undefined {
    return this.#frozen.get(ino);
  }

  /**
   * Whether that session gets nothing of the file: it stands still here; or it is this node's only if the
   * coordinator commits that, and then everybody waits until this node has heard it, too. Who asks before may
   * have heard it, or nothing since the file was here the last time.
   */
  isHeld(ino: number, session: CacheId): boolean {
    const givenTo = this.givenTo(ino);
    if (givenTo !== undefined) return session !== givenTo;
    return this.#adopted.has(ino) && !this.#parts.isOwn(ino);
  }

  /** Whether it is none of this node's concern what is said of a file. */
  hasLeft(ino: number): boolean {
    return !this.#parts.isOwn(ino) && !this.#adopted.has(ino);
  }

  /** From here on, until `takeBack` or `giveAway`, nobody but that session gets anything of the file. */
  freeze(ino: number, session: CacheId): void {
    this.#frozen.set(ino, session);
    // What it has asked for before may have had to wait.
    this.#parts.home().release();
  }

  /** Whether its bytes are this node's to keep, while another one is its home, or may be soon. */
  isOnItsWay(ino: number): boolean {
    return this.#frozen.has(ino) || this.#adopted.has(ino);
  }

  /**
   * Whether the bytes of a block of it must be kept when they go from the pages: the lease on the other node
   * is over, say. Whichever of the two has the file in the end has its bytes.
   */
  mustKeep(ino: number, block: BlockId): boolean {
    return this.isOnItsWay(ino) && inPages.has(this.#parts.home().cache.state(block));
  }

  /** It stays here. */
  takeBack(ino: number): void {
    this.#told.delete(ino);
    if (this.#frozen.delete(ino)) this.#parts.home().release();
  }

  /** It has another home: whoever waits for a block asks there. Requires: the inode says so. */
  giveAway(ino: number): void {
    this.#frozen.delete(ino);
    this.#told.delete(ino);
    this.#written.delete(ino);
    this.#forgetFile(ino);
  }

  /** A file becomes this node's: the node that had it goes on with a copy to read of these blocks. */
  adopt(ino: number, session: CacheId, blocks: Iterable<BlockId>): void {
    this.#adopted.add(ino);
    this.#parts.home().adopt(blocks, session);
  }

  /** Nodes may store into it that had opened it at the home of before; until `areOpen`. */
  inherit(ino: number, move: number): void {
    this.#written.set(ino, move);
  }

  /** By which move a file came here that nodes may store into which have not opened it here. */
  inherited(ino: number): number | undefined {
    return this.#written.get(ino);
  }

  /** Whoever had it open has opened it here. */
  areOpen(ino: number): void {
    this.#written.delete(ino);
  }

  /** It is this node's, or it is not after all. */
  settle(ino: number, isOwn: boolean): void {
    if (!isOwn) this.#written.delete(ino);
    if (!this.#adopted.delete(ino)) return;
    if (!isOwn) this.#forgetFile(ino);
    this.#parts.home().release();
  }

  /** The inode is gone: another file may get its number. Requires: no other node has a right to it. */
  forget(ino: number): void {
    this.#frozen.delete(ino);
    this.#told.delete(ino);
    this.#adopted.delete(ino);
    this.#written.delete(ino);
    this.#forgetFile(ino);
  }

  #forgetFile(ino: number): void {
    const { sharedOf, home, forget } = this.#parts;
    const blocks = [...sharedOf(ino)];
    forget(ino, blocks);
    for (const block of blocks) home().abandon(block);
  }

  /**
   * Those of the blocks that somebody waits for who asked before the file stood still. Until there are none
   * the next home may lose what it has, and does not know it yet: the messages of the directories and what is
   * said of the move come over two links. Nobody else asks for more: what is quiet stays so. Requires:
   * `freeze`.
   */
  busy(ino: number, among: Iterable<BlockId> = this.#parts.sharedOf(ino)): BlockId[] {
    const session = this.#frozen.get(ino);
    return this.#those(among, ({ state, queue }) => {
      // Whom it is done for stands at the head of the line.
      if (queue.length === 0) return state === 'invalidating' || state === 'recalling';
      return queue.some(({ from }) => from !== session);
    });
  }

  /** The blocks of whose entries something is so. Few entries are shared by many blocks. */
  #those(blocks: Iterable<BlockId>, isSo: (entry: Entry) => boolean): BlockId[] {
    const { entries } = this.#parts.home();
    const known = new Map<Entry, boolean>();
    const those: BlockId[] = [];
    for (const block of blocks) {
      const entry = entries.get(block) ?? atRest;
      const verdict = known.get(entry) ?? isSo(entry);
      known.set(entry, verdict);
      if (verdict) those.push(block);
    }
    return those;
  }

  /** The next home is about to hear that it gets the file. Requires: `freeze`. */
  tell(ino: number): void {
    this.#told.add(ino);
  }

  /**
   * Whether it is not known what becomes of what that session has of the file when it ends: if the file is
   * the next home's by then, nothing is lost with it.
   */
  isKept(ino: number, session: CacheId): boolean {
    return this.#told.has(ino) && this.#frozen.get(ino) === session;
  }

  /** Whether any file stands still here. */
  get isAnyFrozen(): boolean {
    return this.#frozen.size > 0;
  }

  /** Blocks that others have than that session and the processes here. Requires: it is not `busy`. */
  elsewhere(ino: number, session: CacheId): BlockId[] {
    const isElse = ({ owner, sharers }: Entry): boolean => {
      if (owner !== undefined) return owner !== session && owner !== ownCache;
      for (const sharer of sharers) if (sharer !== session && sharer !== ownCache) return true;
      return false;
    };
    return this.#those(this.#parts.sharedOf(ino), isElse);
  }

  /** Blocks of which processes here and that session have a copy to read, and nobody else anything. */
  sharedWith(ino: number, session: CacheId): BlockId[] {
    const isShared = ({ state, sharers }: Entry): boolean =>
      state === 'idle' && sharers.has(session) && sharers.has(ownCache);
    return this.#those(this.#parts.sharedOf(ino), isShared);
  }
}
