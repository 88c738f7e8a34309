/**
 * The file that is punched under everybody, and what must always be true of it.
 *
 * Every second page is never punched: it is its own stamp, but for one counter for each writer, which keeps
 * its own count beside it. The pages between are punched and zeroed, whole and in part, all the time: a
 * word there is zero, or says which page it is in and in which generation it was stored.
 */

export const pages = 128;
export const wordsPerPage = 1024;
export const writerCount = 2;
/**
 * Numbers of the control file: the generation, which grows when a punch begins and when it was answered, and
 * whether to stop.
 */
export const control = { generation: 0, stop: 1 };
/** What other files are full of. */
export const foreignWord = 0xdeadbeef;

/** @param {number} page */
const stampOf = (page) => (0x5a000000 | page) >>> 0;
/** @param {number} page */
export const isPunched = (page) => page % 2 === 1;
/** A word as it is stored in a page that is punched. @param {number} page @param {number} generation */
export const markOf = (page, generation) => (0x80000000 | (page << 20) | generation) >>> 0;
/** @param {number} word */
export const generationOf = (word) => word & 0xfffff;
/** Between two punches. @param {number} generation */
export const isQuiet = (generation) => generation % 2 === 1;
/** Where writer n counts in a page that is never punched. @param {number} page @param {number} writer */
export const counterAt = (page, writer) => page * wordsPerPage + 512 + writer;

/** The content before anybody stored. */
export function initialContent() {
  const words = new Uint32Array(pages * wordsPerPage);
  for (let page = 0; page < pages; page++) {
    if (isPunched(page)) continue;
    words.fill(stampOf(page), page * wordsPerPage, (page + 1) * wordsPerPage);
    for (let writer = 0; writer < writerCount; writer++) words[counterAt(page, writer)] = 0;
  }
  return words;
}

/** What is wrong with the words, the first few. @param {Uint32Array} words @returns {string[]} */
export function findingsIn(words) {
  const findings = [];
  for (let page = 0; page < pages && findings.length < 10; page++) {
    const first = counterAt(page, 0);
    for (let at = page * wordsPerPage; at < (page + 1) * wordsPerPage; at++) {
      const word = /** @type {number} */ (words[at]);
      const isCounter = !isPunched(page) && at >= first && at < first + writerCount;
      const good = isPunched(page)
        ? word === 0 || (word | 0xfffff) >>> 0 === markOf(page, 0xfffff)
        : isCounter || word === stampOf(page);
      if (!good) findings.push(`page ${page} word ${at % wordsPerPage}: 0x${word.toString(16)}`);
    }
  }
  return findings;
}
