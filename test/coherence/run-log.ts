/** What happens in a simulated run: the last of it, to be read, and a hash of all, to compare runs. */
import type { Timeline } from './timeline.ts';

const mostLines = 4000;

export class RunLog {
  readonly #timeline: Timeline;
  readonly #lines: string[] = [];
  #hash = 0;

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  get hash(): number {
    return this.#hash;
  }

  note(what: string): void {
    const { nowMs } = this.#timeline;
    const line = `${nowMs.toFixed(2)} ${what}`;
    this.#hash = (Math.imul(this.#hash, 31) + Math.floor(nowMs * 1e6) + line.length) | 0;
    this.#lines.push(line);
    if (this.#lines.length > mostLines) this.#lines.splice(0, mostLines / 2);
  }

  /** Something that is no part of what is compared. */
  trace(what: string): void {
    this.#lines.push(`${this.#timeline.nowMs.toFixed(2)}     ${what}`);
  }

  /** The last so many lines; by default all that are kept. */
  last(count = Number.POSITIVE_INFINITY): string {
    return this.#lines.slice(-count).join('\n  ');
  }
}
