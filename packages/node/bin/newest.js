// Whether a bundle of the program has all that was compiled: the compiler writes a file at the end of each
// package.
import { statSync } from 'node:fs';

const stampOf = (name) => new URL(`../../${name}/dist/.tsbuildinfo`, import.meta.url);
export const stamps = ['transport', 'cluster-fs', 'node'].map(stampOf);

const changedMs = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs;

/** Not when one of the stamps is missing: then nobody can tell. */
export function isNewest(bundle, compiled = stamps) {
  const madeMs = changedMs(bundle);
  return (
    madeMs !== undefined && compiled.every((stamp) => (changedMs(stamp) ?? Number.POSITIVE_INFINITY) < madeMs)
  );
}
