/**
 * A node as the user of another one's blocks: its session there, its lease, its cache.
 *
 *   out ──welcome──▶ in ──lease over, or welcome to another session──▶ fencing ──no copy is left──▶ out or in
 *
 * While links come and go within the lease, the session goes on: nothing is lost. When the lease is over, the
 * processes have been cut off by then (`heldUntilMs` is theirs to watch, too: this node may be stopped), and
 * what they stored and nobody wrote back is lost. So may be what was written back and not acknowledged: of
 * that a home that starts anew knows nothing, and cannot say so.
 *
 * INVARIANT: a copy is used only before `heldUntilMs`.
 * INVARIANT: messages of a session are sent in that session only.
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
import type { CacheId } from './directory.ts';
import { heldUntilMs, type LeaseTimes } from './lease.ts';
import { carriesBytes } from './messages.ts';

/** From a holder to its home, over one link. */
export type HolderFrame<B> =
  | {
      readonly kind: 'hello';
      readonly hello: number;
      readonly session: CacheId | undefined;
      readonly received: number;
    }
  | { readonly kind: 'ping'; readonly session: CacheId; readonly sentMs: number; readonly received: number }
  | { readonly kind: 'message'; readonly envelope: Envelope<CacheMessage<B>> };

/** From a home to a holder. */
export type HomeFrame<B> =
  | { readonly kind: 'welcome'; readonly hello: number; readonly session: CacheId; readonly received: number }
  | { readonly kind: 'pong'; readonly session: CacheId; readonly sentMs: number; readonly received: number }
  | { readonly kind: 'message'; readonly envelope: Envelope<DirectoryMessage<B>> };

export interface HolderWorld<B> {
  /** CLOCK_MONOTONIC. */
  nowMs(): number;
  /** Over the link that is up. */
  send(frame: HolderFrame<B>): void;
  readonly memory: Memory<B>;
}

interface Session<B> {
  readonly id: CacheId;
  readonly channel: Channel<CacheMessage<B>, DirectoryMessage<B>>;
  /** When the last message was sent that was answered. */
  answeredSentMs: number;
}

export interface HolderOptions {
  readonly times: LeaseTimes;
  readonly cacheTable?: CacheTable;
}

const nothingSaid = { posted: 0, acknowledged: 0 };

/** In which the newest bytes of a block are here. */
export const owned: ReadonlySet<CacheState> = new Set(['E', 'ES', 'EI', 'EV']);

export class Holder<B> {
  readonly #world: HolderWorld<B>;
  readonly #times: LeaseTimes;
  readonly #cache: BlockCache<B>;
  /** Messages are sent once the home has said how far it has received: before, they would leave a gap. */
  #link: 'down' | 'up' | 'welcome' = 'down';
  #session: Session<B> | undefined;
  /** The copies of a session before this one are still being given up. */
  #isFencing = false;
  #isLeaving = false;
  /** Copies of a session before, too, which were kept from its end for a file that was to come here. */
  readonly #outlived = new Set<BlockId>();
  /** The last one: a welcome to an earlier one is of no use any more. */
  #hello = { number: 0, sentMs: 0 };
  #pingSentMs = Number.NEGATIVE_INFINITY;
  /** Whether something was sent behind the last ping, whose answer says nothing of it. */
  #hasSent = false;

  constructor(world: HolderWorld<B>, { times, cacheTable: table }: HolderOptions) {
    this.#world = world;
    this.#times = times;
    const send = (message: CacheMessage<B>): void => this.#post(message);
    this.#cache = new BlockCache({ memory: world.memory, send, initial: 'I', table });
  }

  get cache(): Pick<BlockCache<B>, 'state' | 'blocks'> {
    return this.#cache;
  }

  /** Blocks that were asked for, and have no answer. */
  get asked(): ReadonlySet<BlockId> {
    return this.#cache.asked;
  }

  /** Blocks for which processes wait. */
  get waiting(): ReadonlySet<BlockId> {
    return this.#cache.waiting;
  }

  /** Blocks that may have been stored into since their home had them: here still, or on their way. */
  *unsaved(): Generator<BlockId> {
    for (const [block, state] of this.#cache.blocks) if (owned.has(state)) yield block;
    for (const { name, block } of this.#session?.channel.unacknowledged ?? [])
      if (carriesBytes.has(name)) yield block;
  }

  /** Whether bytes are on their way of which the home has not said that it has them. */
  get isSaving(): boolean {
    return this.#session?.channel.unacknowledged.some(({ name }) => carriesBytes.has(name)) === true;
  }

  /** The number of the last message of the session, and of the last one that the home is known to have. */
  get said(): { readonly posted: number; readonly acknowledged: number } {
    return this.#session?.channel ?? nothingSaid;
  }

  /** Whether blocks can be asked for. */
  get isIn(): boolean {
    return this.#session !== undefined && !this.#isFencing;
  }

  /** Whether the home has said over the link that is up that the session goes on, or which there is now. */
  get isWelcome(): boolean {
    this.tick();
    return this.#link === 'welcome';
  }

  /** Whether a welcome answers what was said last: one to an earlier hello is of no use any more. */
  awaits({ hello }: HomeFrame<B> & { readonly kind: 'welcome' }): boolean {
    this.tick();
    return this.#link === 'up' && hello === this.#hello.number;
  }

  /** Whether copies of a session before are still being given up: nobody may use them. */
  get isFencing(): boolean {
    return this.#isFencing || this.#outlived.size > 0;
  }

  /** Until when processes may use what is in the cache; nothing is, when undefined. */
  get heldUntilMs(): number | undefined {
    return this.isIn && this.#session !== undefined
      ? heldUntilMs(this.#times, this.#session.answeredSentMs)
      : undefined;
  }

  /** A process may not do what it wants with a block. It tries again when it is woken. */
  fault(block: BlockId, access: 'read' | 'write'): void {
    this.tick();
    if (this.isIn && !this.#isLeaving) this.#cache.fault(block, access);
    else this.#cache.wait(block);
  }

  evict(block: BlockId): void {
    this.tick();
    if (this.isIn) this.#cache.step(block, 'evict');
  }

  flush(block: BlockId): void {
    this.tick();
    if (this.isIn) this.#cache.step(block, 'flush');
  }

  /**
   * The node stops: from here on nothing more is asked for, and what is here goes home, of what was stored
   * into `most` blocks. Whether nothing is left; to be called again until then, since what had been asked for
   * still comes.
   */
  leave(most = Number.POSITIVE_INFINITY): boolean {
    this.#isLeaving = true;
    let going = 0;
    for (const [block, state] of [...this.#cache.blocks])
      if (state !== 'E' || going++ < most) this.evict(block);
    return this.#cache.blocks.size === 0;
  }

  /** Asks the home at once how far it has heard, unless it was asked since the last message. */
  askHeard(): void {
    if (this.#hasSent) this.#ping();
  }

  /** A process waits for a block of which nothing is to be asked just now; until `retry`. */
  wait(block: BlockId): void {
    this.#cache.wait(block);
  }

  /** Those who wait for any of these blocks try again. */
  retry(isOne: (block: BlockId) => boolean): void {
    this.#cache.retry(isOne);
  }

  /**
   * A copy that is here already, and known to the home: it is that from now on, or still. `session`: the
   * one in which it is known; when that is over the copy is fenced.
   */
  adopt(block: BlockId, state: 'S' | 'E', session: CacheId | undefined): void {
    this.#cache.adopt(block, state);
    if (session !== undefined && this.#session?.id === session && this.isIn) return;
    this.#outlived.add(block);
    this.#cache.step(block, 'fence');
  }

  /** Those who asked where the home is no more try again. To be called every now and then. */
  retryMoved(): void {
    this.#cache.retryMoved();
  }

  /** The block has another home: what is here of it is not this one's any more. */
  abandon(block: BlockId): void {
    this.#cache.abandon(block);
    this.#outlived.delete(block);
    // It may be the last one that was being given up.
    this.#endFencing();
  }

  /** What `drop` or `protect` began is done. */
  done(block: BlockId, bytes: B): void {
    // First, and then the clock: if that begins to fence the block, something else is begun for it.
    this.#cache.step(block, 'done', bytes);
    this.#outlived.delete(block);
    this.#endFencing();
    this.tick();
  }

  linkUp(): void {
    this.tick();
    this.#sayHello();
  }

  linkDown(): void {
    this.#link = 'down';
  }

  receive(frame: HomeFrame<B>): void {
    this.tick();
    switch (frame.kind) {
      case 'welcome':
        this.#welcome(frame);
        return;
      case 'pong':
        if (this.#session?.id !== frame.session) return;
        this.#session.channel.acknowledge(frame.received);
        this.#session.answeredSentMs = Math.max(this.#session.answeredSentMs, frame.sentMs);
        return;
      case 'message': {
        // Of a session that ended here while it was on its way.
        if (!this.isIn) return;
        const message = this.#session?.channel.arrive(frame.envelope);
        if (message !== undefined) this.#cache.receive(message);
      }
    }
  }

  /** Looks at the clock. To be called every now and then, and is before anything else happens here. */
  tick(): void {
    const now = this.#world.nowMs();
    const session = this.#session;
    if (session !== undefined && now >= heldUntilMs(this.#times, session.answeredSentMs)) {
      this.#end(session);
      this.#fence();
      if (this.#link !== 'down') this.#sayHello();
    }
    if (now >= this.#pingSentMs + this.#times.heartbeatMs) this.#ping();
  }

  #ping(): void {
    if (this.#link !== 'welcome' || this.#session === undefined) return;
    const { id, channel } = this.#session;
    this.#pingSentMs = this.#world.nowMs();
    this.#hasSent = false;
    this.#world.send({ kind: 'ping', session: id, sentMs: this.#pingSentMs, received: channel.received });
  }

  #sayHello(): void {
    this.#link = 'up';
    this.#hello = { number: this.#hello.number + 1, sentMs: this.#world.nowMs() };
    const received = this.#session?.channel.received ?? 0;
    this.#world.send({ kind: 'hello', hello: this.#hello.number, session: this.#session?.id, received });
  }

  #welcome({ hello, session: id, received }: HomeFrame<B> & { kind: 'welcome' }): void {
    if (hello !== this.#hello.number) return;
    this.#link = 'welcome';
    if (this.#session?.id === id) {
      const { channel } = this.#session;
      this.#session.answeredSentMs = Math.max(this.#session.answeredSentMs, this.#hello.sentMs);
      for (const envelope of channel.resend(received)) this.#world.send({ kind: 'message', envelope });
      this.#hasSent = true;
      return;
    }
    if (this.#session !== undefined) this.#end(this.#session);
    this.#session = { id, channel: new Channel(), answeredSentMs: this.#hello.sentMs };
    this.#fence();
  }

  /** What a block that is still owned here has in it is lost with the fence. */
  #end({ channel }: Session<B>): void {
    this.#session = undefined;
    const sent = new Set<BlockId>();
    for (const { name, block } of channel.unacknowledged) if (carriesBytes.has(name)) sent.add(block);
    for (const block of sent) if (!owned.has(this.#cache.state(block))) this.#world.memory.lose(block);
  }

  /** Nothing that was granted before holds. */
  #fence(): void {
    this.#isFencing = true;
    for (const block of [...this.#cache.blocks.keys()]) this.#cache.step(block, 'fence');
    this.#endFencing();
  }

  #endFencing(): void {
    if (!this.#isFencing || this.#cache.blocks.size > 0) return;
    this.#isFencing = false;
    if (this.isIn) this.#cache.wakeAll();
  }

  #post(message: CacheMessage<B>): void {
    const session = this.#session;
    if (session === undefined) throw new Error(`${message.name} without a session`);
    const envelope = session.channel.post(message);
    this.#hasSent = true;
    if (this.#link === 'welcome') this.#world.send({ kind: 'message', envelope });
  }
}
