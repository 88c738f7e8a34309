/** The workers of both hosts: each is asked for words, and each answer is checked. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import { type Neighbour, nearest, type Table } from './search.ts';

interface Worker {
  readonly host: string;
  readonly process: ChildProcess;
}

interface Answer {
  readonly host: string;
  readonly nearest: readonly Neighbour[];
  /** The table that gives this answer. */
  readonly table: Table;
}

interface Task {
  readonly questions: readonly string[];
  /** The answers must be those of one of these. */
  readonly tables: readonly Table[];
}

export class Team {
  readonly #workers: readonly Worker[];
  readonly #questions: readonly string[];
  /** By table and word, as found in arrays of our own. */
  readonly #right: ReadonlyMap<Table, ReadonlyMap<string, readonly Neighbour[]>>;
  readonly #last = new Map<string, Answer>();
  answers = 0;

  constructor(workers: readonly Worker[], { questions, tables }: Task) {
    this.#workers = workers;
    this.#questions = questions;
    const answersOf = (table: Table) => new Map(questions.map((word) => [word, nearest(table, word)]));
    this.#right = new Map(tables.map((table) => [table, answersOf(table)]));
  }

  pidsOn(host: string): readonly number[] {
    return this.#workers.filter((worker) => worker.host === host).map(({ process }) => process.pid ?? 0);
  }

  /** The last answer to that word. */
  answerTo(word: string): Answer {
    const answer = this.#last.get(word);
    assert(answer !== undefined, `${word} was not asked for`);
    return answer;
  }

  /** Every question once, dealt out like cards. Each answer must be from that table. */
  async askAll(table: Table): Promise<void> {
    const count = this.#workers.length;
    const workOff = async (worker: Worker, hand: number): Promise<void> => {
      for (const word of this.#questions.filter((_, i) => i % count === hand)) {
        const answer = await this.#ask(worker, word);
        assert(answer.table === table, `on ${worker.host} ${word} was looked for in another table`);
      }
    };
    await Promise.all(this.#workers.map(workOff));
  }

  /** Question after question to everybody, until something else is done. */
  async askWhile(other: Promise<void>): Promise<void> {
    let isDone = false;
    const done = other.finally(() => {
      isDone = true;
    });
    const askOn = async (worker: Worker): Promise<void> => {
      for (let i = 0; !isDone; i++)
        await this.#ask(worker, this.#questions[i % this.#questions.length] ?? '');
    };
    await Promise.all([done, ...this.#workers.map(askOn)]);
  }

  /** Lets them end; every one must do so by itself. */
  async end(): Promise<void> {
    const exits = this.#workers.map(({ process }) => once(process, 'exit'));
    for (const { process } of this.#workers) process.disconnect();
    for (const exit of await Promise.all(exits)) assert.deepEqual(exit, [0, null]);
  }

  async #ask({ host, process }: Worker, word: string): Promise<Answer> {
    process.send(word);
    const [found] = await once(process, 'message');
    const [table] = [...this.#right].find(([, right]) => isDeepStrictEqual(right.get(word), found)) ?? [];
    assert(table !== undefined, `on ${host} ${word} got an answer that no table gives`);
    const answer = { host, nearest: found, table };
    this.#last.set(word, answer);
    this.answers++;
    return answer;
  }
}
