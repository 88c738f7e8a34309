/**
 * Where the home finds the bytes of a block that it gives away: what was read or has arrived just now,
 * `data`, or the shadow.
 */
import { type CacheId, type CacheState, ownCache } from 'cluster-fs/coherence';
import type { Coordinator } from '../coordinator/coordinator.ts';
import { BlockBuffers } from './block-buffers.ts';
import { extentsIn } from './block-memory.ts';
import { rangeOf } from './blocks.ts';
import type { Shadow } from './shadow.ts';

/** Nothing is in `data`; on the ways out of the other states it still is. */
const away: ReadonlySet<CacheState> = new Set(['I', 'IS', 'IE']);

interface Block {
  readonly block: number;
  readonly bytes: Buffer;
}

interface Parts {
  readonly c: Coordinator;
  readonly shadow: Shadow;
  /** Of the home's own processes. */
  state(block: number): CacheState;
  /** From `data`. */
  read(block: number): Buffer;
}

export class HomeBytes {
  readonly #parts: Parts;
  readonly #buffers = new BlockBuffers();
  /** What our own processes gave up, while the home decides who gets it. */
  #taken: Block | undefined;
  /** What another node gave up, while its message is handled. */
  #returned: Block | undefined;
  #isReceiving = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  memoryFor(length: number): Buffer {
    return this.#buffers.take(length);
  }

  /** What `load` gave to a link has left. */
  left(bytes: Buffer): void {
    this.#buffers.give(bytes);
  }

  /** Own processes have given a block up: who gets it gets these bytes. */
  whileTaken(block: number, bytes: Buffer, work: () => void): void {
    this.#taken = { block, bytes };
    work();
    // Nobody got it.
    if (this.#taken !== undefined) this.#buffers.give(bytes);
    this.#taken = undefined;
  }

  /** A message is handled, whose bytes are lent until then. */
  whileReceiving(work: () => void): void {
    this.#isReceiving = true;
    try {
      work();
    } finally {
      this.#isReceiving = false;
      this.#returned = undefined;
    }
  }

  /** Whether they are not in `data`. */
  isBeside(block: number): boolean {
    return away.has(this.#parts.state(block));
  }

  load(block: number, to: CacheId): Buffer {
    const [returned, taken] = [this.#returned, this.#taken];
    if (returned?.block === block) {
      if (to === ownCache) return returned.bytes;
      // It is the link's.
      const bytes = this.#buffers.take(returned.bytes.length);
      returned.bytes.copy(bytes);
      return bytes;
    }
    if (taken?.block === block) {
      // What was read just now need not be read again; but who gets it next gets other memory.
      this.#taken = undefined;
      return taken.bytes;
    }
    const { c, shadow, read } = this.#parts;
    if (!this.isBeside(block)) return read(block);
    return shadow.read(extentsIn(c, block), rangeOf(block).from, (length) => this.#buffers.take(length));
  }

  store(block: number, bytes: Buffer, from: CacheId): void {
    // Of our own processes they are here already: in `data`, or in the shadow since they were taken away.
    if (from === ownCache) return;
    const { c, shadow } = this.#parts;
    shadow.write(extentsIn(c, block), rangeOf(block).from, bytes);
    // In the next moment somebody gets it, and it need not be read again.
    if (this.#isReceiving) this.#returned = { block, bytes };
  }
}
