/**
 * A block in the cache of a node: what its processes may do with it, and what happens to that.
 *
 *            read              write                 write
 *   I ──────────▶ IS ──shared──▶ S ─────▶ SE ──granted──▶ E ◀──exclusive── IE ◀────── I
 *   I ◀──── SI ◀──invalidate──── S                        E ──downgrade──▶ ES ──▶ S
 *   I ◀──── SV ◀──evict───────── S                        E ──recall─────▶ EI ──▶ I
 *                                                         E ──evict──────▶ EV ──▶ I
 *
 * Two letters name a way: from where, to where. On SI, SIE, SV, ES, EI, EV and X the memory of the processes
 * is being changed, which ends with `done`; whoever touches the block meanwhile waits, and tries again then.
 *
 * INVARIANT: processes read in S, SE and E, and store in E only; on the ways out of these until `done`.
 * INVARIANT: an answer that gives a right up is sent after `done`, never before.
 */
import type { ToDirectory } from './messages.ts';

export const cacheStates = {
  I: 'invalid: no copy',
  S: 'shared: a copy to read; others may have one',
  E: 'exclusive: the only copy; stores go into it',
  IS: 'has asked to read',
  IE: 'has asked to store, without a copy',
  SE: 'has asked to store into its copy',
  SIE: 'has asked to store, and loses its copy before the answer',
  SI: 'gives its copy up: somebody else stores',
  SV: 'gives its copy up: memory is scarce',
  ES: 'stores no more: somebody else reads',
  EI: 'gives its bytes up: somebody else stores',
  EV: 'gives its bytes up: memory is scarce',
  X: 'fenced: gives its copy up, and says nothing',
} as const;
export type CacheState = keyof typeof cacheStates;

/** In which processes may load from the block. */
export const readable: ReadonlySet<CacheState> = new Set(['S', 'SE', 'E']);

export const cacheEvents = {
  read: 'a process reads and may not',
  write: 'a process stores and may not',
  evict: 'memory is scarce',
  flush: 'somebody wants what was stored to be safe at home',
  done: 'the memory of the processes is changed',
  shared: 'from the directory',
  exclusive: 'from the directory',
  granted: 'from the directory',
  invalidate: 'from the directory',
  downgrade: 'from the directory',
  recall: 'from the directory',
  refused: 'from the directory',
  moved: 'from the directory',
  fence: 'the lease is over, or the home began anew: nothing that was granted holds',
} as const;
export type CacheEvent = keyof typeof cacheEvents;

/** What a cache does: a message to the directory, or one of these. */
export const cacheActions = {
  drop: 'take the block from all processes, and keep its bytes for the message; then `done`',
  protect: 'let nobody store any more, and keep the bytes for the message; then `done`',
  install: 'put the bytes in, to be read',
  installWritable: 'put the bytes in, to be stored into',
  allow: 'let processes store',
  fail: 'who waits gets an error',
  lose: 'what was stored and not written back is lost: count it, and say so',
} as const;
export type CacheAction = ToDirectory | keyof typeof cacheActions;

export interface CacheRow {
  readonly next: CacheState;
  readonly actions: readonly CacheAction[];
}
/** What happens in a state when an event comes; 'never': a correct directory does not send it then. */
export type CacheTable = Readonly<Record<CacheState, Readonly<Record<CacheEvent, CacheRow | 'never'>>>>;

const to = (next: CacheState, ...actions: CacheAction[]): CacheRow => ({ next, actions });

type Cells = Partial<Record<CacheEvent, CacheRow | 'never'>>;

/** What a process wants waits until the state changes; a message that is not named cannot come. */
const state = (name: CacheState, cells: Cells): Record<CacheEvent, CacheRow | 'never'> => ({
  read: to(name),
  write: to(name),
  evict: to(name),
  flush: to(name),
  done: 'never',
  shared: 'never',
  exclusive: 'never',
  granted: 'never',
  invalidate: 'never',
  downgrade: 'never',
  recall: 'never',
  refused: 'never',
  moved: 'never',
  fence: 'never',
  ...cells,
});

/** Without a copy: what was sent to the copy of before is answered. */
const withoutCopy: Cells = {
  invalidate: to('I', 'invalidateAck'),
  downgrade: to('I', 'nothing'),
  recall: to('I', 'nothing'),
  fence: to('I'),
};

const staying = (name: CacheState): Cells => ({
  invalidate: to(name, 'invalidateAck'),
  downgrade: to(name, 'nothing'),
  recall: to(name, 'nothing'),
});

export const cacheTable: CacheTable = {
  I: state('I', { read: to('IS', 'getShared'), write: to('IE', 'getExclusive'), ...withoutCopy }),
  S: state('S', {
    write: to('SE', 'upgrade'),
    evict: to('SV', 'drop'),
    invalidate: to('SI', 'drop'),
    fence: to('X', 'drop'),
  }),
  E: state('E', {
    evict: to('EV', 'drop'),
    flush: to('E', 'writeBack'),
    downgrade: to('ES', 'protect'),
    recall: to('EI', 'drop'),
    fence: to('X', 'lose', 'drop'),
  }),
  IS: state('IS', {
    shared: to('S', 'install'),
    refused: to('I', 'fail'),
    moved: to('I'),
    ...staying('IS'),
    fence: to('I'),
  }),
  IE: state('IE', {
    exclusive: to('E', 'installWritable'),
    refused: to('I', 'fail'),
    moved: to('I'),
    ...staying('IE'),
    fence: to('I'),
  }),
  SE: state('SE', {
    granted: to('E', 'allow'),
    invalidate: to('SIE', 'drop'),
    refused: to('S', 'fail'),
    moved: to('S'),
    fence: to('X', 'drop'),
  }),
  SIE: state('SIE', { done: to('IE', 'invalidateAck'), fence: to('X') }),
  SI: state('SI', { done: to('I', 'invalidateAck'), fence: to('X') }),
  SV: state('SV', { done: to('I'), invalidate: to('SI'), fence: to('X') }),
  ES: state('ES', { done: to('S', 'yielded'), fence: to('X', 'lose', 'drop') }),
  EI: state('EI', { done: to('I', 'returned'), fence: to('X', 'lose') }),
  EV: state('EV', {
    done: to('I', 'evicted'),
    downgrade: to('EI'),
    recall: to('EI'),
    fence: to('X', 'lose'),
  }),
  X: state('X', { done: to('I'), fence: to('X') }),
};

/** Throws when the other side breaks the protocol: its messages cannot be believed any more. */
export function stepCache(current: CacheState, event: CacheEvent, table: CacheTable = cacheTable): CacheRow {
  const row = table[current][event];
  if (row === 'never') throw new Error(`a block in ${current} got ${event}`);
  return row;
}
