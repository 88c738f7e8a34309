/**
 * What files of the chaos hold: parts, each told by a seed and a length, so that a manifest of a few
 * numbers says every byte. A shorter part of the same seed is the beginning of a longer one.
 *
 * @typedef {{ seed: number, size: number }} Part
 * @typedef {readonly Part[] | null} State The parts of a file in order, or null when there is none.
 */

/** @param {readonly Part[]} parts */
export const bytesOf = (parts) => Buffer.concat(parts.map(partBytes));

/** @param {Part} part */
function partBytes({ seed, size }) {
  const words = new Uint32Array(Math.ceil(size / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(seed + i, 0x9e3779b1);
  return Buffer.from(words.buffer, 0, size);
}

/** @param {State} state */
export const sizeOf = (state) => (state ?? []).reduce((sum, { size }) => sum + size, 0);

/**
 * A state cut to a size: what truncate leaves.
 *
 * @param {readonly Part[]} parts @param {number} size
 * @returns {Part[]}
 */
export function cutTo(parts, size) {
  const kept = [];
  let left = size;
  for (const part of parts) {
    if (left === 0) break;
    kept.push({ seed: part.seed, size: Math.min(part.size, left) });
    left -= Math.min(part.size, left);
  }
  return kept;
}

/** A generator of numbers below a bound, the same for the same seed. @param {number} seed */
export function randomOf(seed) {
  let state = seed;
  /** @param {number} bound */
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}
