/**
 * The locks of this process's sessions (docs/protocol.md, "The node comes back"), and when it lets go of the
 * one of before, so that the node that came back may give away what it keeps for that: as soon as nothing is
 * copied by the segment of before. The session worker's part; `DataAccess` is the application's thread's.
 *
 *   back ──drained──▶ said
 *     └──waited──▶ forced ──no copy is under way──▶ said
 *
 * The application's thread says `drained` when it has the new segment. While it waits in a touch it cannot,
 * and what it waits for may wait for this word: a node that does not have it gives no block of its files to
 * others. So after a while the worker forces it: from then on that thread copies nothing by the old segment.
 */
import { native } from '@cluster-fs/transport';
import { flag } from './worker-protocol.ts';

/** A thread that turns its event loop answers in milliseconds. */
const patienceMs = 1000;
const pollMs = 10;

interface ResumptionParts {
  /** Shared with the application's thread. */
  readonly flags: Int32Array;
  /** Tells the node; rejects, or is undefined, when it is away again. */
  readonly say: () => Promise<unknown> | undefined;
}

export class Resumption {
  readonly #parts: ResumptionParts;
  /** Of the session. */
  #lock: number | undefined;
  /** Of one of before: as long as one is held, nodes wait for this process. */
  #lockBefore: number | undefined;
  /** How often the node came back. */
  #times = 0;
  /** It is there, and knows all leases. */
  #isBack = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ResumptionParts) {
    this.#parts = parts;
  }

  /** A session is opened, with its lock. */
  opened(lock: number): void {
    if (this.#lockBefore === undefined) this.#lockBefore = this.#lock;
    else if (this.#lock !== undefined) native.closeDescriptor(this.#lock);
    this.#lock = lock;
  }

  /** All leases are presented. Returns which time that is, for the application's thread. */
  back(): number {
    this.#times++;
    this.#isBack = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      Atomics.store(this.#parts.flags, flag.forced, this.#times);
      this.#sayWhenStill();
    }, patienceMs);
    return this.#times;
  }

  /** The node is away, or the session is over. */
  stop(): void {
    this.#isBack = false;
    clearTimeout(this.#timer);
  }

  /** The session is over. Requires: nothing of this process touches `data` any more. */
  close(): void {
    this.stop();
    this.#letGoOfBefore();
    if (this.#lock !== undefined) native.closeDescriptor(this.#lock);
    this.#lock = undefined;
  }

  /** The application's thread has the segment of that time. */
  drained(times: number): void {
    if (times !== this.#times || !this.#isBack) return;
    clearTimeout(this.#timer);
    this.#say();
  }

  #sayWhenStill(): void {
    if (Atomics.load(this.#parts.flags, flag.copies) === 0) this.#say();
    else this.#timer = setTimeout(() => this.#sayWhenStill(), pollMs);
  }

  /** Only the session counts from here. A node that does not hear of it sees the lock by itself. */
  #say(): void {
    this.#letGoOfBefore();
    this.#parts.say()?.catch(() => undefined);
  }

  #letGoOfBefore(): void {
    if (this.#lockBefore !== undefined) native.closeDescriptor(this.#lockBefore);
    this.#lockBefore = undefined;
  }
}
