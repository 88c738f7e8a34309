/** Runs one sequence on several filesystems in lockstep, and says where they first disagree. */
import { isDeepStrictEqual } from 'node:util';
import type { PromisesLike } from '../conformance/tester.ts';
import type { ModelWorld, RealWorld, SparseCalls } from './command.ts';
import { type Operation, type Outcome, onModel, onReal } from './commands.ts';
import { createModel, mkdir, type Rules } from './fs-model.ts';

export interface Subject {
  readonly name: string;
  /** An empty tree but for the directory /top. */
  begin(): Promise<Run>;
}

interface Run {
  apply(operation: Operation): Promise<Outcome>;
  /** Removes the tree. Rejects when something was found damaged. */
  end(): Promise<void>;
}

export function modelSubject(rules?: Rules): Subject {
  return {
    name: 'model',
    async begin() {
      const world: ModelWorld = { model: createModel(rules), handles: new Map() };
      mkdir(world.model, '/top');
      return { apply: async (operation) => onModel(world, operation), end: async () => undefined };
    },
  };
}

export interface RealSubject {
  readonly name: string;
  readonly fs: PromisesLike;
  /** An existing directory; each sequence gets a new one below it. */
  readonly root: string;
  readonly sparse: SparseCalls;
  /** What the filesystem's own checker finds; nothing is good. */
  check?(): Promise<readonly string[]>;
}

export function realSubject({ name, fs, root, sparse, check }: RealSubject): Subject {
  return {
    name,
    async begin() {
      const sandbox = await fs.realpath(await fs.mkdtemp(`${root}/sequence-`));
      const world: RealWorld = { fs, root: sandbox, handles: new Map(), sparse };
      await fs.mkdir(`${sandbox}/top`);
      const end = async () => {
        const whileOpen = (await check?.()) ?? [];
        for (const handle of world.handles.values()) await handle.close();
        await fs.rm(sandbox, { recursive: true });
        const findings = [...whileOpen, ...((await check?.()) ?? [])];
        if (findings.length > 0) throw new Error(`the checker of ${name} found\n${findings.join('\n')}`);
      };
      return { apply: (operation) => onReal(world, operation), end };
    },
  };
}

/** Two filesystems did not do the same. */
export class Disagreement extends Error {}

/** Resolves when all subjects agree with the first in each outcome and in the tree that is left. */
export async function compare(subjects: readonly Subject[], operations: readonly Operation[]): Promise<void> {
  const runs = await Promise.all(subjects.map((subject) => subject.begin()));
  const failures: Error[] = [];
  const collect = (error: Error) => failures.push(error);
  await applyInTurn(subjects, runs, operations).catch(collect);
  for (const run of runs) await run.end().catch(collect);
  if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join('\n'));
  if (failures[0] !== undefined) throw failures[0];
}

async function applyInTurn(
  subjects: readonly Subject[],
  runs: readonly Run[],
  operations: readonly Operation[],
): Promise<void> {
  for (const [index, operation] of operations.entries()) {
    await applyToAll(subjects, runs, operation, operations.slice(0, index));
  }
  await compareTrees(subjects, runs, operations);
}

async function applyToAll(
  subjects: readonly Subject[],
  runs: readonly Run[],
  operation: Operation,
  history: readonly Operation[],
): Promise<Outcome | undefined> {
  const outcomes: Outcome[] = [];
  for (const run of runs) outcomes.push(await run.apply(operation));
  const disagrees = outcomes.some((outcome) => !isDeepStrictEqual(outcome, outcomes[0]));
  if (!disagrees) return outcomes[0];
  const lines = outcomes.map((outcome, i) => `  ${subjects[i]?.name}: ${JSON.stringify(outcome)}`);
  const before = history.map((each) => `  ${JSON.stringify(each)}`);
  throw new Disagreement([`${JSON.stringify(operation)} gave`, ...lines, 'after', ...before].join('\n'));
}

/** Looks at everything below the root, by the same operations: types, attributes, content. */
async function compareTrees(
  subjects: readonly Subject[],
  runs: readonly Run[],
  history: readonly Operation[],
): Promise<void> {
  const look = (called: string, path: string) => applyToAll(subjects, runs, [called, { path }], history);
  const pending = ['/'];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const listed = await look('readdir', path);
    const entries = listed !== undefined && 'result' in listed ? (listed.result as string[]) : [];
    for (const entry of entries) {
      const [name, kind] = entry.split(' ');
      const inner = `${path === '/' ? '' : path}/${name}`;
      await look('lstat', inner);
      if (kind === 'directory') pending.push(inner);
      else await look(kind === 'link' ? 'readlink' : 'readFile', inner);
    }
  }
}
