/**
 * The books that clerks keep on several nodes while these fail, and what must be true of them.
 *
 * All clerks count in one file, `/ledger`, each in words of its own, which lie in blocks that all of them
 * store into. Beside that each has files of its own that it writes as a whole; others read them. What a file
 * has in it says whose it is and which edition.
 *
 * @typedef {object} Pages  What a clerk knows of what it has done.
 * @property {string} name
 * @property {number} index
 * @property {readonly number[]} counts  How often it has added to each of its words, at most.
 * @property {readonly number[]} [told]  How often for certain, when that may be less.
 * @property {readonly number[]} synced  What they were when a sync of them was answered last.
 * @property {readonly Editions[]} files
 *
 * @typedef {object} Editions  Of one file.
 * @property {number} answered  The last one that is written for certain.
 * @property {number} asked  The last one that may be.
 */
import { randomOf } from '../random.mjs';

export const ledgerBlocks = 8;
const wordsPerBlock = 16_384;
const wordsInBlock = 16;
export const ledgerBytes = ledgerBlocks * wordsPerBlock * 4;
export const filesOfClerk = 3;

/** @param {string} name @param {number} file */
export const pathOf = (name, file) => `/files/${name}-${file}`;

/** The words of a clerk, by number. @param {number} index */
export function wordsOf(index) {
  const words = [];
  for (let block = 0; block < ledgerBlocks; block++)
    for (let i = 0; i < wordsInBlock; i++)
      // Apart by more than a page, so that a block that is half there shows.
      words.push(block * wordsPerBlock + ((i * 1031) % wordsPerBlock) + index);
  return words;
}

/**
 * An edition of a file, a few hundred kilobytes at most.
 *
 * @param {string} name @param {number} file @param {number} edition
 */
export function editionOf(name, file, edition) {
  const head = Buffer.from(`${name}-${file} ${edition}\n`);
  const random = randomOf(edition * filesOfClerk + file);
  const body = Buffer.alloc(4 * random.below(64 * 1024));
  const words = new Uint32Array(body.buffer, body.byteOffset, body.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(edition + i, 0x9e3779b1);
  return Buffer.concat([head, body]);
}

/**
 * Which edition that is, whole and right; undefined when it is none.
 *
 * @param {Buffer} content @param {string} name @param {number} file
 */
export function editionIn(content, name, file) {
  const head = content.subarray(0, content.indexOf('\n')).toString('latin1');
  const edition = Number(head.split(' ')[1]);
  if (!Number.isSafeInteger(edition)) return undefined;
  return Buffer.compare(content, editionOf(name, file, edition)) === 0 ? edition : undefined;
}

/**
 * What is wrong with what there is in the end. Of a clerk whose node was cut off what it had not synced may
 * be lost, if the home has counted that; of the others nothing.
 *
 * @param {{ pages: Pages, mayLose: boolean }[]} clerks
 * @param {{ words: Int32Array, lostBlocks: number, contentOf(path: string): Buffer }} there
 */
export function findings(clerks, { words, lostBlocks, contentOf }) {
  const found = [];
  let lost = 0;
  for (const { pages, mayLose } of clerks) {
    const { name, index, counts, synced, files, told = counts } = pages;
    for (const [i, word] of wordsOf(index).entries()) {
      const [value = 0, count = 0, least = 0, certain = 0] = [words[word], counts[i], synced[i], told[i]];
      if (mayLose ? value >= least && value <= count : value === count) lost += Math.max(0, certain - value);
      else found.push(`${name}, word ${i}: counted ${count}, synced ${least}, has ${value}`);
    }
    for (const [file, { answered, asked }] of files.entries()) {
      const edition = editionIn(contentOf(pathOf(name, file)), name, file);
      if (edition === undefined) found.push(`${pathOf(name, file)} is no edition`);
      else if (edition < answered || edition > asked)
        found.push(`${pathOf(name, file)} is edition ${edition}, not ${answered} to ${asked}`);
    }
  }
  if (lost > 0 && lostBlocks === 0) found.push(`${lost} increments are lost, and nobody says so`);
  return found;
}
