/**
 * The directory of a block, at its home: who has a copy, and who gets one next.
 *
 *   idle ──getShared──▶ idle          the home's bytes are the newest; any number of sharers
 *   idle ──getExclusive, upgrade──▶ owned, when nobody else has a copy
 *        └──▶ invalidating ──last invalidateAck──▶ idle, and the request once more
 *   owned ──any request──▶ recalling ──yielded, returned, nothing──▶ idle, and the request once more
 *
 * One transaction at a time: what comes meanwhile stands in line. The processes of the home itself are a
 * cache like any other.
 *
 * INVARIANT: a block with an owner has no sharers.
 * INVARIANT: in idle and invalidating, no cache can store; every cache that can read is a sharer.
 */
import type { ToCache, ToDirectory } from './messages.ts';

/** A cache: a session of a node with the home, never used again. */
export type CacheId = number;

export const directoryStates = {
  idle: 'the bytes at home are the newest; sharers have copies of them',
  owned: 'one cache may store; the bytes at home are old',
  invalidating: 'sharers give their copies up, so that one may store',
  recalling: 'the owner is asked for the bytes',
} as const;
export type DirectoryState = keyof typeof directoryStates;

/** Messages of caches, and two of the home: `clear` wants all copies back, `lost`: a cache is no more. */
export type DirectoryEvent = ToDirectory | 'clear' | 'lost';

export const directoryGuards = {
  others: 'somebody besides the asker has a copy',
  copies: 'somebody has a copy',
  last: 'all others have answered',
  owner: 'it was the owner',
} as const;
export type DirectoryGuard = keyof typeof directoryGuards;

export const directoryActions = {
  share: 'send `shared`; the asker is a sharer',
  grant: 'send `exclusive`, or `granted` to a sharer; the asker is the owner, and nobody a sharer',
  invalidateOthers: 'send `invalidate` to every sharer but the asker, and await them',
  downgradeOwner: 'send `downgrade` to the owner',
  recallOwner: 'send `recall` to the owner',
  enqueue: 'the request goes to the end of the line',
  retry: 'the request goes to the head of the line',
  store: 'the bytes of the message are the newest at home',
  revert: 'the bytes at home are the newest again; what was stored since is lost, and reported',
  ownerShares: 'the owner becomes a sharer',
  noOwner: 'there is no owner',
  leave: 'the sender is neither a sharer nor awaited',
  forget: 'as leave; and its requests leave the line',
  cleared: 'the home has the only copy: it may change the block',
} as const;
export type DirectoryAction = keyof typeof directoryActions;

export interface DirectoryRow {
  /** Without one: the row for all other cases. */
  readonly when?: DirectoryGuard;
  readonly next: DirectoryState;
  readonly actions: readonly DirectoryAction[];
}
export type DirectoryTable = Readonly<
  Record<DirectoryState, Readonly<Record<DirectoryEvent, readonly DirectoryRow[] | 'never'>>>
>;

const to = (next: DirectoryState, ...actions: DirectoryAction[]): DirectoryRow => ({ next, actions });
const when = (guard: DirectoryGuard, next: DirectoryState, ...actions: DirectoryAction[]): DirectoryRow => ({
  when: guard,
  next,
  actions,
});

const inLine = (name: DirectoryState) => ({
  getShared: [to(name, 'enqueue')],
  getExclusive: [to(name, 'enqueue')],
  upgrade: [to(name, 'enqueue')],
  clear: [to(name, 'enqueue')],
});

const nothingElse = {
  invalidateAck: 'never',
  yielded: 'never',
  returned: 'never',
  nothing: 'never',
  evicted: 'never',
  writeBack: 'never',
} as const;

export const directoryTable: DirectoryTable = {
  idle: {
    ...nothingElse,
    getShared: [to('idle', 'share')],
    getExclusive: [when('others', 'invalidating', 'invalidateOthers', 'retry'), to('owned', 'grant')],
    upgrade: [when('others', 'invalidating', 'invalidateOthers', 'retry'), to('owned', 'grant')],
    clear: [when('copies', 'invalidating', 'invalidateOthers', 'retry'), to('idle', 'cleared')],
    lost: [to('idle', 'forget')],
  },
  owned: {
    ...nothingElse,
    getShared: [to('recalling', 'downgradeOwner', 'retry')],
    getExclusive: [to('recalling', 'recallOwner', 'retry')],
    upgrade: [to('recalling', 'recallOwner', 'retry')],
    clear: [to('recalling', 'recallOwner', 'retry')],
    writeBack: [to('owned', 'store')],
    evicted: [to('idle', 'store', 'noOwner')],
    lost: [when('owner', 'idle', 'revert', 'noOwner', 'forget'), to('owned', 'forget')],
  },
  invalidating: {
    ...nothingElse,
    ...inLine('invalidating'),
    invalidateAck: [when('last', 'idle', 'leave'), to('invalidating', 'leave')],
    lost: [when('last', 'idle', 'forget'), to('invalidating', 'forget')],
  },
  recalling: {
    ...nothingElse,
    ...inLine('recalling'),
    yielded: [to('idle', 'store', 'ownerShares', 'noOwner')],
    returned: [to('idle', 'store', 'noOwner')],
    nothing: [to('idle', 'noOwner')],
    evicted: [to('recalling', 'store')],
    writeBack: [to('recalling', 'store')],
    lost: [when('owner', 'idle', 'revert', 'noOwner', 'forget'), to('recalling', 'forget')],
  },
};

export interface Wanted {
  readonly want: 'getShared' | 'getExclusive' | 'upgrade' | 'clear';
  readonly from: CacheId;
}

/** What the directory knows of a block. */
export interface Entry {
  readonly state: DirectoryState;
  readonly owner: CacheId | undefined;
  readonly sharers: ReadonlySet<CacheId>;
  /** Sharers that have not answered `invalidate`. */
  readonly awaited: ReadonlySet<CacheId>;
  readonly queue: readonly Wanted[];
}

const nobody: ReadonlySet<CacheId> = new Set();

/** A block that nobody has asked for: the processes of its home do with it what they like. */
export const ownedBy = (owner: CacheId): Entry => ({
  state: 'owned',
  owner,
  sharers: nobody,
  awaited: nobody,
  queue: [],
});

export type Effect =
  | { readonly do: 'send'; readonly message: ToCache; readonly to: CacheId }
  | { readonly do: 'store' | 'revert' | 'cleared'; readonly from: CacheId };

export interface Input {
  readonly event: DirectoryEvent;
  readonly from: CacheId;
}

/**
 * Takes one message, and whatever of the line can go on after it. Throws when a cache breaks the protocol.
 * What it returns is to be carried out in its order.
 */
export function stepDirectory(
  entry: Entry,
  input: Input,
  table: DirectoryTable = directoryTable,
): DirectoryStep {
  const effects: Effect[] = [];
  let now = react(entry, input, table, effects);
  while (now.state === 'idle' || now.state === 'owned') {
    const [next, ...queue] = now.queue;
    if (next === undefined) break;
    now = react({ ...now, queue }, { event: next.want, from: next.from }, table, effects);
  }
  return { entry: now, effects };
}

/** What a step leads to. */
export interface DirectoryStep {
  readonly entry: Entry;
  readonly effects: readonly Effect[];
}

/** So many steps are remembered at most: sessions come and go, and each has a number of its own. */
const mostSteps = 4096;

/** The steps of one cache from one entry. */
type StepsOfCache = Partial<Record<DirectoryEvent, DirectoryStep>>;

/**
 * `stepDirectory` with a memory. Nearly all blocks of a file go the same few ways, and what is known of them
 * is the same: each way is gone once, and blocks of which the same is true share one entry.
 */
export class DirectorySteps {
  readonly #table: DirectoryTable | undefined;
  readonly #steps = new Map<Entry, Map<CacheId, StepsOfCache>>();
  /** By what they say. */
  readonly #entries = new Map<string, Entry>();
  #count = 0;

  constructor(table?: DirectoryTable) {
    this.#table = table;
  }

  /** As `stepDirectory`. */
  take(entry: Entry, event: DirectoryEvent, from: CacheId): DirectoryStep {
    return this.#steps.get(entry)?.get(from)?.[event] ?? this.#takeFirst(entry, event, from);
  }

  #takeFirst(before: Entry, event: DirectoryEvent, from: CacheId): DirectoryStep {
    if (this.#count++ >= mostSteps) this.#forget();
    const { entry, effects } = stepDirectory(before, { event, from }, this.#table);
    const step = { entry: this.#one(entry), effects };
    const byCache = this.#steps.get(before) ?? new Map<CacheId, StepsOfCache>();
    this.#steps.set(before, byCache);
    byCache.set(from, { ...byCache.get(from), [event]: step });
    return step;
  }

  #forget(): void {
    this.#count = 0;
    this.#steps.clear();
    this.#entries.clear();
  }

  /** The one that says the same: else caches that take turns would have new ones for ever. */
  #one(entry: Entry): Entry {
    const { state, owner, sharers, awaited, queue } = entry;
    const line = queue.flatMap(({ want, from }) => [want, from]);
    const key = [state, owner, ...sharers, 'awaited', ...awaited, ...line].join();
    const known = this.#entries.get(key) ?? entry;
    this.#entries.set(key, known);
    return known;
  }
}

/** What only the owner says. */
const ownersWord: ReadonlySet<DirectoryEvent> = new Set<DirectoryEvent>([
  'yielded',
  'returned',
  'nothing',
  'evicted',
  'writeBack',
]);

function react(entry: Entry, input: Input, table: DirectoryTable, effects: Effect[]): Entry {
  const { event, from } = input;
  const isBelieved =
    event === 'invalidateAck' ? entry.awaited.has(from) : !ownersWord.has(event) || entry.owner === from;
  if (!isBelieved) throw new Error(`${event} of ${from}, of whom it is not expected`);
  const rows = table[entry.state][input.event];
  if (rows === 'never') throw new Error(`a block that is ${entry.state} got ${input.event} of ${input.from}`);
  const row = rows.find(({ when: guard }) => guard === undefined || holds(guard, entry, input));
  if (row === undefined) throw new Error(`no row for ${input.event} in ${entry.state}`);
  let now: Entry = entry;
  for (const action of row.actions) now = perform(action, now, input, effects);
  return { ...now, state: row.next };
}

function holds(guard: DirectoryGuard, { owner, sharers, awaited }: Entry, { from }: Input): boolean {
  switch (guard) {
    case 'others':
      return sharers.size > (sharers.has(from) ? 1 : 0);
    case 'copies':
      return sharers.size > 0;
    case 'last':
      return awaited.size === (awaited.has(from) ? 1 : 0);
    case 'owner':
      return owner === from;
  }
}

function perform(action: DirectoryAction, entry: Entry, { event, from }: Input, effects: Effect[]): Entry {
  const { sharers, awaited, owner, queue } = entry;
  switch (action) {
    case 'share':
      effects.push(sent('shared', from));
      return { ...entry, sharers: new Set(sharers).add(from) };
    case 'grant':
      effects.push(sent(event === 'upgrade' && sharers.has(from) ? 'granted' : 'exclusive', from));
      return { ...entry, owner: from, sharers: nobody };
    case 'invalidateOthers': {
      const others = event === 'clear' ? sharers : without(sharers, from);
      for (const other of others) effects.push(sent('invalidate', other));
      return { ...entry, awaited: others };
    }
    case 'downgradeOwner':
      effects.push(sent('downgrade', owner));
      return entry;
    case 'recallOwner':
      effects.push(sent('recall', owner));
      return entry;
    case 'enqueue':
      return { ...entry, queue: [...queue, { want: wanted(event), from }] };
    case 'retry':
      return { ...entry, queue: [{ want: wanted(event), from }, ...queue] };
    case 'store':
    case 'revert':
    case 'cleared':
      effects.push({ do: action, from });
      return entry;
    case 'ownerShares':
      return { ...entry, sharers: owner === undefined ? sharers : new Set(sharers).add(owner) };
    case 'noOwner':
      return { ...entry, owner: undefined };
    case 'leave':
      return { ...entry, sharers: without(sharers, from), awaited: without(awaited, from) };
    case 'forget': {
      const line = queue.filter((w) => w.from !== from || w.want === 'clear');
      return { ...entry, sharers: without(sharers, from), awaited: without(awaited, from), queue: line };
    }
  }
}

function sent(message: ToCache, to: CacheId | undefined): Effect {
  if (to === undefined) throw new Error(`${message} to nobody`);
  return { do: 'send', message, to };
}

function wanted(event: DirectoryEvent): Wanted['want'] {
  if (event === 'getShared' || event === 'getExclusive' || event === 'upgrade' || event === 'clear') {
    return event;
  }
  throw new Error(`${event} does not stand in line`);
}

function without(set: ReadonlySet<CacheId>, id: CacheId): ReadonlySet<CacheId> {
  if (!set.has(id)) return set;
  const rest = new Set(set);
  rest.delete(id);
  return rest;
}
