/**
 * When the node that came back is told `resumed`, and may give away what it keeps for sessions of before: as
 * soon as nothing is copied by the segment of before. The session worker's part; `DataAccess` is the
 * application's thread's.
 *
 *   back ──drained──▶ said
 *     └──waited──▶ forced ──no copy is under way──▶ said
 *
 * The application's thread says `drained` when it has the new segment. While it waits in a touch it cannot,
 * and what it waits for may wait for this word: a node that does not have it gives no block of its files to
 * others. So after a while the worker forces it: from then on that thread copies nothing by the old segment.
 */
import { flag } from './worker-protocol.ts';

/** A thread that turns its event loop answers in milliseconds. */
const patienceMs = 1000;
const pollMs = 10;
/** As many sessions of before are remembered, the newest. */
const most = 64;

interface ResumptionParts {
  /** Shared with the application's thread. */
  readonly flags: Int32Array;
  /** Tells the node; rejects, or is undefined, when it is away again: then it is said when it is back. */
  readonly say: (sessions: readonly number[]) => Promise<unknown> | undefined;
  /** The node does not wait for these any more. */
  readonly said: (sessions: readonly number[]) => void;
}

export class Resumption {
  readonly #parts: ResumptionParts;
  /** The session, and those of before that the node may wait for: it keeps pages back for them. */
  #sessions: readonly number[] = [];
  /** How often the node came back. */
  #times = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ResumptionParts) {
    this.#parts = parts;
  }

  get sessions(): readonly number[] {
    return this.#sessions;
  }

  opened(session: number): void {
    this.#sessions = [...this.#sessions, session].slice(-most);
  }

  /** All leases are presented. Returns which time that is, for the application's thread. */
  back(): number {
    this.#times++;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      Atomics.store(this.#parts.flags, flag.forced, this.#times);
      this.#sayWhenStill();
    }, patienceMs);
    return this.#times;
  }

  /** The node is away, or the session is over. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  /** The application's thread has the segment of that time; `ended`: sessions of others that are over. */
  drained(times: number, ended: readonly number[]): void {
    if (times !== this.#times) return;
    clearTimeout(this.#timer);
    this.#say(ended);
  }

  #sayWhenStill(): void {
    if (Atomics.load(this.#parts.flags, flag.copies) === 0) this.#say([]);
    else this.#timer = setTimeout(() => this.#sayWhenStill(), pollMs);
  }

  /** Only the newest session counts from here. When the node dies before it answers, it is said again. */
  #say(ended: readonly number[]): void {
    const sessions = [...this.#sessions.slice(0, -1), ...ended];
    this.#parts.say(sessions)?.then(
      () => {
        this.#sessions = this.#sessions.filter((session) => !sessions.includes(session));
        this.#parts.said(sessions);
      },
      () => undefined,
    );
  }
}
