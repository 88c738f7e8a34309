/**
 * STags at the home: rights of other nodes to files, each for an inode, a mode and a session. Resolved when a
 * message arrives, wherever the file lies then.
 *
 *   asked for ──filled──▶ given ──given back──▶ closing ──its session knows it no more──▶ gone
 *
 * While one is closing, what is on its way to its session is still answered, and named by it.
 */
import { FsError } from '@cluster-fs/transport';
import type { CacheId } from './directory.ts';
import type { ToDirectory } from './messages.ts';

/** `take`: to be the next home of the file. */
export type TagMode = 'r' | 'rw' | 'take';

/** What belongs to each STag. */
export interface TagMap<S, T> extends Iterable<readonly [S, T]> {
  readonly size: number;
  get(stag: S): T | undefined;
  set(stag: S, value: T): void;
  delete(stag: S): void;
  clear(): void;
}

/** What one is given with. */
export interface TagAsked {
  readonly ino: number;
  readonly mode: TagMode;
  /** That it is given to, and the number under which that has asked for it. */
  readonly session: CacheId;
  readonly asked: number;
}

export interface Tag<S> extends TagAsked {
  readonly stag: S;
  /** Until the file is as it must be. */
  readonly filled: Promise<void>;
  /** It is being given back. */
  isClosing: boolean;
  /** Its session has named it. The answer with another one may never have come. */
  isNamed: boolean;
  /** It goes with the answer to who hands the file over: when that is lost the file is not handed over. */
  readonly isWithFile: boolean;
}

export interface TagsWorld<S> {
  newMap<T>(): TagMap<S, T>;
  /** One that nobody can guess. */
  newStag(): S;
  /** The inode stays from here on; until `ended`, as often. When it throws nothing is given. */
  given(ino: number): void;
  ended(ino: number): void;
  /** Resolves when the file is as it must be for who has such a right. */
  fill(asked: TagAsked): Promise<void>;
  /** A session has nothing of a file any more. */
  forget(ino: number, session: CacheId): void;
}

const filled = Promise.resolve();

export class Tags<S> {
  readonly #world: TagsWorld<S>;
  readonly #byTag: TagMap<S, Tag<S>>;
  readonly #byFile = new Map<number, Set<Tag<S>>>();
  readonly #bySession = new Map<CacheId, Set<Tag<S>>>();

  constructor(world: TagsWorld<S>) {
    this.#world = world;
    this.#byTag = world.newMap();
  }

  get count(): number {
    return this.#byTag.size;
  }

  /**
   * Gives one, once: when the answer was lost with its link it is asked for again, under the same number.
   * `assertMay` throws when a new one may not be given. EAGAIN when the session ends meanwhile.
   */
  async open(asked: TagAsked, assertMay: () => void): Promise<Tag<S>> {
    let tag = this.#given(asked);
    if (tag === undefined) {
      assertMay();
      tag = this.#give(asked, false, (made) => this.#filled(made));
    }
    await tag.filled;
    // Who has another session asks for one of that.
    if (!this.#has(tag)) throw new FsError('EAGAIN', 'stag', { why: 'the session has ended' });
    return tag;
  }

  #given({ ino, session, asked }: TagAsked): Tag<S> | undefined {
    for (const tag of this.on(ino)) if (tag.session === session && tag.asked === asked) return tag;
    return undefined;
  }

  async #filled(tag: Tag<S>): Promise<void> {
    try {
      await this.#world.fill(tag);
    } catch (error) {
      this.#delete(tag);
      throw error;
    }
  }

  /** Gives one to who hands the file over. */
  give(asked: TagAsked): Tag<S> {
    return this.#give(asked, true, () => filled);
  }

  #give(asked: TagAsked, isWithFile: boolean, fill: (tag: Tag<S>) => Promise<void>): Tag<S> {
    const { ino, session } = asked;
    this.#world.given(ino);
    const state = { filled, isClosing: false, isNamed: false, isWithFile };
    const tag = { ...asked, ...state, stag: this.#world.newStag() };
    this.#byTag.set(tag.stag, tag);
    addTo(this.#byFile, ino, tag);
    addTo(this.#bySession, session, tag);
    return Object.assign(tag, { filled: fill(tag) });
  }

  #has(tag: Tag<S>): boolean {
    return this.#byTag.get(tag.stag) === tag;
  }

  /** ESTALE when it was not given to that session, or is over. */
  resolve(stag: S, session: CacheId | undefined): Tag<S> {
    const tag = this.#byTag.get(stag);
    if (tag === undefined || tag.session !== session) throw isOver();
    tag.isNamed = true;
    return tag;
  }

  /**
   * By which that session knows the file: one that it has named, else the last that came with the file. What
   * it gives back it knows until it has heard that this was heard.
   */
  of(ino: number, session: CacheId): Tag<S> | undefined {
    let [withFile, closing]: (Tag<S> | undefined)[] = [];
    for (const tag of this.on(ino)) {
      if (tag.session !== session) continue;
      if (tag.isClosing) closing = tag;
      else if (tag.isNamed) return tag;
      else if (tag.isWithFile) withFile = tag;
    }
    return withFile ?? closing;
  }

  /** Its session gives it back. Whether that is to be told that it is closed: not when it was told before. */
  giveBack(tag: Tag<S>): boolean {
    if (tag.isClosing) return false;
    const { ino, session } = tag;
    tag.isClosing = true;
    if (!this.#hasFile(ino, session)) this.#world.forget(ino, session);
    return true;
  }

  /** By one of which it is not known whether the session has it that has got nothing. */
  #hasFile(ino: number, session: CacheId): boolean {
    for (const { isClosing, isNamed, isWithFile, session: of } of this.on(ino))
      if (of === session && (isNamed || isWithFile) && !isClosing) return true;
    return false;
  }

  /** Those of which a session has not said that they are gone: it is told again over each of its links. */
  *closing(session: CacheId): Generator<S> {
    for (const { stag, isClosing } of this.#bySession.get(session) ?? []) if (isClosing) yield stag;
  }

  /** Its session knows it no more. */
  gone(stag: S, session: CacheId | undefined): void {
    const tag = this.resolve(stag, session);
    if (!tag.isClosing) throw new FsError('EPROTO', 'stag', { why: 'it was not given back before' });
    this.#delete(tag);
  }

  /** They end with the session. */
  ended(session: CacheId): void {
    for (const tag of [...(this.#bySession.get(session) ?? [])]) this.#delete(tag);
  }

  on(ino: number): Iterable<Tag<S>> {
    return this.#byFile.get(ino) ?? [];
  }

  /** Whether a node may store into the file. */
  isWritten(ino: number): boolean {
    for (const { mode } of this.on(ino)) if (mode === 'rw') return true;
    return false;
  }

  /** Whether the node of that session is to be its next home. */
  mayTake(ino: number, session: CacheId): boolean {
    for (const tag of this.on(ino)) if (tag.session === session && tag.mode === 'take') return true;
    return false;
  }

  /** Safe when it is over already. */
  #delete(tag: Tag<S>): void {
    if (!this.#has(tag)) return;
    this.#byTag.delete(tag.stag);
    deleteFrom(this.#byFile, tag.ino, tag);
    deleteFrom(this.#bySession, tag.session, tag);
    this.#world.ended(tag.ino);
  }
}

/** EACCES when a session may not say that by a right of that mode. */
export function assertMaySay(name: ToDirectory, mode: TagMode): void {
  if (mode === 'r' && (name === 'getExclusive' || name === 'upgrade'))
    throw new FsError('EACCES', 'stag', { why: 'the STag is for reading' });
}

const isOver = (): FsError =>
  new FsError('ESTALE', 'stag', { why: 'the STag was given to somebody else, or to nobody, or is over' });

function addTo<K, T>(sets: Map<K, Set<T>>, key: K, value: T): void {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([value]));
  else set.add(value);
}

function deleteFrom<K, T>(sets: Map<K, Set<T>>, key: K, value: T): void {
  const set = sets.get(key);
  set?.delete(value);
  if (set?.size === 0) sets.delete(key);
}
