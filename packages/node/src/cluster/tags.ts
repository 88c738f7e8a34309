/**
 * STags at the home: capabilities of other nodes, each for an inode, a mode and a session. Unforgeable, since
 * they are random; resolved when a message arrives, wherever the file lies then.
 */
import { randomBytes } from 'node:crypto';
import { FsError } from '@cluster-fs/transport';
import { type ToDirectory, toDirectoryNames } from 'cluster-fs/coherence';
import { StagMap } from './stag-map.ts';

export interface Tag {
  readonly stag: Buffer;
  readonly ino: number;
  /** `take`: of the next home. */
  readonly mode: 'r' | 'rw' | 'take';
  /** The session of blocks that it was given to, and the number under which that has asked for it. */
  readonly session: number;
  readonly asked: number;
  /** Once it is being given back: the number of the last message that was sent to its session before. */
  closedAfter: number | undefined;
  /** Its session has named it. Another one may have been given with an answer that never came. */
  isKnown: boolean;
}

/** What one is given with. */
export type Asked = Pick<Tag, 'ino' | 'mode' | 'session' | 'asked'>;

export class Tags {
  readonly #byTag = new StagMap<Tag>();
  readonly #byFile = new Map<number, Set<Tag>>();

  give({ ino, mode, session, asked }: Asked): Tag {
    const state = { closedAfter: undefined, isKnown: false };
    const tag: Tag = { stag: randomBytes(16), ino, mode, session, asked, ...state };
    this.#byTag.set(tag.stag, tag);
    this.#byFile.set(ino, (this.#byFile.get(ino) ?? new Set()).add(tag));
    return tag;
  }

  #find(stag: Uint8Array, session: number | undefined): Tag | undefined {
    const tag = this.#byTag.get(stag);
    return tag?.session === session ? tag : undefined;
  }

  /** ESTALE when it was not given to that session, or is over. */
  resolve(stag: Uint8Array, session: number | undefined): Tag {
    const tag = this.#find(stag, session);
    if (tag === undefined)
      throw new FsError('ESTALE', 'stag', {
        why: 'the STag was given to somebody else, or to nobody, or is over',
      });
    tag.isKnown = true;
    return tag;
  }

  /** What was given under that number, if the session still has it. */
  given(ino: number, session: number, asked: number): Tag | undefined {
    for (const tag of this.on(ino)) if (tag.session === session && tag.asked === asked) return tag;
    return undefined;
  }

  has(tag: Tag): boolean {
    return this.#byTag.get(tag.stag) === tag;
  }

  /**
   * One by which that session knows the file, in the message of that number: by what is being given back if
   * it was sent before, and what came later may not have come. What was given first has come, if none was
   * named yet.
   */
  of(ino: number, session: number, number: number): Tag | undefined {
    let [first, closing]: (Tag | undefined)[] = [];
    for (const tag of this.on(ino)) {
      if (tag.session !== session) continue;
      if (tag.closedAfter !== undefined) {
        if (number <= tag.closedAfter) return tag;
        closing = tag;
      } else if (tag.isKnown) return tag;
      else first ??= tag;
    }
    return first ?? closing;
  }

  /** It is given back, after the message of that number to its session. False when it was before. */
  close(tag: Tag, after: number): boolean {
    if (tag.closedAfter !== undefined) return false;
    tag.closedAfter = after;
    return true;
  }

  /** Those of which the session has not said that they are gone. */
  *closing(session: number): Generator<Buffer> {
    for (const { stag, closedAfter } of this.ofSession(session)) if (closedAfter !== undefined) yield stag;
  }

  /** The one that its session has given back and knows no more; undefined when that was said before. */
  gone(stag: Uint8Array, session: number | undefined): Tag | undefined {
    const tag = this.#find(stag, session);
    if (tag !== undefined && tag.closedAfter === undefined)
      throw new FsError('EPROTO', 'stag', { why: 'it was not given back before' });
    return tag;
  }

  /** Whether that session has one that it has not given back. */
  hasOpen(ino: number, session: number): boolean {
    for (const tag of this.on(ino)) if (tag.session === session && tag.closedAfter === undefined) return true;
    return false;
  }

  on(ino: number): Iterable<Tag> {
    return this.#byFile.get(ino) ?? [];
  }

  /** Whether a node may store into the file. */
  isWritten(ino: number): boolean {
    for (const { mode } of this.on(ino)) if (mode === 'rw') return true;
    return false;
  }

  /** Whether the node of that session is to be its next home. */
  mayTake(ino: number, session: number): boolean {
    for (const tag of this.on(ino)) if (tag.session === session && tag.mode === 'take') return true;
    return false;
  }

  /** EBUSY when a client of this node cannot have the file pinned in that mode. */
  assertMayPin(ino: number, mode: 'r' | 'rw'): void {
    for (const tag of this.on(ino))
      if (mode === 'rw' || tag.mode !== 'r')
        throw new FsError('EBUSY', 'map', {
          why: 'another node uses the file, and this client has it pinned',
        });
  }

  /** Whether it was there. */
  delete(tag: Tag): boolean {
    if (!this.has(tag)) return false;
    this.#byTag.delete(tag.stag);
    const onFile = this.#byFile.get(tag.ino);
    onFile?.delete(tag);
    if (onFile?.size === 0) this.#byFile.delete(tag.ino);
    return true;
  }

  get count(): number {
    return this.#byTag.size;
  }

  ofSession(session: number): Tag[] {
    return [...this.#byTag].map(([, tag]) => tag).filter((tag) => tag.session === session);
  }
}

/** What a node says, if its STag is good for that. */
export function nameOf({ mode }: Tag, message: number): ToDirectory {
  const name = toDirectoryNames[message];
  if (name === undefined) throw new FsError('EPROTO', 'blocks', { why: `message ${message}` });
  if (mode === 'r' && (name === 'getExclusive' || name === 'upgrade'))
    throw new FsError('EACCES', 'stag', { why: 'the STag is for reading' });
  return name;
}
