/**
 * Measuring contenders against each other.
 *
 * Round by round, each contender once, in an order that turns from round to round: when the machine slows
 * down or speeds up, it does so for all of them, and the ratio of one round stays true.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** One figure of one round: a time, a rate, a size. */
type Sample = () => number | Promise<number>;

export interface Rounds {
  readonly rounds: number;
  readonly warmup?: number;
}

/** The figures of every contender, one per round. */
export async function interleave<K extends string>(
  contenders: Readonly<Record<K, Sample>>,
  { rounds, warmup = 1 }: Rounds,
): Promise<Record<K, number[]>> {
  const names = Object.keys(contenders) as K[];
  const samples = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<K, number[]>;
  for (let round = -warmup; round < rounds; round++) {
    const turn = (round + warmup) % names.length;
    for (const name of [...names.slice(turn), ...names.slice(0, turn)]) {
      collectGarbage();
      const figure = await contenders[name]();
      if (round >= 0) samples[name].push(figure);
    }
  }
  return samples;
}

/** Milliseconds that `work` takes. */
export async function elapsed(work: () => unknown): Promise<number> {
  const began = performance.now();
  const result = work();
  if (result instanceof Promise) await result;
  return performance.now() - began;
}

/** A sample of the time that `work` takes, in milliseconds. */
export const timed =
  (work: () => unknown): Sample =>
  () =>
    elapsed(work);

/** How many times per second `count` operations were done. */
export const perSecond = async (count: number, work: () => unknown): Promise<number> =>
  (count / (await elapsed(work))) * 1000;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(samples: readonly number[]): Spread {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    min: at(0),
    max: at(sorted.length - 1),
  };
}

export const median = (samples: readonly number[]): number => spreadOf(samples).median;

/** `a / b` of each round. */
export const ratios = (a: readonly number[], b: readonly number[]): number[] =>
  a.map((value, i) => value / (b[i] ?? Number.NaN));
