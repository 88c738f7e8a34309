/** What a disk may keep of the changes that were not flushed, when power is lost. */
import { randomOf } from '../random.mjs';
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
  const random = randomOf(seed);
  return (groups) =>
    groups.map(({ length }) => {
      const kind = random.fraction();
      return kind < 0.4 ? 0 : kind < 0.8 ? length : random.below(length + 1);
    });
}
