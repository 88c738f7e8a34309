/**
 * A node as the home of blocks: their directories, the sessions of the nodes that use them, and its own
 * processes, which are a cache like the others.
 *
 * A session that was not heard of is given up when its lease is over on the holder's clock, however slow that
 * goes; until then what it holds stays with it. A home that starts anew knows of no sessions: it gives
 * nothing to anybody, its own processes included, before the leases that it may have granted are over.
 *
 * INVARIANT: a message of a session is believed only while the session lasts.
 */
import {
  BlockCache,
  type BlockId,
  type CacheMessage,
  type DirectoryMessage,
  type Memory,
} from './block-cache.ts';
import type { CacheState, CacheTable } from './cache.ts';
import { Channel, type Envelope } from './channel.ts';
import {
  type CacheId,
  type DirectoryEvent,
  DirectorySteps,
  type DirectoryTable,
  type Effect,
  type Entry,
  ownedBy,
} from './directory.ts';
import type { HolderFrame, HomeFrame } from './holder.ts';
import { type LeaseTimes, reclaimableAtMs } from './lease.ts';
import { carriesBytes } from './messages.ts';

/** The processes of the home itself. */
export const ownCache: CacheId = 0;

/** A block of which no directory knows. */
export const atRest: Entry = ownedBy(ownCache);

/** Somebody waits until the copy is gone. */
const givesUp: ReadonlySet<CacheState> = new Set(['SI', 'SIE']);

/** What a cache asks for a copy with. */
export const asks: ReadonlySet<DirectoryEvent> = new Set(['getShared', 'getExclusive', 'upgrade']);

/** A connection to another node; what it means is for others to know. */
export type LinkId = number;

export interface HomeWorld<B> {
  /** CLOCK_MONOTONIC. */
  nowMs(): number;
  send(link: LinkId, frame: HomeFrame<B>): void;
  readonly memory: Memory<B>;
  /** The newest bytes at home, for who gets them. */
  load(block: BlockId, to: CacheId): B;
  /** From here these are. */
  store(block: BlockId, bytes: B, from: CacheId): void;
  /** What the session stored into the block and did not write back is lost. */
  reverted(block: BlockId, session: CacheId): void;
  /** What `clear` asked for: nobody else has the block. It is free for others when this returns. */
  cleared(block: BlockId): void;
  /** The lease of a session is over. */
  ended(session: CacheId): void;
  /** From here on, until it is in `entries` no more, the block is not for the home's processes alone. */
  entered?(block: BlockId): void;
  /** Whether that cache does not get the block for now; until `release`. */
  isHeld?(block: BlockId, from: CacheId): boolean;
  /** Whether what that cache has is not lost with it, or nobody knows whether it is; until `release`. */
  isKept?(block: BlockId, from: CacheId): boolean;
  /** Whether the block has another home by now: what is still said of it here does not count. */
  hasLeft?(block: BlockId): boolean;
}

export interface HomeOptions {
  readonly times: LeaseTimes;
  /** Sessions get numbers from here on, which were never used before. */
  readonly firstSession: CacheId;
  /** Whether this home may have granted leases in an earlier life. */
  readonly mayHaveGranted: boolean;
  readonly cacheTable?: CacheTable;
  readonly directoryTable?: DirectoryTable;
  /** Steps of that table that were taken before, by other homes. */
  readonly directorySteps?: DirectorySteps;
}

interface Session<B> {
  readonly id: CacheId;
  readonly channel: Channel<DirectoryMessage<B>, CacheMessage<B>>;
  link: LinkId | undefined;
  heardMs: number;
}

interface Arrived<B> {
  readonly block: BlockId;
  readonly event: DirectoryEvent;
  readonly from: CacheId;
  readonly bytes: B | undefined;
}

export class Home<B> {
  readonly #world: HomeWorld<B>;
  readonly #options: HomeOptions;
  readonly #entries = new Map<BlockId, Entry>();
  readonly #sessions = new Map<CacheId, Session<B>>();
  readonly #linked = new Map<LinkId, Session<B>>();
  readonly #own: BlockCache<B>;
  readonly #steps: DirectorySteps;
  /** In the order in which they came: what a step leads to is not done in the middle of it. */
  readonly #arrived: Arrived<B>[] = [];
  /** Requests for blocks that are held. */
  #parked: Arrived<B>[] = [];
  #isWorking = false;
  #hasOpened = false;
  #nextSession: CacheId;
  /** Before, leases of an earlier life may hold. */
  readonly #opensAtMs: number;

  constructor(world: HomeWorld<B>, options: HomeOptions) {
    this.#world = world;
    this.#options = options;
    this.#nextSession = options.firstSession;
    const now = world.nowMs();
    this.#opensAtMs = options.mayHaveGranted ? reclaimableAtMs(options.times, now) : now;
    this.#steps = options.directorySteps ?? new DirectorySteps(options.directoryTable);
    this.#own = new BlockCache({
      memory: world.memory,
      send: ({ block, name, bytes }) => this.#take({ block, event: name, from: ownCache, bytes }),
      initial: 'E',
      table: options.cacheTable,
    });
  }

  get cache(): Pick<BlockCache<B>, 'state' | 'blocks'> {
    return this.#own;
  }

  /** The session that goes over a link. */
  sessionOf(link: LinkId): CacheId | undefined {
    return this.#linked.get(link)?.id;
  }

  get entries(): ReadonlyMap<BlockId, Entry> {
    return this.#entries;
  }

  get sessions(): ReadonlySet<CacheId> {
    return new Set(this.#sessions.keys());
  }

  /** Whether blocks are given out, to the processes of the home as well. */
  get isOpen(): boolean {
    return this.#world.nowMs() >= this.#opensAtMs;
  }

  /** A process of the home may not do what it wants with a block. It tries again when it is woken. */
  fault(block: BlockId, access: 'read' | 'write'): void {
    if (this.isOpen) this.#own.fault(block, access);
    else this.#own.wait(block);
    this.#work();
  }

  /** What `drop` or `protect` of the home's own memory began is done. */
  done(block: BlockId, bytes: B): void {
    this.#own.step(block, 'done', bytes);
    this.#work();
  }

  /** Gets all copies back, the own one too, to change or remove the block; `cleared` follows. */
  clear(block: BlockId): void {
    this.#take({ block, event: 'clear', from: ownCache, bytes: undefined });
    this.#work();
  }

  /** This node is the blocks' home from here on: its processes have copies to read, and so has `sharer`. */
  adopt(blocks: Iterable<BlockId>, sharer: CacheId): void {
    // One for all of them: what a step changes of it is another one.
    const sharers = new Set([ownCache, sharer]);
    const entry: Entry = { ...atRest, state: 'idle', owner: undefined, sharers };
    for (const block of blocks) {
      if (!this.#entries.has(block)) this.#world.entered?.(block);
      this.#entries.set(block, entry);
      this.#own.adopt(block, 'S');
    }
  }

  /** The block has another home. Requires: `hasLeft` says so. */
  abandon(block: BlockId): void {
    // The next home may have asked for one that has become a hole, and does not await that.
    const queue = this.#entries.get(block)?.queue;
    this.#entries.delete(block);
    if (queue !== undefined && queue.length > 0)
      for (const { want, from } of queue) if (want !== 'clear') this.#sayMoved(block, from);
    if (this.#parked.length > 0) this.#abandonParked(block);
    this.#own.abandon(block);
  }

  #abandonParked(block: BlockId): void {
    const parked = this.#parked.filter((each) => each.block === block);
    if (parked.length > 0) this.#parked = this.#parked.filter((each) => each.block !== block);
    for (const { event, from } of parked) if (asks.has(event)) this.#sayMoved(block, from);
  }

  /** Every request has one answer: else nobody could tell later what an answer is to. */
  #sayMoved(block: BlockId, from: CacheId): void {
    if (from !== ownCache) this.#send(from, { block, name: 'moved' });
  }

  /**
   * The processes here have no copy of the block any more: from here on `load` has its bytes elsewhere.
   * Requires: whatever was begun with its memory is begun no more.
   */
  withdraw(block: BlockId): void {
    if (givesUp.has(this.#own.state(block))) {
      this.#own.step(block, 'done');
      this.#work();
      return;
    }
    if (!this.#entries.has(block)) this.#world.entered?.(block);
    const entry = this.#entries.get(block) ?? atRest;
    const sharers = new Set([...entry.sharers].filter((sharer) => sharer !== ownCache));
    this.#entries.set(block, { ...entry, state: 'idle', owner: undefined, sharers });
    this.#own.withdraw(block);
  }

  /** Some blocks are held no more: who asked for them is served. */
  release(): void {
    this.#arrived.push(...this.#parked.splice(0));
    this.#work();
  }

  /** A session is over before its lease is: its holder says that it has nothing. */
  leave(id: CacheId): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    this.#end(session);
    this.#work();
  }

  /** A session has no copy of the block left, and does not say so by itself: it only read. */
  forget(block: BlockId, session: CacheId): void {
    const entry = this.#entries.get(block);
    // Where it is awaited it answers.
    if (entry?.state !== 'idle' || !entry.sharers.has(session)) return;
    // At once, also of a file that stands still: when it goes on nothing is to be asked of the session.
    this.#apply({ block, event: 'lost', from: session, bytes: undefined });
  }

  linkDown(link: LinkId): void {
    const session = this.#linked.get(link);
    this.#linked.delete(link);
    if (session?.link === link) session.link = undefined;
  }

  /** Throws when the other side breaks the protocol: its link is to be closed. */
  receive(link: LinkId, frame: HolderFrame<B>): void {
    if (frame.kind === 'hello') {
      this.#hello(link, frame);
      return;
    }
    const session = this.#linked.get(link);
    // It was given up while this was on its way.
    if (session === undefined || session.link !== link) return;
    session.heardMs = this.#world.nowMs();
    if (frame.kind === 'ping') {
      if (frame.session !== session.id) return;
      session.channel.acknowledge(frame.received);
      const { received } = session.channel;
      this.#world.send(link, { kind: 'pong', session: session.id, sentMs: frame.sentMs, received });
      return;
    }
    const message = session.channel.arrive(frame.envelope);
    if (message === undefined) return;
    this.#take({ block: message.block, event: message.name, from: session.id, bytes: message.bytes });
    this.#work();
  }

  /** Looks at the clock. To be called every now and then. */
  tick(): void {
    const now = this.#world.nowMs();
    for (const session of [...this.#sessions.values()]) {
      if (now >= reclaimableAtMs(this.#options.times, session.heardMs)) this.#end(session);
    }
    if (!this.#hasOpened && this.isOpen) {
      this.#hasOpened = true;
      this.#own.wakeAll();
    }
    this.#work();
  }

  #hello(link: LinkId, { hello, session: id, received }: HolderFrame<B> & { kind: 'hello' }): void {
    const known = id === undefined ? undefined : this.#sessions.get(id);
    const session = known ?? this.#open();
    const before = this.#linked.get(link);
    if (before !== undefined && before !== session) before.link = undefined;
    if (session.link !== undefined) this.#linked.delete(session.link);
    session.link = link;
    session.heardMs = this.#world.nowMs();
    this.#linked.set(link, session);
    const { channel } = session;
    this.#world.send(link, { kind: 'welcome', hello, session: session.id, received: channel.received });
    if (known === undefined) return;
    for (const envelope of channel.resend(received)) this.#transmit(link, envelope, session.id);
  }

  #open(): Session<B> {
    const session: Session<B> = {
      id: this.#nextSession++,
      channel: new Channel(),
      link: undefined,
      heardMs: 0,
    };
    this.#sessions.set(session.id, session);
    return session;
  }

  #end(session: Session<B>): void {
    this.#sessions.delete(session.id);
    this.#parked = this.#parked.filter(({ from }) => from !== session.id);
    if (session.link !== undefined) this.#linked.delete(session.link);
    for (const [block, entry] of this.#entries) {
      const { owner, sharers, queue } = entry;
      const knows =
        owner === session.id || sharers.has(session.id) || queue.some((w) => w.from === session.id);
      if (knows) this.#take({ block, event: 'lost', from: session.id, bytes: undefined });
    }
    this.#world.ended(session.id);
  }

  #take(arrived: Arrived<B>): void {
    this.#arrived.push(arrived);
  }

  #work(): void {
    if (this.#isWorking || !this.isOpen) return;
    this.#isWorking = true;
    try {
      for (let next = this.#arrived.shift(); next !== undefined; next = this.#arrived.shift())
        this.#step(next);
    } finally {
      this.#isWorking = false;
    }
  }

  #step({ block, event, from, bytes }: Arrived<B>): void {
    if (from !== ownCache && event !== 'lost' && !this.#sessions.has(from)) return;
    if (this.#world.hasLeft?.(block) === true) {
      if (asks.has(event)) this.#sayMoved(block, from);
      return;
    }
    const isHeld =
      (asks.has(event) && this.#world.isHeld?.(block, from) === true) ||
      (event === 'lost' && this.#world.isKept?.(block, from) === true);
    if (isHeld) {
      this.#parked.push({ block, event, from, bytes });
      return;
    }
    this.#apply({ block, event, from, bytes });
  }

  #apply({ block, event, from, bytes }: Arrived<B>): void {
    const known = this.#entries.get(block);
    const { entry, effects } = this.#steps.take(known ?? atRest, event, from);
    if (known === undefined) this.#world.entered?.(block);
    if (known !== entry) this.#entries.set(block, entry);
    for (const effect of effects) this.#carryOut(effect, { block, event, from, bytes });
    this.#forgetWhenOwn(block);
  }

  #carryOut(effect: Effect, { block, from, bytes }: Arrived<B>): void {
    switch (effect.do) {
      case 'store':
        if (bytes === undefined) throw new Error('a block without its bytes');
        this.#world.store(block, bytes, from);
        return;
      case 'revert':
        this.#world.reverted(block, effect.from);
        return;
      case 'cleared':
        this.#world.cleared(block);
        return;
      case 'send':
        this.#send(effect.to, { block, name: effect.message });
    }
  }

  #send(to: CacheId, message: DirectoryMessage<B>): void {
    if (to === ownCache) {
      this.#own.receive(this.#withBytes(message, to));
      return;
    }
    const session = this.#sessions.get(to);
    if (session === undefined) return;
    const envelope = session.channel.post(message);
    if (session.link !== undefined) this.#transmit(session.link, envelope, to);
  }

  /**
   * What is kept for a link that may break has no bytes: nobody can change those at home before the session
   * has received them, and has answered what was sent to it after them.
   */
  #transmit(link: LinkId, { number, received, message }: Envelope<DirectoryMessage<B>>, to: CacheId): void {
    const envelope = { number, received, message: this.#withBytes(message, to) };
    this.#world.send(link, { kind: 'message', envelope });
  }

  #withBytes({ block, name }: DirectoryMessage<B>, to: CacheId): DirectoryMessage<B> {
    return carriesBytes.has(name) ? { block, name, bytes: this.#world.load(block, to) } : { block, name };
  }

  /** A block that only the home's processes use costs nothing. */
  #forgetWhenOwn(block: BlockId): void {
    const entry = this.#entries.get(block);
    if (entry?.owner === ownCache && entry.state === 'owned' && entry.queue.length === 0) {
      if (this.#own.state(block) === 'E') this.#entries.delete(block);
    }
  }
}
