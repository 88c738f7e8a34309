/**
 * How far nodes are in the changes that the coordinator tells, and what one must know of a file before it
 * gets blocks of it: a node that knows an earlier size, say, would show a part of what is in the file now.
 *
 * A home that changes a file waits until all nodes know, and lends no block of it meanwhile. What is looked
 * at here is whether a node is one of them: it may have been given up, and be back since.
 *
 * INVARIANT: a block is lent to a node that has applied the last commit of the coordinator about its file.
 */
/** Changes up to `sequence` of a feed, which is one life of the coordinator. */
export interface Position {
  readonly feed: Uint8Array;
  readonly sequence: number;
}

/** What there is to know of a commit: whose the files are that it says something of, and which are gone. */
export interface Committed {
  readonly inodes: readonly { readonly ino: number; readonly home: number }[];
  readonly gone: readonly number[];
}

/** So many are told apart. */
const mostChanged = 65_536;

/** At a home, of the files that it keeps. */
export class Positions {
  #feed: string | undefined;
  /** The least that is good enough for any file. */
  #first = 0;
  /** Later commits about a file: the last one, by inode. */
  readonly #changed = new Map<number, number>();
  /** Files of which the coordinator does not know yet what was done here. */
  readonly #untold = new Set<number>();
  /** Of the nodes that have said it, by their sessions. */
  readonly #nodes = new Map<number, { readonly feed: string; readonly sequence: number }>();

  /** From here on changes are of that feed. */
  begin({ feed, sequence }: Position): void {
    this.#feed = nameOf(feed);
    this.#first = sequence;
    this.#changed.clear();
  }

  /** That is the commit of the coordinator of that number. `self`: of this node. */
  committed({ inodes, gone }: Committed, self: number | undefined, sequence: number): void {
    for (const { ino, home } of inodes) if (home === self) this.#changed.set(ino, sequence);
    for (const ino of gone) this.#changed.delete(ino);
    if (this.#changed.size <= mostChanged) return;
    // Asked of every file now. Nodes that follow are there in a moment.
    this.#first = sequence;
    this.#changed.clear();
  }

  isUntold(ino: number): boolean {
    return this.#untold.has(ino);
  }

  setUntold(ino: number, isUntold: boolean): void {
    if (isUntold) this.#untold.add(ino);
    else this.#untold.delete(ino);
  }

  /** `session`: undefined when it is over. */
  heard(session: number | undefined, { feed, sequence }: Position): void {
    if (session !== undefined) this.#nodes.set(session, { feed: nameOf(feed), sequence });
  }

  ended(session: number): void {
    this.#nodes.delete(session);
  }

  /** Whether the node of that session knows the file as it is. */
  knows(ino: number, session: number): boolean {
    const node = this.#nodes.get(session);
    if (node === undefined || node.feed !== this.#feed || this.#untold.has(ino)) return false;
    return node.sequence >= (this.#changed.get(ino) ?? this.#first);
  }
}

const nameOf = (feed: Uint8Array): string => feed.join();
