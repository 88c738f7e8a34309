/**
 * What the connections of one user take of the node together: memory, turns, messages. A user who opens more
 * connections gets no more of them.
 */
import type { Meter } from '@cluster-fs/transport';
import type { Limits } from './limits.ts';

/** One connection is read no longer at a time, so that a user's connections take turns too. */
const connectionTurnMs = 2;
/**
 * A connection may keep this much although its user keeps too much: a process that has gone wild stops no
 * other of the same user.
 */
const alwaysKeptBytes = 64 * 1024;
/** How far messages may come ahead of their time: bursts of this long are not held up. */
const burstMs = 100;

export class UserLoad implements Meter {
  readonly #limits: Limits;
  connections = 0;
  #keptBytes = 0;
  #spentMs = 0;
  #isTurnOpen = false;
  /** When the messages that were read so far are due, at the rate that is allowed. */
  #dueMs = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  turnMs(): number {
    return Math.min(connectionTurnMs, this.#limits.turnMs - this.#spentMs);
  }

  spend(ms: number, messages: number): number {
    this.#spentMs += ms;
    if (!this.#isTurnOpen) {
      this.#isTurnOpen = true;
      setImmediate(() => {
        this.#isTurnOpen = false;
        this.#spentMs = 0;
      });
    }
    const nowMs = performance.now();
    this.#dueMs = Math.max(this.#dueMs, nowMs) + (messages * 1000) / this.#limits.messagesPerSecond;
    return Math.max(0, this.#dueMs - nowMs - burstMs);
  }

  keep(bytes: number, own: number): boolean {
    this.#keptBytes += bytes;
    return this.#keptBytes <= this.#limits.keptBytes || own <= alwaysKeptBytes;
  }
}

/** The load of each user who has a connection. */
export class UserLoads {
  readonly #limits: Limits;
  readonly #byUid = new Map<number, UserLoad>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** The load of a user who opens a connection; undefined when it has as many as it may. */
  enter(uid: number): UserLoad | undefined {
    const load = this.#byUid.get(uid) ?? new UserLoad(this.#limits);
    if (load.connections >= this.#limits.connections) return undefined;
    load.connections++;
    this.#byUid.set(uid, load);
    return load;
  }

  leave(uid: number): void {
    const load = this.#byUid.get(uid);
    if (load === undefined) return;
    load.connections--;
    // Requests that outlive their connection still count when the user comes back.
    if (load.connections === 0 && load.keptBytes === 0) this.#byUid.delete(uid);
  }
}
