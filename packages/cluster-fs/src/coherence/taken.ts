/**
 * Files of a home that this node is about to keep: fetched while everybody goes on, then handed over.
 *
 *   taken ──the rest is fetched──▶ standing ──everything is here──▶ prepared ──▶ ours, or not after all
 *
 * Standing, processes of this node ask for nothing of the file: no answer may be under way when its home
 * changes. Prepared, its copies are no matter of the session any more: they stay also when that ends.
 */
import { FsError } from '@cluster-fs/transport';
import type { BlockId } from './block-cache.ts';
import type { CacheState } from './cache.ts';
import type { CacheId } from './directory.ts';
import { type Holder, owned } from './holder.ts';

/**
 * Blocks under way of a file that is fetched: 2 MiB keep a fast link busy for longer than an answer takes. A
 * store that takes a block back from here waits for all that was asked for before.
 */
const fetchers = 32;

type Access = 'read' | 'write';

export interface TakenParts<B> {
  readonly holder: () => Holder<B>;
  readonly inoOf: (block: BlockId) => number;
  /** The blocks of a file that are no hole. */
  readonly blocksOf: (ino: number) => BlockId[];
  /** Those of which pages are not in memory here. */
  readonly withAbsent: (ino: number) => ReadonlySet<BlockId>;
  readonly may: (block: BlockId, access: Access) => boolean;
  /** Whether the file may be taken. */
  readonly isOpen: (ino: number) => boolean;
  /** Sees to it that it may, also in a session that has just begun. */
  readonly open: (ino: number) => Promise<void>;
  /** Requires: `isOpen`. */
  readonly ask: (block: BlockId, access: Access) => void;
  /** Resolves when something has become of a block; `inTime`: ETIMEDOUT when that takes too long. */
  readonly changed: (block: BlockId, waiting?: { readonly inTime: boolean }) => Promise<void>;
  /** ETIMEDOUT when it takes too long: the home does not give a block, because it cannot read it, say. */
  readonly inTime: (work: Promise<unknown>) => Promise<void>;
  /** The session that this node has with the home. */
  readonly session: () => CacheId | undefined;
  /** Throws while the home cannot be reached. */
  readonly assertReachable: () => void;
  /** What processes here have stored into the block since it came is lost. */
  readonly lose: (block: BlockId) => void;
}

/** What is here of a block. */
type Copy = 'S' | 'E';

interface Prepared {
  /** Undefined: of a node of before. */
  readonly session: CacheId | undefined;
  readonly copies: ReadonlyMap<BlockId, Copy>;
}

/** How far a file is fetched, in blocks. */
export interface Progress {
  readonly present: number;
  readonly total: number;
}

export class Taken<B> {
  readonly #parts: TakenParts<B>;
  /** And what has come of them since it was asked for the last time. */
  readonly #files = new Map<number, Set<BlockId>>();
  /** What is being prepared, or is; another object each time. */
  readonly #standing = new Map<number, object>();
  readonly #prepared = new Map<number, Prepared>();

  constructor(parts: TakenParts<B>) {
    this.#parts = parts;
  }

  /** Nothing of such a file goes. */
  has(ino: number): boolean {
    return this.#files.has(ino);
  }

  get isAny(): boolean {
    return this.#files.size > 0;
  }

  /** Of such a file nothing is asked. */
  isStanding(ino: number): boolean {
    return this.#standing.has(ino);
  }

  isPrepared(ino: number): boolean {
    return this.#prepared.has(ino);
  }

  /** What is kept of a block of a prepared file, and may be used: as long as the session lasts. */
  copyOf(block: BlockId): Copy | undefined {
    const prepared = this.#prepared.get(this.#parts.inoOf(block));
    return this.isCurrent(this.#parts.inoOf(block)) ? prepared?.copies.get(block) : undefined;
  }

  /** Whether a prepared file is that in the session that there is: what is here of it may be used. */
  isCurrent(ino: number): boolean {
    const session = this.#prepared.get(ino)?.session;
    return session !== undefined && session === this.#parts.session();
  }

  /**
   * Whether anything is kept from a session that is over: until it is known whose the file is nobody may use
   * it, and what is said of the lease must not let processes do that.
   */
  get hasOutlived(): boolean {
    for (const ino of this.#prepared.keys()) if (!this.isCurrent(ino)) return true;
    return false;
  }

  begin(ino: number): void {
    if (this.#files.has(ino)) return;
    const { blocksOf, withAbsent } = this.#parts;
    const absent = withAbsent(ino);
    this.#files.set(ino, new Set(blocksOf(ino).filter((block) => !absent.has(block))));
  }

  /** A block has come. */
  arrived(block: BlockId): void {
    this.#files.get(this.#parts.inoOf(block))?.add(block);
  }

  /**
   * Blocks that have come since the last time, or that processes here may have stored into. Requires: the
   * file is still to be kept.
   */
  takeNews(ino: number): Iterable<BlockId> {
    const news = this.#files.get(ino);
    if (news === undefined) throw new Error(`inode ${ino} is not to be kept here`);
    this.#files.set(ino, new Set());
    for (const [block, state] of this.#prepared.get(ino)?.copies ?? []) if (state === 'E') news.add(block);
    return news;
  }

  /** Fetches blocks to read until `isTime`; how many are here then. Some may be taken back. */
  async fetch(ino: number, isTime: () => boolean): Promise<Progress> {
    const { missing } = this.#look(ino);
    let next = 0;
    const fetcher = async (): Promise<void> => {
      for (let i = next++; i < missing.length && !isTime(); i = next++)
        await this.#get(missing[i] as BlockId, 'read');
    };
    await this.#parts.inTime(Promise.all(Array.from({ length: fetchers }, fetcher)));
    const { copies, missing: left } = this.#look(ino);
    return { present: copies.size, total: copies.size + left.length };
  }

  /** What is here of a file to read; the rest is not here, or on its way to something else. */
  #look(ino: number): { readonly copies: Map<BlockId, Copy>; readonly missing: BlockId[] } {
    const { blocksOf, withAbsent } = this.#parts;
    const absent = withAbsent(ino);
    const copies = new Map<BlockId, Copy>();
    const missing: BlockId[] = [];
    for (const block of blocksOf(ino)) {
      const state = this.#state(block);
      if (isCopy(state) && !absent.has(block)) copies.set(block, state);
      else missing.push(block);
    }
    return { copies, missing };
  }

  /** Gets the rest, and these blocks with no other copy anywhere. When this resolves it is prepared. */
  async prepare(ino: number, alone: readonly BlockId[]): Promise<void> {
    const { holder, session: sessionNow } = this.#parts;
    const standing = {};
    this.#standing.set(ino, standing);
    const session = sessionNow();
    await Promise.all(alone.map((block) => this.#get(block, 'write', { session })));
    let { copies, missing } = this.#look(ino);
    let asked = this.#askedOfHoles(ino);
    while (missing.length + asked.length > 0) {
      const got = missing.map((block) => this.#get(block, 'read', { session }));
      await Promise.all([...got, ...asked.map((block) => this.#answered(block, session))]);
      ({ copies, missing } = this.#look(ino));
      asked = this.#askedOfHoles(ino);
    }
    if (session === undefined || session !== sessionNow()) throw sessionIsOver();
    if (this.#standing.get(ino) !== standing) throw givenUp();
    this.#prepared.set(ino, { session, copies });
    for (const block of copies.keys()) holder().abandon(block);
  }

  /** Blocks whose answers are under way, and which have become holes since they were asked for. */
  #askedOfHoles(ino: number): BlockId[] {
    const { holder, inoOf, blocksOf } = this.#parts;
    const asked = [...holder().asked].filter((block) => inoOf(block) === ino);
    if (asked.length === 0) return asked;
    const present = new Set(blocksOf(ino));
    return asked.filter((block) => !present.has(block));
  }

  async #answered(block: BlockId, session: CacheId | undefined): Promise<void> {
    const { assertReachable, changed: changes, holder, session: sessionNow } = this.#parts;
    assertReachable();
    if (session !== sessionNow()) throw sessionIsOver();
    const changed = changes(block, { inTime: true });
    holder().wait(block);
    await changed;
  }

  /** Those of the blocks that are no holes: of others the next home and the old one know nothing. */
  presentOf(ino: number, blocks: readonly BlockId[]): BlockId[] {
    const present = new Set(this.#parts.blocksOf(ino));
    return blocks.filter((block) => present.has(block));
  }

  /** A node of before had prepared it, and was killed: nobody knows yet whose it is. */
  resume(ino: number): void {
    this.#files.set(ino, new Set());
    this.#standing.set(ino, {});
    this.#prepared.set(ino, { session: undefined, copies: this.#present(ino) });
  }

  /** Whatever is in memory here. */
  #present(ino: number): Map<BlockId, Copy> {
    const { blocksOf, withAbsent } = this.#parts;
    const absent = withAbsent(ino);
    const present = blocksOf(ino).filter((block) => !absent.has(block));
    return new Map(present.map((block) => [block, 'S']));
  }

  /** Blocks of a prepared file of which somebody else may have a copy, too. */
  *sharedOf(ino: number): Generator<BlockId> {
    for (const [block, state] of this.#prepared.get(ino)?.copies ?? []) if (state === 'S') yield block;
  }

  /** `last`: the file waits for it, and the session in which it is of use. */
  async #get(
    block: BlockId,
    access: Access,
    last?: { readonly session: CacheId | undefined },
  ): Promise<void> {
    const { assertReachable, changed: changes, inoOf, isOpen, open, ask, holder, session } = this.#parts;
    while (!this.#isHere(block, access)) {
      // Who is not its home any more would not answer.
      if (!this.#files.has(inoOf(block))) throw givenUp();
      assertReachable();
      if (last?.session !== undefined && last.session !== session()) throw sessionIsOver();
      if (!isOpen(inoOf(block))) {
        await open(inoOf(block));
        continue;
      }
      // A timer for each of many costs more than all that is done to wait.
      const changed = changes(block, { inTime: last !== undefined });
      // Whoever fails before it is awaited has failed for another reason.
      changed.catch(() => undefined);
      // What is on its way to something else is waited for, also when it can be read meanwhile.
      if (isSettled(this.#state(block))) ask(block, access);
      else holder().wait(block);
      await changed;
    }
  }

  #isHere(block: BlockId, access: Access): boolean {
    return isCopy(this.#state(block)) && this.#parts.may(block, access);
  }

  #state(block: BlockId): CacheState {
    return this.#parts.holder().cache.state(block);
  }

  /** What was kept is the session's again: its home goes on with the file. */
  reattach(ino: number): void {
    const prepared = this.#prepared.get(ino);
    this.#prepared.delete(ino);
    for (const [block, state] of prepared?.copies ?? [])
      this.#parts.holder().adopt(block, state, prepared?.session);
  }

  /** The file is not this node's after all. */
  release(ino: number): void {
    this.#files.delete(ino);
    this.reattach(ino);
    if (this.#standing.delete(ino)) this.#parts.holder().retry((block) => this.#parts.inoOf(block) === ino);
  }

  /** Whether no copy of any of its blocks is here, or on its way out. */
  hasNothing(ino: number): boolean {
    if (this.isPrepared(ino)) return false;
    for (const [block, state] of this.#parts.holder().cache.blocks)
      if (this.#parts.inoOf(block) === ino && state !== 'IS' && state !== 'IE') return false;
    return true;
  }

  /** Whether nothing of the file is here, and nothing was asked that has no answer yet. */
  isDone(ino: number): boolean {
    if (this.isPrepared(ino)) return false;
    for (const block of this.#parts.holder().cache.blocks.keys())
      if (this.#parts.inoOf(block) === ino) return false;
    return true;
  }

  /** A third node is the home: what was kept here for this one, and nowhere else, is lost, and said to be. */
  lose(ino: number): void {
    for (const [block, state] of this.#prepared.get(ino)?.copies ?? [])
      if (state === 'E') this.#parts.lose(block);
  }

  /** The file has another home: what is here of it is not from there any more. `gone` hears of each block. */
  abandon(ino: number, gone: (block: BlockId) => void): void {
    const { holder: holderOf, inoOf } = this.#parts;
    const holder = holderOf();
    for (const block of this.#end(ino)) gone(block);
    for (const [block, state] of [...holder.cache.blocks]) {
      if (inoOf(block) !== ino) continue;
      // Who has asked is answered, also where the home is no more.
      if (state === 'IS' || state === 'IE') continue;
      // Its home would have had it back before the file moved: the lease there was over.
      if (owned.has(state)) this.#parts.lose(block);
      gone(block);
      holder.abandon(block);
    }
    holder.retry((block) => inoOf(block) === ino);
  }

  /** The blocks that were kept. */
  #end(ino: number): Iterable<BlockId> {
    const copies = this.#prepared.get(ino)?.copies.keys() ?? [];
    this.#files.delete(ino);
    this.#standing.delete(ino);
    this.#prepared.delete(ino);
    return copies;
  }
}

export const givenUp = (): FsError => new FsError('ESTALE', 'move', { why: 'it was given up meanwhile' });

const sessionIsOver = (): FsError => new FsError('ESTALE', 'move', { why: 'the session is over' });

const isCopy = (state: CacheState): state is Copy => state === 'S' || state === 'E';
const isSettled = (state: CacheState): boolean => isCopy(state) || state === 'I';
