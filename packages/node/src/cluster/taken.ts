/**
 * Files of a home that this node is about to keep: fetched while everybody goes on, then handed over.
 *
 *   taken ──the rest is fetched──▶ standing ──everything is here──▶ prepared ──▶ ours, or not after all
 *
 * Standing, processes of this node ask for nothing of the file: no answer may be under way when its home
 * changes. Prepared, its copies are no matter of the session any more: they stay also when that ends.
 */
import { FsError } from '@cluster-fs/transport';
import type { CacheState, Holder } from 'cluster-fs/coherence';
import type { Access } from '../coordinator/elsewhere.ts';
import { notGiven } from './block-memory.ts';
import { inoOf } from './blocks.ts';

/**
 * Blocks under way of a file that is fetched: 2 MiB keep a fast link busy for longer than an answer takes. A
 * store that takes a block back from here waits for all that was asked for before.
 */
const fetchers = 32;

/** How long is waited for blocks that were asked for. */
const patienceMs = 30_000;

export interface TakenParts {
  readonly holder: () => Holder<Buffer>;
  /** The blocks of a file that are no hole. */
  readonly blocksOf: (ino: number) => number[];
  /** Those of which pages are not in memory here. */
  readonly withAbsent: (ino: number) => ReadonlySet<number>;
  readonly may: (block: number, access: Access) => boolean;
  /** Whether the file may be taken. */
  readonly isOpen: (ino: number) => boolean;
  /** Sees to it that it may, also in a session that has just begun. */
  readonly open: (ino: number) => Promise<void>;
  /** Requires: `isOpen`. */
  readonly ask: (block: number, access: Access) => void;
  /** Resolves when something has become of a block; ETIMEDOUT after `limitMs`. */
  readonly changed: (block: number, limitMs?: number) => Promise<void>;
  /** The session that this node has with the home. */
  readonly session: () => number | undefined;
  /** Throws while the home cannot be reached. */
  readonly assertReachable: () => void;
}

/** What is here of a block. */
type Copy = 'S' | 'E';

interface Prepared {
  readonly session: number;
  readonly copies: ReadonlyMap<number, Copy>;
}

export class Taken {
  readonly #parts: TakenParts;
  /** And what has come of them since it was asked for the last time. */
  readonly #files = new Map<number, Set<number>>();
  readonly #standing = new Set<number>();
  readonly #prepared = new Map<number, Prepared>();

  constructor(parts: TakenParts) {
    this.#parts = parts;
  }

  /** Nothing of such a file goes. */
  has(ino: number): boolean {
    return this.#files.has(ino);
  }

  /** Of such a file nothing is asked. */
  isStanding(ino: number): boolean {
    return this.#standing.has(ino);
  }

  isPrepared(ino: number): boolean {
    return this.#prepared.has(ino);
  }

  /** What is kept of a block of a prepared file. */
  copyOf(block: number): Copy | undefined {
    return this.#prepared.get(inoOf(block))?.copies.get(block);
  }

  begin(ino: number): void {
    if (this.#files.has(ino)) return;
    const { blocksOf, withAbsent } = this.#parts;
    const absent = withAbsent(ino);
    this.#files.set(ino, new Set(blocksOf(ino).filter((block) => !absent.has(block))));
  }

  /** A block has come. */
  arrived(block: number): void {
    this.#files.get(inoOf(block))?.add(block);
  }

  /** Blocks that have come since the last time, or that processes here may have stored into. */
  takeNews(ino: number): Iterable<number> {
    const news = this.#files.get(ino) ?? new Set();
    this.#files.set(ino, new Set());
    for (const [block, state] of this.#prepared.get(ino)?.copies ?? []) if (state === 'E') news.add(block);
    return news;
  }

  /** Fetches blocks to read for as long as `untilMs`; how many are here then. Some may be taken back. */
  async fetch(ino: number, untilMs: number): Promise<{ present: number; total: number }> {
    const { missing } = this.#look(ino);
    let next = 0;
    const fetcher = async (): Promise<void> => {
      for (let i = next++; i < missing.length && performance.now() < untilMs; i = next++)
        await this.#get(missing[i] as number, 'read');
    };
    await inTime(Promise.all(Array.from({ length: fetchers }, fetcher)));
    const { copies, missing: left } = this.#look(ino);
    return { present: copies.size, total: copies.size + left.length };
  }

  /** What is here of a file to read; the rest is not here, or on its way to something else. */
  #look(ino: number): { readonly copies: Map<number, Copy>; readonly missing: number[] } {
    const { blocksOf, withAbsent } = this.#parts;
    const absent = withAbsent(ino);
    const copies = new Map<number, Copy>();
    const missing: number[] = [];
    for (const block of blocksOf(ino)) {
      const state = this.#state(block);
      if (isCopy(state) && !absent.has(block)) copies.set(block, state);
      else missing.push(block);
    }
    return { copies, missing };
  }

  /** Gets the rest, and these blocks with no other copy anywhere. When this resolves it is prepared. */
  async prepare(ino: number, alone: readonly number[]): Promise<void> {
    const { holder, session: sessionNow } = this.#parts;
    this.#standing.add(ino);
    const session = sessionNow();
    await Promise.all(alone.map((block) => this.#get(block, 'write', { session })));
    let { copies, missing } = this.#look(ino);
    while (missing.length > 0) {
      await Promise.all(missing.map((block) => this.#get(block, 'read', { session })));
      ({ copies, missing } = this.#look(ino));
    }
    if (session === undefined || session !== sessionNow()) throw sessionIsOver();
    this.#prepared.set(ino, { session, copies });
    for (const block of copies.keys()) holder().abandon(block);
  }

  /** Blocks of a prepared file of which somebody else may have a copy, too. */
  *sharedOf(ino: number): Generator<number> {
    for (const [block, state] of this.#prepared.get(ino)?.copies ?? []) if (state === 'S') yield block;
  }

  /** `last`: the file waits for it, and the session in which it is of use. */
  async #get(block: number, access: Access, last?: { readonly session: number | undefined }): Promise<void> {
    const { assertReachable, changed: changes, isOpen, open, ask, holder, session } = this.#parts;
    while (!this.#isHere(block, access)) {
      assertReachable();
      if (last?.session !== undefined && last.session !== session()) throw sessionIsOver();
      if (!isOpen(inoOf(block))) {
        await open(inoOf(block));
        continue;
      }
      // A timer for each of many costs more than all that is done to wait.
      const changed = changes(block, last === undefined ? undefined : patienceMs);
      // Whoever fails before it is awaited has failed for another reason.
      changed.catch(() => undefined);
      // What is on its way to something else is waited for, also when it can be read meanwhile.
      if (isSettled(this.#state(block))) ask(block, access);
      else holder().wait(block);
      await changed;
    }
  }

  #isHere(block: number, access: Access): boolean {
    return isCopy(this.#state(block)) && this.#parts.may(block, access);
  }

  #state(block: number): CacheState {
    return this.#parts.holder().cache.state(block);
  }

  /** What was kept is the session's again: its home goes on with the file. */
  reattach(ino: number): void {
    const prepared = this.#prepared.get(ino);
    this.#prepared.delete(ino);
    for (const [block, state] of prepared?.copies ?? [])
      this.#parts.holder().adopt(block, state, prepared?.session ?? 0);
  }

  /** The file is not this node's after all. */
  release(ino: number): void {
    this.#files.delete(ino);
    this.reattach(ino);
    if (this.#standing.delete(ino)) this.#parts.holder().retry((block) => inoOf(block) === ino);
  }

  /** The file has another home, perhaps this node: the blocks that were kept. */
  end(ino: number): Iterable<number> {
    const copies = this.#prepared.get(ino)?.copies.keys() ?? [];
    this.#files.delete(ino);
    this.#standing.delete(ino);
    this.#prepared.delete(ino);
    return copies;
  }
}

/** ETIMEDOUT when it takes too long: the home does not give a block, because it cannot read it, say. */
async function inTime(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(notGiven()), patienceMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

const sessionIsOver = (): FsError => new FsError('ESTALE', 'move', { why: 'the session is over' });

const isCopy = (state: CacheState): state is Copy => state === 'S' || state === 'E';
const isSettled = (state: CacheState): boolean => isCopy(state) || state === 'I';
