/** How long the versions of the document are: now longer, now shorter. @param {number} version */
export const wordsOf = (version) => 150_000 + ((version * 7919) % 200_000);
