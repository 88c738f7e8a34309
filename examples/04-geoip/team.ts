/** The workers of one kind: what they have answered, and whether it was right. */
import type { ChildProcess } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import type { Edition } from './edition.ts';
import { type Pass, passLength } from './workload.ts';

interface Worker {
  readonly process: ChildProcess;
  passes: number;
  /** The edition that it answered from last. */
  edition: number;
}

export class Team extends EventEmitter<{ pass: [] }> {
  readonly #workers: readonly Worker[];
  readonly #editions: readonly Edition[];
  lookups = 0;
  /** Passes with an answer that their edition does not give. */
  wrong = 0;

  constructor(processes: readonly ChildProcess[], editions: readonly Edition[]) {
    super();
    this.#editions = editions;
    this.#workers = processes.map((process) => {
      const worker: Worker = { process, passes: 0, edition: 0 };
      process.on('message', (pass) => this.#onPass(worker, pass as Pass));
      return worker;
    });
  }

  get pids(): readonly number[] {
    return this.#workers.map(({ process }) => process.pid ?? 0);
  }

  /** Resolves when every worker has made so many passes more. */
  async passes(count: number): Promise<void> {
    const goals = this.#workers.map(({ passes }) => passes + count);
    while (this.#workers.some(({ passes }, i) => passes < (goals[i] ?? 0))) await once(this, 'pass');
  }

  /** Resolves when every worker has answered from that edition. */
  async answersFrom({ builtMs }: Edition): Promise<void> {
    while (this.#workers.some(({ edition }) => edition !== builtMs)) await once(this, 'pass');
  }

  /** Lookups a second of all workers together, while they make so many passes. */
  async speed(passes: number): Promise<number> {
    const [before, beganMs] = [this.lookups, performance.now()];
    await this.passes(passes);
    return (this.lookups - before) / ((performance.now() - beganMs) / 1000);
  }

  /** Lets them end; every one must do so by itself. */
  async end(): Promise<void> {
    const exits = this.#workers.map(({ process }) => once(process, 'exit'));
    for (const { process } of this.#workers) process.send('stop');
    await Promise.all(exits);
  }

  #onPass(worker: Worker, { number, edition, fingerprint }: Pass): void {
    const right = this.#editions.find(({ builtMs }) => builtMs === edition)?.fingerprints ?? [];
    if (fingerprint !== right[number % right.length]) this.wrong++;
    this.lookups += passLength;
    worker.passes++;
    worker.edition = edition;
    this.emit('pass');
  }
}
