/**
 * When a round of syncs begins. Who was answered together asks again soon, one after the other: the first
 * would be a round alone, and all others wait for it. A flush for all costs what one for the first costs.
 *
 * So while requests keep coming a round waits until it is asked for as many files as the last one had, and
 * left waiting. A client alone waits for nobody, nor does the first one after a pause for more than a turn.
 */
import { setImmediate as turn } from 'node:timers/promises';

/** How long a round waits for more at most. */
const mostMs = 1;

export class Gathering {
  readonly #nowMs: () => number;
  /** Files that the next round is asked for. */
  readonly #asked = new Set<number>();
  /** How many they were when the last round ended, with its own. */
  #together = 0;
  /** Requests so far. */
  #heard = 0;

  /** @param nowMs the clock by which it waits, in milliseconds */
  constructor(nowMs = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** A file was changed: its sync may follow. */
  changed(): void {
    this.#heard++;
  }

  asked(inos: readonly number[]): void {
    this.#heard++;
    for (const ino of inos) this.#asked.add(ino);
  }

  /** Resolves when the next round should begin. */
  async isTime(): Promise<void> {
    const endMs = this.#nowMs() + mostMs;
    let heard = -1;
    while (this.#asked.size < this.#together && heard !== this.#heard && this.#nowMs() < endMs) {
      heard = this.#heard;
      await turn();
    }
  }

  /** A round begins with all that was asked for. */
  begins(): void {
    this.#asked.clear();
  }

  /** A round has ended. Who synced in it may have asked again meanwhile: he is one. */
  ended(inos: ReadonlySet<number>): void {
    this.#together = new Set([...inos, ...this.#asked]).size;
  }
}
