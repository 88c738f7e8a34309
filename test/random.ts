/** Chance that is the same for the same seed (mulberry32). */
export interface Random {
  /** At least 0, less than 1. */
  fraction(): number;
  /** A whole number, at least 0 and less than `end`. */
  below(end: number): number;
  between(least: number, most: number): number;
  /** Whether something that happens with this probability happens. */
  happens(probability: number): boolean;
  pick<T>(from: readonly T[]): T;
}

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (end: number): number => Math.floor(fraction() * end);
  return {
    fraction,
    below,
    between: (least, most) => least + fraction() * (most - least),
    happens: (probability) => fraction() < probability,
    pick: (from) => from[below(from.length)] as (typeof from)[number],
  };
}
