/**
 * Until when processes of this host may use the blocks that it has of each home: written by the node, read by
 * all, also while the node stands still (docs/coherence.md).
 *
 * The clock is CLOCK_MONOTONIC in nanoseconds, as process.hrtime.bigint() tells it: all processes of a host
 * share it.
 */
import { assert } from '@cluster-fs/transport';
import { lease, maxHomes, superblock } from './layout.ts';
import type { Segment } from './segment.ts';

/** Of a home that is this node: its files need no lease. */
export const forever = 2n ** 63n - 1n;
const highOfForever = 0x7fff_ffff;

const wordOf = (home: number): number => (superblock.size + home * lease.size) / lease.size;

/** Pairs with `setHeldUntil`. */
export const heldUntilNs = (s: Segment, home: number): bigint =>
  home < maxHomes ? Atomics.load(s.i64, wordOf(home)) : 0n;

/** Requires: the caller is the node. */
export function setHeldUntil(s: Segment, home: number, untilNs: bigint): void {
  assert(home < maxHomes, 'a home with a number that segments have a word for');
  Atomics.store(s.i64, wordOf(home), untilNs);
}

/**
 * Whether what is here of files of that home may be used at that moment. When the word is 0 the node has
 * taken all of it away: what is touched is absent, and waits.
 */
export function isHeldAt(s: Segment, home: number, nowNs: bigint): boolean {
  if (isOwnHome(s, home)) return true;
  const untilNs = heldUntilNs(s, home);
  return untilNs === 0n || nowNs < untilNs;
}

/** Whether files of that home are this node's own; cheaper than `heldUntilNs`, and it stays so. */
export const isOwnHome = (s: Segment, home: number): boolean =>
  home < maxHomes && Atomics.load(s.i32, 2 * wordOf(home) + 1) === highOfForever;
