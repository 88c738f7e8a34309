/**
 * Links between simulated nodes, as TCP has them: in order, each message once, with delays that differ; and a
 * link ends at any moment, with whatever was on its way.
 */
import type { Random } from '../random.mjs';
import type { Timeline } from './timeline.ts';

export interface LinkEnd {
  receive(frame: unknown): void;
  /** The link is over. */
  down(): void;
}

interface Direction {
  readonly onTheWay: unknown[];
  end: LinkEnd | undefined;
}

export interface NetworkFaults {
  /** A message takes up to so long. */
  readonly delayMs: number;
  /** What no transport does, to show that it would be noticed. */
  readonly loses: number;
  readonly reorders: number;
}

export class Link {
  readonly #timeline: Timeline;
  readonly #random: Random;
  readonly #faults: NetworkFaults;
  readonly #directions: readonly [Direction, Direction];
  #isUp = true;

  constructor(timeline: Timeline, random: Random, faults: NetworkFaults, ends: readonly [LinkEnd, LinkEnd]) {
    this.#timeline = timeline;
    this.#random = random;
    this.#faults = faults;
    this.#directions = [
      { onTheWay: [], end: ends[1] },
      { onTheWay: [], end: ends[0] },
    ];
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  send(from: 0 | 1, frame: unknown): void {
    if (!this.#isUp || this.#random.happens(this.#faults.loses)) return;
    const direction = this.#directions[from];
    const { onTheWay } = direction;
    if (onTheWay.length > 0 && this.#random.happens(this.#faults.reorders)) onTheWay.splice(-1, 0, frame);
    else onTheWay.push(frame);
    // In order although delays differ: each arrival takes the oldest.
    this.#timeline.after(this.#random.between(0.05, this.#faults.delayMs), () => {
      if (this.#isUp) direction.end?.receive(onTheWay.shift());
    });
  }

  cut(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    for (const { end } of this.#directions) end?.down();
  }
}
