/**
 * The file that the torture is about, and what must always be true of it.
 *
 * Every page starts and ends with its own stamp, and every word that is no counter is the stamp too; every
 * fourth page has no counters at all. So a page in the wrong place, a page of zeros, a torn page and a page
 * of another file all show. A counter belongs to one writer, which keeps its own count beside it: at the
 * end both are equal, or a store was lost.
 */

export const wordsPerPage = 1024;
export const writerCount = 3;
/** Pages at the start; the file grows by single pages up to `reservedPages`. */
export const basePages = 768;
export const reservedPages = 1024;
/** What other files are full of. */
export const foreignWord = 0xdeadbeef;

/** @param {number} page */
export const stampOf = (page) => (0x5a000000 | page) >>> 0;
/** @param {number} page A page that was appended later is all this, or all zeros. */
export const grownWordOf = (page) => (0x6b000000 | page) >>> 0;

/** Words of a page that writer 0 counts in; writer n has the n-th next. */
const slots = [8, 512, 1012];

/** @param {number} page */
export const hasCounters = (page) => page < basePages && page % 4 !== 3;

/** Indexes of all counters of one writer. @param {number} writer */
export function countersOf(writer) {
  const indexes = [];
  for (let page = 0; page < basePages; page++) {
    if (hasCounters(page)) for (const slot of slots) indexes.push(page * wordsPerPage + slot + writer);
  }
  return Uint32Array.from(indexes);
}

/** The content before anybody counted. */
export function initialContent() {
  const words = new Uint32Array(basePages * wordsPerPage);
  for (let page = 0; page < basePages; page++) {
    words.fill(stampOf(page), page * wordsPerPage, (page + 1) * wordsPerPage);
  }
  for (let writer = 0; writer < writerCount; writer++)
    for (const index of countersOf(writer)) words[index] = 0;
  return words;
}

/**
 * Adds one to every counter of a writer, in the file and in its own count. Plain stores: the point is that
 * nobody needs more.
 *
 * @param {Uint32Array} words @param {Uint32Array} indexes @param {Uint32Array} counts
 */
export function countOnce(words, indexes, counts) {
  for (let i = 0; i < indexes.length; i++) {
    const index = /** @type {number} */ (indexes[i]);
    words[index] = /** @type {number} */ (words[index]) + 1;
    counts[i] = /** @type {number} */ (counts[i]) + 1;
  }
}

/** What a reader saw last, so that it knows when a counter goes back. */
export class Observer {
  #last = new Uint32Array(basePages * wordsPerPage);
  #isCounter = new Uint8Array(basePages * wordsPerPage);
  /** @type {string[]} What was wrong, the first few. */
  findings = [];
  passes = 0;

  constructor() {
    for (let writer = 0; writer < writerCount; writer++) {
      for (const index of countersOf(writer)) this.#isCounter[index] = 1;
    }
  }

  /** Looks at every word once. @param {Uint32Array} words */
  look(words) {
    for (let page = 0; page < words.length / wordsPerPage && this.findings.length < 20; page++) {
      if (page < basePages) this.#lookAtBase(words, page);
      else this.#lookAtGrown(words, page);
    }
    this.passes++;
  }

  /** @param {Uint32Array} words @param {number} page */
  #lookAtBase(words, page) {
    const stamp = stampOf(page);
    for (let at = page * wordsPerPage; at < (page + 1) * wordsPerPage; at++) {
      const word = /** @type {number} */ (words[at]);
      if (this.#isCounter[at] === 0) {
        if (word !== stamp) this.#found(page, at, `is ${hex(word)}, was ${hex(stamp)} for ever`);
      } else if (word < /** @type {number} */ (this.#last[at])) {
        this.#found(page, at, `counted ${this.#last[at]}, now ${word} (${hex(word)})`);
      } else if (word - /** @type {number} */ (this.#last[at]) > 1e8) {
        this.#found(page, at, `counted ${this.#last[at]}, jumps to ${hex(word)}`);
      } else this.#last[at] = word;
    }
  }

  /** @param {Uint32Array} words @param {number} page */
  #lookAtGrown(words, page) {
    const grown = grownWordOf(page);
    for (let at = page * wordsPerPage; at < (page + 1) * wordsPerPage; at++) {
      const word = /** @type {number} */ (words[at]);
      if (word !== 0 && word !== grown) this.#found(page, at, `is ${hex(word)}, not 0 and not ${hex(grown)}`);
    }
  }

  /** @param {number} page @param {number} at @param {string} what */
  #found(page, at, what) {
    if (this.findings.length < 20) this.findings.push(`page ${page} word ${at % wordsPerPage}: ${what}`);
  }
}

/** @param {number} word */
const hex = (word) => `0x${word.toString(16)}`;

/**
 * Counters that do not have what their writer counted.
 *
 * @param {Uint32Array} words @param {number} writer @param {Uint32Array} counts
 */
export function lostIncrements(words, writer, counts) {
  const lost = [];
  for (const [i, index] of countersOf(writer).entries()) {
    if (words[index] !== counts[i]) {
      const page = Math.floor(index / wordsPerPage);
      lost.push(`writer ${writer}, page ${page}: counted ${counts[i]}, has ${words[index]}`);
    }
  }
  return lost;
}
