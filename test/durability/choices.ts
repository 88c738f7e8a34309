/** What a disk may keep of the changes that were not flushed, when power is lost. */
import type { Choice } from './disk.ts';

const lastOf = (groups: Parameters<Choice>[0]): number =>
  groups.findIndex((group) => group.at(-1)?.seq === Math.max(...groups.map((each) => each.at(-1)?.seq ?? 0)));

/** The extremes. */
export const extremes = {
  nothing: (groups) => groups.map(() => 0),
  everything: (groups) => groups.map(({ length }) => length),
  'only the last': (groups) => groups.map(({ length }, i) => (i === lastOf(groups) ? length : 0)),
  'only the first': (groups) => groups.map((_, i) => (i === 0 ? 1 : 0)),
  'all but the first': (groups) => groups.map(({ length }, i) => (i === 0 ? 0 : length)),
  'all but the last': (groups) => groups.map(({ length }, i) => (i === lastOf(groups) ? 0 : length)),
} satisfies Readonly<Record<string, Choice>>;

/** Some of each, by chance: the same for the same seed. */
export function byChance(seed: number): Choice {
  let state = seed >>> 0;
  // mulberry32
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return (groups) =>
    groups.map(({ length }) => {
      const kind = random();
      return kind < 0.4 ? 0 : kind < 0.8 ? length : Math.floor(random() * (length + 1));
    });
}
