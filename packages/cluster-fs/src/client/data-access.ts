/**
 * Copies from and to `data` that the application's thread has under way: here, and on the thread pool.
 *
 * The session worker may say that none goes by the segment of before (resumption.ts). It sees how many are
 * under way, and says first that it will: who begins one says that first, and looks at the other's word then.
 */
import { flag } from './worker-protocol.ts';

export class DataAccess {
  readonly #flags: Int32Array;
  readonly #pooled = new Set<Promise<void>>();
  /** How often the node came back, as this thread knows. */
  #times = 0;
  #waiting: (() => void)[] = [];

  constructor(flags: Int32Array) {
    this.#flags = flags;
  }

  /** Whether the node gives pages away already that this thread takes for what they were. */
  get isStale(): boolean {
    return Atomics.load(this.#flags, flag.forced) > this.#times;
  }

  get times(): number {
    return this.#times;
  }

  /** This thread has the segment of that time. */
  renew(times: number): void {
    this.#times = times;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The same as before is to be tried again when this thread has the new segment; undefined when it has. */
  renewed(): Promise<void> | undefined {
    return this.isStale ? new Promise((resolve) => this.#waiting.push(resolve)) : undefined;
  }

  /** False when it must not be; else `end` follows. */
  begin(): boolean {
    Atomics.add(this.#flags, flag.copies, 1);
    if (!this.isStale) return true;
    this.end();
    return false;
  }

  end(): void {
    Atomics.sub(this.#flags, flag.copies, 1);
  }

  /** One on the pool that has begun ends when `copy` settles. */
  pooled(copy: Promise<void>): void {
    this.#pooled.add(copy);
    const done = (): void => {
      this.#pooled.delete(copy);
      this.end();
    };
    copy.then(done, done);
  }

  /** Those of now are over. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pooled);
  }

  /** All are, and those that began meanwhile. */
  async drained(): Promise<void> {
    while (this.#pooled.size > 0) await this.settled();
  }

  /** Nobody waits for a segment that does not come any more. */
  close(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
