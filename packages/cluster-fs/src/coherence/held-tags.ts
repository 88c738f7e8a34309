/**
 * STags that a node was given by one home: its rights to files there, for as long as its session of blocks
 * lasts. One is given back when nothing of the file is here and nobody uses it.
 *
 *   asked for ──▶ held ──given back──▶ closing ──the home has answered──▶ closed ──it has heard all──▶ gone
 *
 * What is asked for has a number. When the link ends before the answer, nobody knows here whether one was
 * given: the same is asked over the next link, under the same number, and one is given in all.
 */
import { FsError } from '@cluster-fs/transport';
import type { CacheId } from './directory.ts';
import type { Holder } from './holder.ts';
import type { TagMap, TagMode } from './tags.ts';

/** What a home is asked. */
export interface TagRequest {
  readonly ino: number;
  readonly generation: number;
  readonly mode: TagMode;
  readonly asked: number;
}

/** What it answers: the STag, and the session that it is given to. */
export interface TagReply<S> {
  readonly stag: S;
  readonly session: CacheId;
}

export interface HeldTagsWorld<S> {
  newMap<T>(): TagMap<S, T>;
  /** The session that this node has there. */
  session(): CacheId | undefined;
  /** Of that session: `Holder.said`. */
  said(): Holder<unknown>['said'];
  /** Whether it goes on over the link that is up. */
  isWelcome(): boolean;
  /** Of the inode as it is now; undefined when there is none. */
  generationOf(ino: number): number | undefined;
  /**
   * Asks over the next link over which the session goes on: the home is to hear first what was given back.
   * Undefined when that link ends before the answer.
   */
  ask(asked: TagRequest): Promise<TagReply<S> | undefined>;
  /** Over the link that is up, if one is. */
  tell(name: 'tagClose' | 'tagGone', stag: S): void;
}

/** The rights to a file. */
interface FileTags<S> {
  readonly generation: number;
  readonly given: Partial<Record<TagMode, Promise<S>>>;
  /** Those of them that have come. */
  readonly come: Set<TagMode>;
  /** The strongest that has come. */
  stag: S | undefined;
  /** How many are asked for: they are wanted. */
  asking: number;
}

/** One that the home has closed, and by which what was said may have to be said again. */
interface ClosedTag<S> {
  readonly stag: S;
  readonly ino: number;
  /** The last message that may name it. */
  readonly until: number;
}

export class HeldTags<S> {
  readonly #world: HeldTagsWorld<S>;
  readonly #files = new Map<number, FileTags<S>>();
  readonly #inoByTag: TagMap<S, number>;
  /** Of which file each is. */
  readonly #closing: TagMap<S, number>;
  #closed: ClosedTag<S>[] = [];
  #asked = 0;

  constructor(world: HeldTagsWorld<S>) {
    this.#world = world;
    this.#inoByTag = world.newMap();
    this.#closing = world.newMap();
  }

  get count(): number {
    return this.#inoByTag.size;
  }

  /** Files of which nobody is asking for a right just now. */
  *idle(): Generator<number> {
    for (const [ino, { asking }] of this.#files) if (asking === 0) yield ino;
  }

  inoOf(stag: S): number | undefined {
    return this.#inoByTag.get(stag);
  }

  /** By which the home knows the file in the message to it of that number. */
  of(ino: number, number: number): S {
    const stag = this.#files.get(ino)?.stag ?? this.#closingTag(ino) ?? this.#closedTag(ino, number);
    if (stag === undefined) throw new Error(`a block of inode ${ino} without an STag`);
    return stag;
  }

  #closingTag(ino: number): S | undefined {
    for (const [stag, of] of this.#closing) if (of === ino) return stag;
    return undefined;
  }

  #closedTag(ino: number, number: number): S | undefined {
    return this.#closed.find((each) => each.ino === ino && number <= each.until)?.stag;
  }

  /** Whether the file may be used so already: then `open` does nothing. */
  isOpen(ino: number, mode: TagMode): boolean {
    const tags = this.#files.get(ino);
    const has = tags !== undefined && (tags.come.has(mode) || (mode === 'r' && tags.come.has('rw')));
    return has && this.#world.generationOf(ino) === tags.generation;
  }

  /** Sees to it that the file may be used so. ESTALE when it is gone, EAGAIN when it has another home. */
  async open(ino: number, mode: TagMode): Promise<void> {
    for (;;) {
      const tags = this.#tagsOf(ino);
      const asked = tags.given[mode] ?? (mode === 'r' ? tags.given.rw : undefined);
      await (asked ?? this.#ask(ino, tags, mode));
      // A new session may have begun meanwhile, in which nobody knows of it.
      if (this.#files.get(ino) === tags) return;
    }
  }

  #tagsOf(ino: number): FileTags<S> {
    const generation = this.#world.generationOf(ino);
    if (generation === undefined) throw new FsError('ESTALE', 'stag', { why: `inode ${ino} is gone` });
    const known = this.#files.get(ino);
    if (known?.generation === generation) return known;
    const tags: FileTags<S> = { generation, given: {}, come: new Set(), stag: undefined, asking: 0 };
    this.#files.set(ino, tags);
    return tags;
  }

  async #ask(ino: number, tags: FileTags<S>, mode: TagMode): Promise<void> {
    const given = this.#given(ino, tags, mode);
    tags.given[mode] = given;
    tags.asking++;
    try {
      await given;
    } catch (error) {
      delete tags.given[mode];
      throw error;
    } finally {
      tags.asking--;
    }
  }

  async #given(ino: number, tags: FileTags<S>, mode: TagMode): Promise<S> {
    const { generation } = tags;
    const asked = { ino, generation, mode, asked: this.nextAsked() };
    let { stag, session } = await this.#answered(asked);
    // One of a session that was over before the answer came is of no use.
    while (session !== this.#world.session()) ({ stag, session } = await this.#answered(asked));
    this.#inoByTag.set(stag, ino);
    this.#came(tags, mode, stag);
    return stag;
  }

  #came(tags: FileTags<S>, mode: TagMode, stag: S): void {
    tags.come.add(mode);
    if (mode !== 'r' || tags.stag === undefined) tags.stag = stag;
  }

  async #answered(asked: TagRequest): Promise<TagReply<S>> {
    for (;;) {
      const reply = await this.#world.ask(asked);
      if (reply !== undefined) return reply;
    }
  }

  /** The number of what is asked next. */
  nextAsked(): number {
    return ++this.#asked;
  }

  /**
   * Somebody else has asked for one under that number, and the link ended before the answer: if one was given
   * it is given back.
   */
  async disown(asked: TagRequest): Promise<void> {
    const { stag, session } = await this.#answered(asked);
    if (session === this.#world.session()) this.refuse(asked.ino, stag);
  }

  /**
   * Gives back one that has come when nobody wants it. By one that is not known here the home would go on to
   * name the file. Requires: it is of the session that this node has there.
   */
  refuse(ino: number, stag: S): void {
    this.#inoByTag.set(stag, ino);
    this.#close(stag, ino);
  }

  /** One that the home has given with something else: it got the file from this node. */
  adopt(ino: number, mode: TagMode, stag: S): void {
    const tags = this.#tagsOf(ino);
    tags.given[mode] = Promise.resolve(stag);
    this.#came(tags, mode, stag);
    this.#inoByTag.set(stag, ino);
  }

  /**
   * The file has another home. When it comes back it may have holes again where a right to store has given it
   * pages: the same is asked for anew then. What was given names it until it is given back.
   */
  left(ino: number): void {
    const before = this.#files.get(ino);
    if (before !== undefined) this.#files.set(ino, { ...before, given: {}, come: new Set(), asking: 0 });
  }

  giveBack(ino: number): void {
    this.#files.delete(ino);
    for (const [stag, of] of this.#inoByTag) if (of === ino) this.#close(stag, ino);
  }

  #close(stag: S, ino: number): void {
    if (this.#closing.get(stag) !== undefined) return;
    this.#closing.set(stag, ino);
    // Else it is said with the welcome, or never: the home may not know that session any more.
    if (this.#world.isWelcome()) this.#world.tell('tagClose', stag);
  }

  /** The session goes on over another link, which knows nothing of what was said over the one before. */
  closeAgain(): void {
    for (const [stag] of this.#closing) this.#world.tell('tagClose', stag);
  }

  /** The home names no file by it any more, except in what it may have to say again. */
  closed(stag: S): void {
    // Its session is over here: nothing more can be said of it.
    if (!this.#world.isWelcome()) return;
    const { posted, acknowledged } = this.#world.said();
    const ino = this.#closing.get(stag);
    this.#closed = this.#closed.filter(({ until }) => until > acknowledged);
    if (ino !== undefined && posted > acknowledged) this.#closed.push({ stag, ino, until: posted });
    this.#closing.delete(stag);
    this.#inoByTag.delete(stag);
    this.#world.tell('tagGone', stag);
  }

  /** They end with the session. */
  forget(): void {
    this.#files.clear();
    this.#inoByTag.clear();
    this.#closing.clear();
    this.#closed = [];
  }
}
