/**
 * The blocks of one home in the cache of a node: carries out what cache.ts says, for each of them.
 *
 * Everything that touches the world goes through `Memory` and `send`, so that the same code runs over TCP and
 * in a simulation.
 */
import { type CacheAction, type CacheEvent, type CacheState, type CacheTable, stepCache } from './cache.ts';
import type { ToCache, ToDirectory } from './messages.ts';

/** Names a block; what it is made of is for others to know. */
export type BlockId = number;

/**
 * The memory of a node's processes. `B`: the bytes of a block. One thing at a time is begun for a block: a
 * `drop` that follows a `protect` takes its place, and there is one `done`.
 */
export interface Memory<B> {
  /** Begins to take the block from all processes; `done` follows, with its bytes. */
  drop(block: BlockId): void;
  /** Begins to stop stores into the block; `done` follows, with its bytes. */
  protect(block: BlockId): void;
  /** Puts the bytes in, at once. */
  install(block: BlockId, bytes: B, access: 'read' | 'write'): void;
  /** Lets processes store into what they read, at once. */
  allow(block: BlockId): void;
  /** The bytes as they are now. */
  read(block: BlockId): B;
  /** Who waits for the block tries again. */
  wake(block: BlockId): void;
  /** Who waits for the block gets an error. */
  fail(block: BlockId): void;
  /** What was stored into the block since it was last written back is lost. */
  lose(block: BlockId): void;
}

export interface CacheMessage<B> {
  readonly block: BlockId;
  readonly name: ToDirectory;
  readonly bytes?: B;
}
export interface DirectoryMessage<B> {
  readonly block: BlockId;
  readonly name: ToCache;
  readonly bytes?: B;
}

interface Parts<B> {
  readonly memory: Memory<B>;
  send(message: CacheMessage<B>): void;
  /** Of a block of which nothing is known. */
  readonly initial: 'I' | 'E';
  readonly table: CacheTable | undefined;
}

const asking: ReadonlySet<CacheState> = new Set(['IS', 'IE', 'SE', 'SIE']);

export class BlockCache<B> {
  readonly #memory: Memory<B>;
  readonly #send: (message: CacheMessage<B>) => void;
  readonly #initial: 'I' | 'E';
  readonly #table: CacheTable | undefined;
  readonly #states = new Map<BlockId, CacheState>();
  readonly #asked = new Set<BlockId>();
  /** Blocks for which processes wait. */
  readonly #waiting = new Set<BlockId>();
  /** Blocks that were asked for in vain: another node is their home. */
  readonly #moved = new Set<BlockId>();

  constructor({ memory, send, initial, table }: Parts<B>) {
    this.#memory = memory;
    this.#send = send;
    this.#initial = initial;
    this.#table = table;
  }

  state(block: BlockId): CacheState {
    return this.#states.get(block) ?? this.#initial;
  }

  /** Blocks whose state is not the initial one. */
  get blocks(): ReadonlyMap<BlockId, CacheState> {
    return this.#states;
  }

  /** Blocks that were asked for, by whomever, and have no answer. */
  get asked(): ReadonlySet<BlockId> {
    return this.#asked;
  }

  /** Blocks for which processes wait. */
  get waiting(): ReadonlySet<BlockId> {
    return this.#waiting;
  }

  /** A process cannot go on with a block: it waits for `wake`. */
  wait(block: BlockId): void {
    this.#waiting.add(block);
  }

  /** A process wants what it may not do, or could do by now: then it tries again at once. */
  fault(block: BlockId, access: 'read' | 'write'): void {
    this.wait(block);
    this.step(block, access);
    const state = this.state(block);
    const may = state === 'E' || (access === 'read' && (state === 'S' || state === 'SE'));
    if (may && this.#waiting.delete(block)) this.#memory.wake(block);
  }

  /** Everybody who waits tries again. */
  wakeAll(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const block of waiting) this.#memory.wake(block);
  }

  /** The block is here without having been asked for: its home has changed, or has not after all. */
  adopt(block: BlockId, state: 'S' | 'E'): void {
    this.#become(block, state);
  }

  /** Those who wait for any of these blocks try again. */
  retry(isOne: (block: BlockId) => boolean): void {
    for (const block of [...this.#waiting]) {
      if (!isOne(block)) continue;
      this.#waiting.delete(block);
      this.#memory.wake(block);
    }
  }

  /** Those who asked where the home is no more try again, when this node may have heard where it is. */
  retryMoved(): void {
    const moved = [...this.#moved];
    this.#moved.clear();
    for (const block of moved) if (this.#waiting.delete(block)) this.#memory.wake(block);
  }

  /** The copy is gone, and its home knows that; who asked to store waits on. Requires: it was readable. */
  withdraw(block: BlockId): void {
    this.#become(block, this.state(block) === 'SE' ? 'IE' : 'I');
  }

  /** The block is no longer this home's: whatever was asked for is not answered, and nothing is said. */
  abandon(block: BlockId): void {
    this.#become(block, this.#initial);
    if (this.#waiting.size > 0 && this.#waiting.delete(block)) this.#memory.wake(block);
  }

  receive({ block, name, bytes }: DirectoryMessage<B>): void {
    this.step(block, name, bytes);
  }

  /** `bytes`: of a message that has some, or of the block with `done`. */
  step(block: BlockId, event: CacheEvent, bytes?: B): void {
    const before = this.state(block);
    const { next, actions } = stepCache(before, event, this.#table);
    this.#become(block, next);
    for (const action of actions) this.#perform(action, block, bytes);
    // Who waits for an answer waits on while it is on its way.
    const isSettled = next === 'I' || next === 'S' || next === 'E';
    if (!isSettled || next === before) return;
    if (event === 'moved') this.#moved.add(block);
    else if (this.#waiting.delete(block)) this.#memory.wake(block);
  }

  #become(block: BlockId, state: CacheState): void {
    if (state === this.#initial) this.#states.delete(block);
    else this.#states.set(block, state);
    if (asking.has(state)) this.#asked.add(block);
    else if (this.#asked.size > 0) this.#asked.delete(block);
  }

  #perform(action: CacheAction, block: BlockId, bytes: B | undefined): void {
    switch (action) {
      case 'drop':
      case 'protect':
      case 'allow':
      case 'lose':
        this.#memory[action](block);
        break;
      case 'fail':
        this.#waiting.delete(block);
        this.#memory.fail(block);
        break;
      case 'install':
        this.#memory.install(block, given(bytes), 'read');
        break;
      case 'installWritable':
        this.#memory.install(block, given(bytes), 'write');
        break;
      case 'writeBack':
        this.#send({ block, name: action, bytes: this.#memory.read(block) });
        break;
      case 'yielded':
      case 'returned':
      case 'evicted':
        this.#send({ block, name: action, bytes: given(bytes) });
        break;
      default:
        this.#send({ block, name: action });
    }
  }
}

function given<B>(bytes: B | undefined): B {
  if (bytes === undefined) throw new Error('a block without its bytes');
  return bytes;
}
