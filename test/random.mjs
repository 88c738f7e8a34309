/**
 * Chance that is the same for the same seed (mulberry32).
 *
 * @typedef {object} Random
 * @property {() => number} fraction  At least 0, less than 1.
 * @property {(end: number) => number} below  A whole number, at least 0 and less than `end`.
 * @property {(least: number, most: number) => number} between
 * @property {(probability: number) => boolean} happens  Whether something of this probability happens.
 * @property {<T>(from: readonly T[]) => T} pick
 */

/**
 * @param {number} seed
 * @returns {Random}
 */
export function randomOf(seed) {
  let state = seed >>> 0;
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (/** @type {number} */ end) => Math.floor(fraction() * end);
  return {
    fraction,
    below,
    between: (least, most) => least + fraction() * (most - least),
    happens: (probability) => fraction() < probability,
    pick: (from) => /** @type {(typeof from)[number]} */ (from[below(from.length)]),
  };
}
