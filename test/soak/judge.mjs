/**
 * Whether the files are what the model says.
 *
 * @typedef {import('cluster-fs').ClusterFs} ClusterFs
 * @typedef {import('./files-model.mjs').FilesModel} FilesModel
 */
import { posix } from 'node:path';

/**
 * A line for each file of the directory that is not as it must be.
 *
 * @param {ClusterFs} fs
 * @param {string} directory
 * @param {FilesModel} model
 */
export async function judgeAll(fs, directory, model) {
  const found = (await fs.promises.readdir(directory)).map((name) => posix.join(directory, name));
  const paths = new Set([...found, ...model.paths()]);
  return (await Promise.all([...paths].map((path) => judgeFile(fs, path, model)))).flat();
}

/** @param {ClusterFs} fs @param {string} path @param {FilesModel} model */
export async function judgeFile(fs, path, model) {
  const file = model.fileOf(path);
  const isThere = fs.existsSync(path);
  if (file === undefined) return isThere ? [`${path}: there, and must not be`] : [];
  if (!isThere) return [`${path}: not there, and must be`];
  const { nlink } = await fs.promises.stat(path);
  const links = model.linksTo(file);
  const difference = differenceOf(await fs.promises.readFile(path), file.bytes);
  return [
    ...(difference === undefined ? [] : [`${path}: ${difference}`]),
    ...(nlink === links ? [] : [`${path}: ${nlink} links, must be ${links}`]),
  ];
}

/**
 * What is wrong with bytes, in words; undefined when nothing is.
 *
 * @param {Uint8Array} found
 * @param {Buffer} wanted
 */
export function differenceOf(found, wanted) {
  if (found.length !== wanted.length) return `${found.length} bytes, must be ${wanted.length}`;
  if (wanted.equals(found)) return undefined;
  const wrong = [...found.keys()].filter((at) => found[at] !== wanted[at]);
  const zeros = wrong.filter((at) => found[at] === 0).length;
  const where = `from ${wrong[0]} to ${wrong.at(-1)}`;
  return `${wrong.length} of ${found.length} bytes are wrong (${zeros} are zero), ${where}`;
}

/**
 * Whether each byte is as before or as after, as when a write was cut short.
 *
 * @param {Buffer} found
 * @param {Buffer} before
 * @param {Buffer} after
 */
export function isMixture(found, before, after) {
  const isEither = found.length === before.length || found.length === after.length;
  return isEither && found.every((byte, at) => byte === (before[at] ?? 0) || byte === (after[at] ?? 0));
}
