/** Which pages of which files may be newer than what is stored. In memory; SQLite knows the inodes. */
import type { Range } from './stored.ts';

interface Entry {
  /** Since when, on the coordinator's clock. */
  readonly sinceMs: number;
  ranges: Range[] | 'all';
}

/** More ranges than this are not worth their list. */
const maxRanges = 1024;

export class Dirty {
  readonly #entries = new Map<number, Entry>();

  get size(): number {
    return this.#entries.size;
  }

  /** When the oldest change was made that is not stored. */
  get oldestMs(): number | undefined {
    // A map is in the order of insertion, and entries are inserted when they become dirty.
    for (const { sinceMs } of this.#entries.values()) return sinceMs;
    return undefined;
  }

  has(ino: number): boolean {
    return this.#entries.has(ino);
  }

  /** What is known of an inode, each page once; undefined when it is clean. */
  of(ino: number): readonly Range[] | 'all' | undefined {
    const ranges = this.#entries.get(ino)?.ranges;
    return ranges === undefined || ranges === 'all' ? ranges : disjoint(ranges);
  }

  /** Those that became dirty before `beforeMs`. */
  inos(beforeMs = Number.POSITIVE_INFINITY): number[] {
    const old: number[] = [];
    for (const [ino, { sinceMs }] of this.#entries) if (sinceMs < beforeMs) old.push(ino);
    return old;
  }

  /** Whether the inode was clean. */
  mark(ino: number, range: Range | 'all', nowMs: number): boolean {
    const entry = this.#entries.get(ino);
    if (entry === undefined) {
      this.#entries.set(ino, { sinceMs: nowMs, ranges: range === 'all' ? range : [range] });
      return true;
    }
    if (entry.ranges === 'all') return false;
    if (range === 'all' || entry.ranges.length >= maxRanges) entry.ranges = 'all';
    else if (!continues(entry.ranges, range)) entry.ranges.push(range);
    return false;
  }

  /** As `of`, and the inode is clean then. */
  take(ino: number): readonly Range[] | 'all' | undefined {
    const ranges = this.of(ino);
    this.#entries.delete(ino);
    return ranges;
  }
}

function disjoint(ranges: readonly Range[]): Range[] {
  const joined: Range[] = [];
  for (const range of [...ranges].sort((a, b) => a.from - b.from))
    if (joined.length === 0 || !continues(joined, range)) joined.push(range);
  return joined;
}

/** Makes the last range longer when the next begins in it or right behind it: sequential writes are one. */
function continues(ranges: Range[], { from, count }: Range): boolean {
  const last = ranges.at(-1) as Range;
  if (from < last.from || from > last.from + last.count) return false;
  const end = Math.max(last.from + last.count, from + count);
  ranges[ranges.length - 1] = { from: last.from, count: end - last.from };
  return true;
}
