/** What the programs agree on: which files there are, what is in them, and what a search is. */

/** One row of numbers for each word: the position of the word in `wordsFile` is that of its row. */
export const tableFile = '/embeddings.f32';
export const wordsFile = '/words.txt';

export const dimension = 256;

export interface Table {
  readonly words: readonly string[];
  /** Shared memory or an array of one's own: a search does not know. */
  readonly vectors: Float32Array;
}

export interface Neighbour {
  readonly word: string;
  /** The inner product of its row and that of the word that was asked for. */
  readonly score: number;
}

/** Goes over the whole table, row by row. */
export function nearest({ words, vectors }: Table, word: string): readonly Neighbour[] {
  const query = rowOf(vectors, words.indexOf(word));
  const scores = words.map((other, i) => ({ word: other, score: innerProduct(query, rowOf(vectors, i)) }));
  const others = scores.filter((other) => other.word !== word);
  return others.sort((one, other) => other.score - one.score).slice(0, 5);
}

/** A part of the array, not a copy of it. */
export function rowOf(vectors: Float32Array, i: number): Float32Array {
  return vectors.subarray(i * dimension, (i + 1) * dimension);
}

function innerProduct(one: Float32Array, other: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < dimension; i++) sum += (one[i] ?? 0) * (other[i] ?? 0);
  return sum;
}
