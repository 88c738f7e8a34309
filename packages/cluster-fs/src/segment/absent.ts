/**
 * Which pages of files are absent from `data`: in the store, or zeros that nobody has touched. Only in
 * segments whose superblock says `paged`; elsewhere a page of a file is always there.
 *
 * One writer, the node, which sets a bit before it punches the page and clears it when the page is filled.
 * Readers look before they copy, and look at the `evictions` counter again after it.
 */
import type { Run } from '@cluster-fs/transport';
import { counter, type Segment, setCounter } from './segment.ts';

const wordOf = (s: Segment, page: number): number => s.absentOffset / 4 + (page >>> 5);

export const isAbsent = (s: Segment, page: number): boolean =>
  (Atomics.load(s.i32, wordOf(s, page)) & (1 << (page & 31))) !== 0;

/** The absent pages of a run, in order. */
export function absentRuns(s: Segment, { page, count }: Run): Run[] {
  const runs: Run[] = [];
  const end = page + count;
  for (let at = page; at < end; ) {
    const word = Atomics.load(s.i32, wordOf(s, at));
    const inWord = Math.min(end, (at | 31) + 1);
    if (word === 0) {
      at = inWord;
      continue;
    }
    for (; at < inWord; at++) {
      if ((word & (1 << (at & 31))) === 0) continue;
      const last = runs.at(-1);
      if (last !== undefined && last.page + last.count === at)
        runs[runs.length - 1] = { page: last.page, count: last.count + 1 };
      else runs.push({ page: at, count: 1 });
    }
  }
  return runs;
}

/** Whether any page of a run is absent. */
export function hasAbsent(s: Segment, { page, count }: Run): boolean {
  const end = page + count;
  for (let at = page; at < end; at = (at | 31) + 1) {
    const bits = Math.min(end, (at | 31) + 1) - at;
    if ((Atomics.load(s.i32, wordOf(s, at)) & maskOf(at, bits)) !== 0) return true;
  }
  return false;
}

/** So many bits of a word, from that of a page on. */
const maskOf = (page: number, bits: number): number => (bits === 32 ? -1 : (1 << bits) - 1) << (page & 31);

/** Marks pages absent or present. Requires: the caller is the one writer. */
export function setAbsent(s: Segment, { page, count }: Run, absent: boolean): void {
  let changed = 0;
  const end = page + count;
  for (let at = page; at < end; at = (at | 31) + 1) {
    const bits = Math.min(end, (at | 31) + 1) - at;
    const mask = maskOf(at, bits);
    const before = absent ? Atomics.or(s.i32, wordOf(s, at), mask) : Atomics.and(s.i32, wordOf(s, at), ~mask);
    changed += bitCount(mask & (absent ? ~before : before));
  }
  setCounter(s, 'absentPages', counter(s, 'absentPages') + (absent ? changed : -changed));
}

function bitCount(word: number): number {
  let count = 0;
  for (let left = word; left !== 0; left &= left - 1) count++;
  return count;
}

/** To be called before pages become absent: readers that are under way read again. */
export const countEviction = (s: Segment): void =>
  setCounter(s, 'evictions', (counter(s, 'evictions') + 1) >>> 0);
