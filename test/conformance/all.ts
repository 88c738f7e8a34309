/** Every suite, in reading order, and the frame in which a setup runs them. */
import { afterAll, beforeAll, describe } from 'vitest';
import { appendAndFlags } from './append-and-flags.ts';
import { argumentErrors } from './arguments.ts';
import { attributes } from './attributes.ts';
import { concurrency } from './concurrency.ts';
import { copy } from './copy.ts';
import { directories } from './directories.ts';
import { errors } from './errors.ts';
import { files } from './files.ts';
import { handles } from './handles.ts';
import { links } from './links.ts';
import { lookups } from './lookups.ts';
import { names } from './names.ts';
import { remove } from './remove.ts';
import { rename } from './rename.ts';
import { pageSizes } from './sizes.ts';
import { streams } from './streams.ts';
import { symlinks } from './symlinks.ts';
import { synchronous } from './synchronous.ts';
import type { Abilities, Suite, Tester } from './tester.ts';
import { truncate } from './truncate.ts';
import { watching } from './watching.ts';

export const suites: readonly Suite[] = [
  files,
  appendAndFlags,
  directories,
  names,
  rename,
  links,
  symlinks,
  attributes,
  truncate,
  handles,
  pageSizes,
  streams,
  remove,
  copy,
  lookups,
  synchronous,
  concurrency,
  watching,
  errors,
  argumentErrors,
];

export interface Setup {
  readonly name: string;
  readonly can: Abilities;
  /** Requires: its own time limit is shorter than `limitMs`, so that it can say what it waited for. */
  start(): Promise<Running>;
}

export type Running = Pick<Tester, 'fs' | 'sync' | 'streams' | 'root'> & { stop(): Promise<void> };

const limitMs = 30_000;

/** Declares all suites for one backend, which is started before the first test and stopped after the last. */
export function conformance({ name, can, start }: Setup): void {
  describe(name, () => {
    let running: Running | undefined;
    beforeAll(async () => {
      running = await start();
    }, limitMs);
    afterAll(() => running?.stop(), limitMs);

    const started = (): Running => {
      if (running === undefined) throw new Error(`${name} is only there while a test runs`);
      return running;
    };
    const tester: Tester = {
      name,
      can,
      get fs() {
        return started().fs;
      },
      get sync() {
        return started().sync;
      },
      get streams() {
        return started().streams;
      },
      get root() {
        return started().root;
      },
    };
    for (const suite of suites) suite(tester);
  });
}
