/** Content that names its file and version, and the judge of what is found after a loss of power. */

/**
 * One version of a file. Its first byte alone differs from one version to the next. The pattern has an odd
 * length, out of step with pages: a page of another file, version or offset is seen.
 * @param {string} path
 * @param {{ version: number, size: number }} of
 */
export function contentOf(path, { version, size }) {
  const pattern = `${String.fromCharCode(33 + (version % 90))}${path} ${version};`;
  return Buffer.alloc(size, pattern.length % 2 === 0 ? `${pattern};` : pattern);
}

/**
 * What the file may be: the version that was last told to be synced (0: none), and all that were begun from
 * there on, that one included.
 * @typedef {{ synced: number, versions: { version: number, size: number }[] }} Known
 */

/**
 * The version that the file is at, 0 when it is not there or empty and was never synced; a text that says
 * what is wrong when it is at none that it may be at.
 * @param {string} path
 * @param {Buffer | undefined} bytes undefined when there is no file
 * @param {Known} known
 * @returns {number | string}
 */
export function judge(path, bytes, { synced, versions }) {
  if (bytes === undefined || bytes.length === 0)
    return synced === 0 ? 0 : `${path}: ${bytes === undefined ? 'gone' : 'empty'}, ${synced} was synced`;
  const found = versions.find((each) => bytes.length === each.size && bytes.equals(contentOf(path, each)));
  if (found !== undefined) return found.version;
  const [first, last] = [bytes.subarray(0, 20), bytes.subarray(-20)].map((part) => part.toString('latin1'));
  const wanted = versions.map(({ version, size }) => `${version} (${size})`).join(', ');
  return `${path}: ${bytes.length} bytes, '${first}' to '${last}', synced ${synced}, may be ${wanted}`;
}
