/**
 * What nodes of tests are started from: the bundle, as a user's are, in less time; but modules where
 * something is loaded before them, as what breaks a node on purpose does so in one of them.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = dirname(createRequire(import.meta.url).resolve('@cluster-fs/node/package.json'));
const { isNewest } = await import(pathToFileURL(join(root, 'bin/newest.js')).href);

/** @param {readonly string[]} execArgv of the process that is to load it */
const isBroken = (execArgv) => [...execArgv, process.env.NODE_OPTIONS ?? ''].join().includes('--import');

/** @param {string} bundle @param {string} modules @param {readonly string[]} execArgv */
function pick(bundle, modules, execArgv) {
  const path = join(root, 'build', bundle);
  return isBroken(execArgv) || !isNewest(path) ? join(root, 'dist', modules) : path;
}

/** The module with `startNode`. @param {readonly string[]} execArgv */
export const nodeModule = (execArgv) => pathToFileURL(pick('index.js', 'index.js', execArgv)).href;

/** The command line. @param {readonly string[]} execArgv */
export const nodeProgram = (execArgv) => pick('clusterfs.js', 'cli.js', execArgv);
