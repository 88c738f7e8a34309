/** The protocol with one rule broken: what checks it must notice each of these. */
import {
  type CacheEvent,
  type CacheRow,
  type CacheState,
  type CacheTable,
  cacheTable,
  type DirectoryEvent,
  type DirectoryRow,
  type DirectoryState,
  type DirectoryTable,
  directoryTable,
} from 'cluster-fs/coherence';
import { type Options, rules } from './simulation.ts';

const cacheWith = (...cells: readonly [CacheState, CacheEvent, CacheRow][]): CacheTable => {
  const table = structuredClone(cacheTable) as Record<CacheState, Record<CacheEvent, CacheRow | 'never'>>;
  for (const [state, event, row] of cells) table[state][event] = row;
  return table;
};

const directoryWith = (
  ...cells: readonly [DirectoryState, DirectoryEvent, readonly DirectoryRow[]][]
): DirectoryTable => {
  const table = structuredClone(directoryTable) as Record<
    DirectoryState,
    Record<DirectoryEvent, readonly DirectoryRow[] | 'never'>
  >;
  for (const [state, event, rows] of cells) table[state][event] = rows;
  return table;
};

/** Mistakes in a table: the simulation and the model checker must find them. */
export const brokenTables: Readonly<
  Record<string, { cacheTable?: CacheTable; directoryTable?: DirectoryTable }>
> = {
  'a copy is said to be gone while processes still read it': {
    cacheTable: cacheWith(
      ['S', 'invalidate', { next: 'SI', actions: ['drop', 'invalidateAck'] }],
      ['SI', 'done', { next: 'I', actions: [] }],
    ),
  },
  'the bytes are given away while processes still store': {
    cacheTable: cacheWith(['E', 'downgrade', { next: 'E', actions: ['writeBack'] }]),
    directoryTable: directoryWith([
      'recalling',
      'writeBack',
      [{ next: 'idle', actions: ['store', 'ownerShares', 'noOwner'] }],
    ]),
  },
  'a copy that is waited for to be stored into is kept when another one stores': {
    cacheTable: cacheWith(['SE', 'invalidate', { next: 'SE', actions: ['invalidateAck'] }]),
  },
  'nobody waits for the others to give their copies up': {
    directoryTable: directoryWith(
      ['idle', 'getExclusive', [{ next: 'owned', actions: ['invalidateOthers', 'grant'] }]],
      ['idle', 'upgrade', [{ next: 'owned', actions: ['invalidateOthers', 'grant'] }]],
      ['owned', 'invalidateAck', [{ next: 'owned', actions: ['leave'] }]],
      ['recalling', 'invalidateAck', [{ next: 'recalling', actions: ['leave'] }]],
      ['idle', 'invalidateAck', [{ next: 'idle', actions: ['leave'] }]],
    ),
  },
  'the bytes that come back are not kept': {
    directoryTable: directoryWith(['recalling', 'returned', [{ next: 'idle', actions: ['noOwner'] }]]),
  },
  'an owner that only stops to store is forgotten': {
    directoryTable: directoryWith([
      'recalling',
      'yielded',
      [{ next: 'idle', actions: ['store', 'noOwner'] }],
    ]),
  },
};

/** Mistakes that only time, or the transport, brings to light. */
export const brokenRules: Readonly<Record<string, Partial<Options>>> = {
  'a home takes back what a holder may still have': {
    rules: { homeTimes: { ...rules.times, leaseMs: rules.times.leaseMs / 2 } },
  },
  'processes go on when their node is stopped': { rules: { cutsOff: false } },
  'a home that starts anew gives away what it gave away before': { rules: { waitsForOldLeases: false } },
  'a loss of the owner is not noticed': {
    rules: { directoryTable: directoryWith(['owned', 'lost', [{ next: 'owned', actions: ['forget'] }]]) },
  },
  'a loss is not said to be one': {
    rules: { cacheTable: cacheWith(['E', 'fence', { next: 'X', actions: ['drop'] }]) },
  },
  'a request in line is forgotten': {
    rules: {
      directoryTable: directoryWith(['recalling', 'getShared', [{ next: 'recalling', actions: [] }]]),
    },
  },
  'a link loses a message': { faults: { loses: 0.002 } },
  'a link changes the order': { faults: { reorders: 0.01 } },
};
