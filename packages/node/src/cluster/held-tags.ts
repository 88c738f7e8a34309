/**
 * STags that this node was given by one home: its rights to files there, for as long as its session of blocks
 * lasts. One is given back when nothing of the file is here and nobody uses it.
 *
 *   asked for ──▶ held ──given back──▶ closing ──the home has answered──▶ closed ──it has heard all──▶ gone
 *
 * What is asked for has a number. When the link ends before the answer, nobody knows here whether one was
 * given: the same is asked over the next link, under the same number, and one is given in all.
 */
import { FsError } from '@cluster-fs/transport';
import type { PeerLink, PeerReply, PeerRequest } from '@cluster-fs/transport/peer';
import type { Holder } from 'cluster-fs/coherence';
import { InodeCopy, readInode, type Segment } from 'cluster-fs/segment';
import type { Line } from './line.ts';
import { StagMap } from './stag-map.ts';

/** `take`: to be the next home of the file. */
export type TagMode = 'r' | 'rw' | 'take';

/** The rights to a file. */
interface FileTags {
  readonly generation: number;
  readonly given: Partial<Record<TagMode, Promise<Uint8Array>>>;
  /** Those of them that have come. */
  readonly come: Set<TagMode>;
  /** The strongest that has come. */
  stag: Uint8Array | undefined;
  /** How many are asked for: they are wanted. */
  asking: number;
}

/** What the rights are of. */
interface HeldTagsSession {
  readonly session: () => number | undefined;
  readonly said: () => Holder<Buffer>['said'];
  /** Whether it goes on over the link that is up. */
  readonly isWelcome: () => boolean;
}

/** Read again and again. */
const seen = new InodeCopy();

export class HeldTags {
  readonly #segment: Segment;
  readonly #line: Line;
  readonly #isWelcome: () => boolean;
  readonly #session: () => number | undefined;
  readonly #said: HeldTagsSession['said'];
  readonly #files = new Map<number, FileTags>();
  readonly #inoByTag = new StagMap<number>();
  /** Of which file each is. */
  readonly #closing = new StagMap<number>();
  /** Those by which something may have to be said again: until the home has that message. */
  #closed: { readonly stag: Uint8Array; readonly ino: number; readonly until: number }[] = [];
  #asked = 0;

  constructor(segment: Segment, line: Line, { isWelcome, session, said }: HeldTagsSession) {
    this.#isWelcome = isWelcome;
    this.#session = session;
    this.#said = said;
    this.#segment = segment;
    this.#line = line;
  }

  get count(): number {
    return this.#inoByTag.size;
  }

  /** Files of which nobody is asking for a right just now. */
  *idle(): Generator<number> {
    for (const [ino, { asking }] of this.#files) if (asking === 0) yield ino;
  }

  inoOf(stag: Uint8Array): number | undefined {
    return this.#inoByTag.get(stag);
  }

  /** One by which the home knows the file; what crosses its return is answered with it. */
  of(ino: number): Uint8Array {
    const stag = this.#files.get(ino)?.stag ?? this.#closingTag(ino) ?? this.#closedTag(ino);
    if (stag === undefined) throw new Error(`a block of inode ${ino} without an STag`);
    return stag;
  }

  #closingTag(ino: number): Uint8Array | undefined {
    for (const [stag, of] of this.#closing) if (of === ino) return stag;
    return undefined;
  }

  #closedTag(ino: number): Uint8Array | undefined {
    return this.#closed.find((each) => each.ino === ino)?.stag;
  }

  /** Whether the file may be used so already: then `open` does nothing. */
  isOpen(ino: number, mode: TagMode): boolean {
    const tags = this.#files.get(ino);
    const has = tags !== undefined && (tags.come.has(mode) || (mode === 'r' && tags.come.has('rw')));
    return has && readInode(this.#segment, ino, seen) && seen.generation === tags.generation;
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

  #tagsOf(ino: number): FileTags {
    const inode = new InodeCopy();
    if (!readInode(this.#segment, ino, inode))
      throw new FsError('ESTALE', 'stag', { why: `inode ${ino} is gone` });
    const { generation } = inode;
    const known = this.#files.get(ino);
    if (known?.generation === generation) return known;
    const tags: FileTags = { generation, given: {}, come: new Set(), stag: undefined, asking: 0 };
    this.#files.set(ino, tags);
    return tags;
  }

  async #ask(ino: number, tags: FileTags, mode: TagMode): Promise<void> {
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

  async #given(ino: number, tags: FileTags, mode: TagMode): Promise<Uint8Array> {
    const { generation } = tags;
    const asked = { ino, generation, mode, asked: this.nextAsked() };
    let { stag, session } = await this.#answered(asked);
    // One of a session that was over before the answer came is of no use.
    while (session !== this.#session()) ({ stag, session } = await this.#answered(asked));
    this.#inoByTag.set(stag, ino);
    tags.come.add(mode);
    if (mode !== 'r' || tags.stag === undefined) tags.stag = stag;
    return stag;
  }

  async #answered(asked: PeerRequest<'tagOpen'>): Promise<PeerReply<'tagOpen'>> {
    for (;;) {
      const link = await this.#welcomingLink();
      try {
        return (await link.request('tagOpen', asked)).reply;
      } catch (error) {
        if (link.closed === undefined) throw error;
      }
    }
  }

  /**
   * What was given back is said with the welcome: the home is to hear that before anything is asked. It is
   * waited for as an answer is, for as long as the link is up: who touches a page does not fail meanwhile.
   */
  #welcomingLink(): Promise<PeerLink> {
    const look = () => (this.#isWelcome() ? this.#line.current : undefined);
    return this.#line.told(look, Number.POSITIVE_INFINITY);
  }

  /** The number of what is asked next. */
  nextAsked(): number {
    return ++this.#asked;
  }

  /**
   * Somebody else has asked for one under that number, and the link ended before the answer: if one was given
   * it is given back.
   */
  async disown(asked: PeerRequest<'tagOpen'>): Promise<void> {
    const { stag, session } = await this.#answered(asked);
    if (session === this.#session()) this.refuse(asked.ino, stag);
  }

  /**
   * Gives back one that has come when nobody wants it. By one that is not known here the home would go on to
   * name the file. Requires: it is of the session that this node has there.
   */
  refuse(ino: number, stag: Uint8Array): void {
    this.#inoByTag.set(stag, ino);
    this.#close(stag, ino);
  }

  /** One that the home has given with something else: it got the file from this node. */
  adopt(ino: number, mode: TagMode, stag: Uint8Array): void {
    const tags = this.#tagsOf(ino);
    tags.given[mode] = Promise.resolve(stag);
    tags.come.add(mode);
    tags.stag = stag;
    this.#inoByTag.set(stag, ino);
  }

  giveBack(ino: number): void {
    if (this.#line.current === undefined) return;
    this.#files.delete(ino);
    for (const [stag, of] of this.#inoByTag) if (of === ino) this.#close(stag, ino);
  }

  #close(stag: Uint8Array, ino: number): void {
    if (this.#closing.get(stag) !== undefined) return;
    this.#closing.set(stag, ino);
    // Else it is said with the welcome, or never: the home may not know that session any more.
    if (this.#isWelcome()) this.#line.current?.event('tagClose', { stag });
  }

  /** The session goes on over another link, which knows nothing of what was said over the one before. */
  closeAgain(): void {
    for (const [stag] of this.#closing) this.#line.current?.event('tagClose', { stag });
  }

  /** The home will say nothing more of it. */
  closed(stag: Uint8Array): void {
    // Its session is over here: nothing more can be said of it.
    if (!this.#isWelcome()) return;
    const { posted, acknowledged } = this.#said();
    const ino = this.#closing.get(stag);
    this.#closed = this.#closed.filter(({ until }) => until > acknowledged);
    if (ino !== undefined && posted > acknowledged) this.#closed.push({ stag, ino, until: posted });
    this.#closing.delete(stag);
    this.#inoByTag.delete(stag);
    this.#line.current?.event('tagGone', { stag });
  }

  /** They end with the session. */
  forget(): void {
    this.#files.clear();
    this.#inoByTag.clear();
    this.#closing.clear();
    this.#closed = [];
  }
}
