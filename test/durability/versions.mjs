/** Content that says which file and version it is, in every word. */

/** All versions of a file have one size, so that a write in place replaces the whole. */
const sizes = [1, 4096, 20_000, 300_000];

/** The bytes of a version. Each word of 4 bytes is the version; the file is known by its size. */
export function versionOf(/** @type {string} */ path, /** @type {number} */ version) {
  const size = sizes[Number(path.at(-1)) % sizes.length] ?? 1;
  const bytes = Buffer.alloc(Math.max(4, size));
  for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(version, at);
  return bytes;
}

/**
 * Which version `bytes` are; a text that says what is wrong when they are none.
 * @returns {number | string}
 */
export function readVersion(/** @type {string} */ path, /** @type {Buffer} */ bytes) {
  if (bytes.length < 4) return `${path}: ${bytes.length} bytes`;
  const version = bytes.readUInt32LE(0);
  return bytes.equals(versionOf(path, version)) ? version : `${path}: a mixture, it begins with ${version}`;
}

/**
 * What is wrong with a file after a loss of power; undefined when nothing is. `synced` is the newest version
 * that was acknowledged as synced (0: none), `begun` the newest that may have been begun.
 */
export function judge(
  /** @type {string} */ path,
  /** @type {Buffer | undefined} */ bytes,
  /** @type {{ synced: number, begun: number }} */ { synced, begun },
) {
  if (bytes === undefined) return synced === 0 ? undefined : `${path}: gone, ${synced} was synced`;
  if (bytes.length === 0) return synced === 0 ? undefined : `${path}: empty, ${synced} was synced`;
  const version = readVersion(path, bytes);
  if (typeof version === 'string') return version;
  if (version < synced) return `${path}: ${version}, ${synced} was synced`;
  return version > begun ? `${path}: ${version}, which was never written` : undefined;
}
