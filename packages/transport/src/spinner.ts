/**
 * Whether a thread looks for the next message before it goes to sleep: while messages keep coming that
 * soon, and nobody else wants its processor.
 *
 *   looking ──in vain──▶ pausing for some messages ──over──▶ one look ──caught──▶ looking
 *      │                      ▲────────── in vain: twice as many ───┘
 *      └──the processor was taken──▶ pausing for some time, twice as long when it is taken again at once
 *
 * A request to a node that is awake takes some tens of microseconds. To wake a processor that sleeps takes as
 * long again on a virtual machine, of the one that wakes it as well as of the one that slept.
 */
import { availableParallelism } from 'node:os';
import * as native from './native.ts';

export const limits = {
  /** How long a look takes at most: longer than the node needs for a request. */
  lookUs: 200,
  /** A look that took longer had to wait for its own processor. */
  crowdedUs: 600,
  /** Messages between two looks, at most. */
  messages: 64,
  /** Of those of which many may come at once: with more in one turn there is work until the next come. */
  ofTurn: 4,
  /** How long a crowded processor is left to others, at first and at most. */
  firstCrowdMs: 10,
  longestCrowdMs: 1280,
  /** A processor that is taken again so soon is the same crowd: the collector of garbage comes and goes. */
  sameCrowdMs: 30,
} as const;

/** When to look again. */
export interface Pace {
  /** Messages that pass without a look. */
  readonly messages: number;
  /** The end of the last pause for a crowded processor, and how long it was. */
  readonly untilMs: number;
  readonly crowdMs: number;
}

export const noPause: Pace = { messages: 0, untilMs: 0, crowdMs: 0 };

/** What a look says about the next. `before` is the pace by which it was made. */
export function paceAfter(before: Pace, { caught, microseconds }: native.Look, nowMs: number): Pace {
  if (microseconds > limits.crowdedUs) {
    const same = before.crowdMs > 0 && nowMs - before.untilMs < limits.sameCrowdMs;
    const crowdMs = same ? Math.min(before.crowdMs * 2, limits.longestCrowdMs) : limits.firstCrowdMs;
    return { messages: 0, untilMs: nowMs + crowdMs, crowdMs };
  }
  const messages = caught ? 0 : Math.min(before.messages * 2 + 1, limits.messages);
  return messages === before.messages ? before : { ...before, messages };
}

const done = Promise.resolve();

/** One for each thread; all its connections share it. */
export class Spinner {
  readonly #spin: native.LoopSpin | undefined;
  #pace = noPause;
  /** Messages since the last look. */
  #passed = 0;
  #isArmed = false;
  /** Of many, in this turn of the event loop. */
  #ofTurn = 0;
  readonly #disarm = (): void => {
    this.#isArmed = false;
  };
  readonly #endTurn = (): void => {
    this.#ofTurn = 0;
  };

  /** With one processor, whoever makes the next message needs it. */
  constructor(spin = availableParallelism() > 1 ? native.spinLoop() : undefined) {
    this.#spin = spin;
  }

  /** A message will come: called when a request was sent, or a reply behind which the next request may be. */
  expect(): void {
    if (this.#spin === undefined || this.#isArmed || this.#passed++ < this.#pace.messages) return;
    const nowMs = performance.now();
    if (nowMs < this.#pace.untilMs) return;
    const look = this.#spin.next(limits.lookUs);
    // Several messages of one turn are one look.
    this.#isArmed = true;
    // queueMicrotask would make an AsyncResource for each.
    void done.then(this.#disarm);
    if (look === undefined) return;
    this.#pace = paceAfter(this.#pace, look, nowMs);
    this.#passed = 0;
    if (this.#pace.messages > 0 || nowMs < this.#pace.untilMs) this.#spin.next(0);
  }

  /**
   * As `expect`, called for one message of perhaps many. When many come at once nobody waits for the next
   * one, and to look for it would take from the processor that makes it.
   */
  expectOneOfMany(): void {
    const count = ++this.#ofTurn;
    if (count === 1) void done.then(this.#endTurn);
    if (count <= limits.ofTurn) this.expect();
    else if (count === limits.ofTurn + 1) this.#spin?.next(0);
  }

  close(): void {
    this.#spin?.close();
  }
}
