/** Notices a peer that is silent: asks it for a sign of life, and gives it up when nothing comes. */
import { heartbeatDefaults } from './peer-limits.ts';

export interface HeartbeatOptions {
  /** How often the peer is asked for a sign of life. */
  readonly heartbeatMs?: number;
  /** For how long nothing may arrive. */
  readonly deadAfterMs?: number;
}

interface Owner {
  ping(): void;
  /** Nothing arrived for that long. */
  onSilent(silentMs: number): void;
}

export class Heartbeat {
  readonly #owner: Owner;
  readonly #deadAfterMs: number;
  readonly #timer: NodeJS.Timeout;
  #heardMs = performance.now();
  #stopped = false;

  constructor(
    owner: Owner,
    {
      heartbeatMs = heartbeatDefaults.heartbeatMs,
      deadAfterMs = heartbeatDefaults.deadAfterMs,
    }: HeartbeatOptions,
  ) {
    this.#owner = owner;
    this.#deadAfterMs = deadAfterMs;
    this.#timer = setInterval(() => this.#beat(), heartbeatMs);
    // The socket keeps the process alive, where it shall.
    this.#timer.unref();
  }

  /** Something arrived. */
  heard(): void {
    this.#heardMs = performance.now();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  #beat(): void {
    if (!this.#isSilent()) {
      this.#owner.ping();
      return;
    }
    // This process may have stood still itself: what arrived meanwhile is read before anybody is given up.
    setImmediate(() => {
      if (this.#stopped || !this.#isSilent()) return;
      this.#owner.onSilent(performance.now() - this.#heardMs);
    });
  }

  #isSilent(): boolean {
    return performance.now() - this.#heardMs >= this.#deadAfterMs;
  }
}
