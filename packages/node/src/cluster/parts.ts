/**
 * Metadata in parts that messages between nodes have room for: a commit may be of any size, and so may what
 * there is of one file be.
 */
import { FsError } from '@cluster-fs/transport';
import { mostPageRuns, type PeerInode, type PeerName, peerLimits } from '@cluster-fs/transport/peer';
import type { NetChanges } from './rows.ts';

/** With the largest row behind it, it still fits a frame. */
export const partBytes = peerLimits.frameBytes / 2;
const partRows = 4096;

/** Bytes in msgpack, at most: of what has no length of its own, of a run of pages, of a unit of UTF-16. */
const inodeBytes = 160;
const nameBytes = 16;
const goneBytes = 5;
const runBytes = 11;
const unitBytes = 3;

export const bytesOfRuns = (count: number): number => count * runBytes;

const bytesOfInode = ({ target = '', pages }: PeerInode): number =>
  inodeBytes + target.length * unitBytes + bytesOfRuns(pages.length);
const bytesOfName = ({ name }: PeerName): number => nameBytes + name.length * unitBytes;

/** What a commit takes, at most. */
export function bytesOf({ inodes, gone, names }: NetChanges): number {
  let bytes = gone.length * goneBytes;
  for (const inode of inodes) bytes += bytesOfInode(inode);
  for (const name of names) bytes += bytesOfName(name);
  return bytes;
}

/** At least one part. */
export function partsOf(changes: NetChanges): NetChanges[] {
  const { inodes, gone, names } = changes;
  const rows = inodes.length + gone.length + names.length;
  const isShort = rows <= partRows && inodes.every(({ pages }) => pages.length <= mostPageRuns);
  if (isShort && bytesOf(changes) <= partBytes) return [changes];
  return [
    ...batches(inodes.flatMap(rowsOf), bytesOfInode).map((part) => ({ inodes: part, gone: [], names: [] })),
    ...batches(gone, () => goneBytes).map((part) => ({ inodes: [], gone: part, names: [] })),
    ...batches(names, bytesOfName).map((part) => ({ inodes: [], gone: [], names: part })),
  ];
}

function rowsOf(inode: PeerInode): PeerInode[] {
  const { pages } = inode;
  const count = Math.max(1, Math.ceil(pages.length / mostPageRuns));
  return Array.from({ length: count }, (_, i) => ({
    ...inode,
    pages: pages.slice(i * mostPageRuns, (i + 1) * mostPageRuns),
    goesOn: i + 1 < count,
  }));
}

function batches<T>(rows: readonly T[], bytesIn: (row: T) => number): T[][] {
  const all: T[][] = [];
  let batch: T[] = [];
  let bytes = 0;
  for (const row of rows) {
    const more = bytesIn(row);
    if (batch.length === partRows || (batch.length > 0 && bytes + more > partBytes)) {
      all.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(row);
    bytes += more;
  }
  if (batch.length > 0) all.push(batch);
  return all;
}

/**
 * Sees to it that commits come as they were made: each once, in order, and its parts one after the other.
 * What is left out or comes twice would make another tree of it, and nobody would notice.
 */
export class Succession {
  /** The last commit that has come; undefined when any may be the first. */
  #last: number | undefined;
  /** The one whose parts are coming. */
  #coming: number | undefined;

  constructor(last: number | undefined) {
    this.#last = last;
  }

  /** EPROTO when something else is next. */
  take({ sequence, isLast }: { readonly sequence: number; readonly isLast: boolean }): void {
    const next = this.#coming ?? (this.#last === undefined ? sequence : this.#last + 1);
    if (sequence !== next) throw outOfOrder(`commit ${sequence} came, and ${next} is the next`);
    this.#coming = isLast ? undefined : sequence;
    if (isLast) this.#last = sequence;
  }

  /** Everything is as it is after that commit. EPROTO when others have come, or a part of one. */
  end(sequence: number): void {
    if (this.#coming !== undefined) throw outOfOrder(`commit ${this.#coming} has not come to its end`);
    if ((this.#last ?? sequence) !== sequence)
      throw outOfOrder(`everything is said to be as after commit ${sequence}, and ${this.#last} has come`);
    this.#last = sequence;
  }
}

const outOfOrder = (why: string): FsError => new FsError('EPROTO', 'changes', { why });

/** Puts parts together as they come. */
export class Joiner {
  /** The inode whose rows are coming, without the pages that came. */
  #begun: PeerInode[] = [];
  #parts: NetChanges[] = [];

  /** The inodes that are whole with these rows. */
  inodes(rows: readonly PeerInode[]): PeerInode[] {
    const whole: PeerInode[] = [];
    for (const row of rows) {
      this.#begun.push(row);
      if (row.goesOn) continue;
      const pages = this.#begun.length === 1 ? row.pages : this.#begun.flatMap((each) => each.pages);
      whole.push({ ...row, pages });
      this.#begun = [];
    }
    return whole;
  }

  /** A commit, when its last part has come. */
  commit(
    { inodes, gone, names }: NetChanges,
    { isLast }: { readonly isLast: boolean },
  ): NetChanges | undefined {
    this.#parts.push({ inodes: this.inodes(inodes), gone, names });
    if (!isLast) return undefined;
    const parts = this.#parts;
    this.#parts = [];
    const [first] = parts;
    if (parts.length === 1 && first !== undefined) return first;
    return {
      inodes: parts.flatMap((part) => part.inodes),
      gone: parts.flatMap((part) => part.gone),
      names: parts.flatMap((part) => part.names),
    };
  }
}
