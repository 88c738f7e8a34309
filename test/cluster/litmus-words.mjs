/**
 * Where the words of a litmus test lie: each round has two of its own. They are spread over some blocks, by
 * turns; x and y go through them in different orders, so that of one round one may have come long ago and the
 * other not yet.
 */
const wordsPerBlock = 16_384;

/** @param {number} rounds */
const blocksFor = (rounds) => 4 + 2 * Math.ceil(rounds / wordsPerBlock);

/** Of a file with such words. @param {number} rounds */
export const bytesFor = (rounds) => blocksFor(rounds) * wordsPerBlock * 4;

/**
 * The index of the words of a round.
 *
 * @param {number} rounds @param {'apart' | 'in one block'} place
 * @returns {{ x(round: number): number, y(round: number): number }}
 */
export function wordsOf(rounds, place) {
  const blocks = blocksFor(rounds);
  const x = (/** @type {number} */ i) => (i % blocks) * wordsPerBlock + 2 * Math.floor(i / blocks);
  if (place === 'in one block') return { x, y: (i) => x(i) + 1 };
  const y = (/** @type {number} */ i) => {
    const turn = Math.floor(i / blocks);
    return (turn % blocks) * wordsPerBlock + Math.floor(turn / blocks) * blocks + (i % blocks);
  };
  return { x, y };
}
