/**
 * The property of this folder: random sequences have the same results, errors and trees on all subjects.
 *
 * A failure prints the seed and the path of the shortest sequence found. To run it again, or for longer:
 * CLUSTERFS_MODEL_SEED=42 CLUSTERFS_MODEL_PATH=7:1 CLUSTERFS_MODEL_RUNS=10000 npm test -- test/model
 */
import fs from 'node:fs';
import fc from 'fast-check';
import { onTestFinished } from 'vitest';
import { type Operation, sequence } from './commands.ts';
import { compare, modelSubject, realSubject, type Subject } from './compare.ts';
import { Unspecified } from './fs-model.ts';
import { linuxSparse } from './linux-sparse.ts';

const { CLUSTERFS_MODEL_RUNS: runs, CLUSTERFS_MODEL_SEED: seed, CLUSTERFS_MODEL_PATH: path } = process.env;

export const limitMs = runs === undefined ? 120_000 : 3_600_000;

export function agree(
  subjects: readonly Subject[],
  sequences: fc.Arbitrary<Operation[]> = sequence,
): fc.IAsyncProperty<[Operation[]]> {
  return fc.asyncProperty(sequences, async (operations) => {
    fc.pre(await isSpecified(operations));
    await compare(subjects, operations);
  });
}

/** Whether it is known what must come of a sequence. */
async function isSpecified(operations: readonly Operation[]): Promise<boolean> {
  const run = await modelSubject().begin();
  try {
    for (const operation of operations) await run.apply(operation);
    return true;
  } catch (error) {
    if (error instanceof Unspecified) return false;
    throw error;
  }
}

/** `usualRuns` fits the time of CI; the environment may ask for more, or for one that failed. */
export function parameters(usualRuns: number): fc.Parameters<[Operation[]]> {
  return {
    numRuns: runs === undefined ? usualRuns : Number(runs),
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  };
}

/** node:fs on tmpfs, for one test. */
export async function linuxSubject(): Promise<Subject> {
  const root = await fs.promises.mkdtemp('/dev/shm/cluster-fs-model-');
  onTestFinished(() => fs.promises.rm(root, { recursive: true, force: true }));
  return realSubject({ name: 'node:fs', fs: fs.promises, root, sparse: linuxSparse });
}
