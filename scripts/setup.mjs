#!/usr/bin/env node
// Brings a fresh clone to the point where everything runs: pinned pnpm, packages, addon, TypeScript.
//
// Plain JavaScript without dependencies, because nothing is installed yet when it starts. Each step leaves a
// stamp (a hash of what it was made from) in node_modules/.cache/cluster-fs, so that a second run only looks.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cache = join(root, 'node_modules/.cache/cluster-fs');
const updateLock = process.argv.includes('--update-lock');
const startedMs = Date.now();

/** A reason to stop that the user can act on: one line, no stack. */
class SetupError extends Error {}

async function main() {
  process.chdir(root);
  checkMachine();
  const env = buildEnvironment();
  await install(env);
  await buildAddon(env);
  await compile();
  await run(process.execPath, ['scripts/bundle.mjs'], process.env);
}

function checkMachine() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const missing = [];
  if (process.platform !== 'linux') missing.push(`Linux (this is ${process.platform})`);
  const old = major < 20 || (major === 20 && minor < 19);
  if (old) missing.push(`Node.js 20.19 or later (this is ${process.version})`);
  if (!runs('g++')) missing.push('a C++ compiler: g++ (Debian: apt-get install g++)');
  if (!runs('make')) missing.push('make (Debian: apt-get install make)');
  if (!runs('python3')) missing.push('python3, which node-gyp needs (Debian: apt-get install python3)');
  if (missing.length > 0) throw new SetupError(missing.map((what) => `missing: ${what}`).join('\n'));
}

function runs(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** The headers of the running Node, when it came with them: without this node-gyp would download a copy. */
function buildEnvironment() {
  // Without JOBS node-gyp compiles one file at a time.
  const env = { JOBS: 'max', ...process.env, npm_config_build_from_source: 'true' };
  const prefix = join(dirname(process.execPath), '..');
  if (existsSync(join(prefix, 'include/node/node_api.h'))) env.npm_config_nodedir = prefix;
  return env;
}

async function install(env) {
  const manifests = ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', ...packageManifests()];
  const stamp = hashOf(manifests, process.version, process.arch);
  if (!updateLock && existsSync('node_modules/.modules.yaml') && readStamp('install') === stamp) return;
  const pnpm = await bringPnpm(env);
  if (!existsSync('node_modules/.modules.yaml')) {
    process.stdout.write('setup: the first install compiles better-sqlite3, which takes about a minute\n');
  }
  const frozen = existsSync('pnpm-lock.yaml') && !updateLock;
  await step('install packages', () =>
    run(pnpm, ['install', frozen ? '--frozen-lockfile' : '--no-frozen-lockfile'], {
      ...env,
      // pnpm asks before it replaces node_modules unless it knows that nobody can answer.
      CI: 'true',
    }),
  );
  writeStamp('install', hashOf(manifests, process.version, process.arch));
}

/** Installs the pinned pnpm beside our caches, never globally, and returns the path of its executable. */
async function bringPnpm(env) {
  const { packageManager } = JSON.parse(readFileSync('package.json', 'utf8'));
  const home = join(cache, packageManager);
  const executable = join(home, 'node_modules/.bin/pnpm');
  if (existsSync(executable)) return executable;
  await step(`bring ${packageManager}`, () => {
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), '{ "private": true }\n');
    const args = ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error', packageManager];
    return run('npm', args, env, home);
  });
  return executable;
}

function packageManifests() {
  const folders = ['examples', 'test', 'bench'];
  for (const name of readdirSync('packages')) folders.push(`packages/${name}`);
  return folders.map((folder) => `${folder}/package.json`).filter((file) => existsSync(file));
}

async function buildAddon(env) {
  const folder = 'packages/transport';
  const script = 'packages/transport/scripts/build-addon.mjs';
  if (!existsSync(script)) return;
  const sources = [...filesBelow(`${folder}/native`), ...filesBelow(`${folder}/scripts`)];
  if (existsSync(`${folder}/binding.gyp`)) sources.push(`${folder}/binding.gyp`);
  const stamp = hashOf(sources, process.version, process.arch);
  const built = ['build', 'prebuilds'].some((out) =>
    filesBelow(`${folder}/${out}`).some((file) => file.endsWith('.node')),
  );
  if (built && readStamp('addon') === stamp) return;
  await step('build the addon', () => run(process.execPath, [script], env));
  writeStamp('addon', stamp);
}

/** Always run: `tsc -b` knows best what is up to date, and says so in a fraction of a second. */
async function compile() {
  await step('compile TypeScript', () => run('node_modules/.bin/tsc', ['-b'], process.env));
}

function filesBelow(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true }).map((name) => join(folder, String(name)));
  return entries.filter((file) => statSync(file).isFile()).sort();
}

function hashOf(files, ...facts) {
  const hash = createHash('sha256').update(facts.join('\n'));
  for (const file of files) if (existsSync(file)) hash.update(`\n${file}\n`).update(readFileSync(file));
  return hash.digest('hex');
}

function readStamp(name) {
  const file = join(cache, `${name}.stamp`);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}

function writeStamp(name, stamp) {
  mkdirSync(cache, { recursive: true });
  writeFileSync(join(cache, `${name}.stamp`), stamp);
}

/** One line before, one after, and one now and then, so that a slow step does not look like a hung one. */
async function step(what, work) {
  const beganMs = Date.now();
  const elapsed = () => `${((Date.now() - beganMs) / 1000).toFixed(1)} s`;
  const say = (line) => process.stdout.write(`setup: ${what}${line}\n`);
  say(' ...');
  const ticking = setInterval(() => say(`: still at it after ${elapsed()}`), 20_000);
  try {
    await work();
  } finally {
    clearInterval(ticking);
  }
  say(`: done in ${elapsed()}`);
}

/** Runs a command silently; its whole output is shown when it fails. */
async function run(command, args, env, cwd = root) {
  const output = [];
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', (bytes) => output.push(bytes));
  child.stderr.on('data', (bytes) => output.push(bytes));
  const outcome = await new Promise((settle) => {
    child.on('error', (error) => settle(error.message));
    child.on('close', (code, signal) => settle(code === 0 ? undefined : (signal ?? `exit code ${code}`)));
  });
  if (outcome === undefined) return;
  process.stdout.write(Buffer.concat(output));
  throw new SetupError(`failed: ${command} ${args.join(' ')} (${outcome})`);
}

try {
  await main();
  process.stdout.write(`setup: ready after ${((Date.now() - startedMs) / 1000).toFixed(1)} s\n`);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  for (const line of error.message.split('\n')) process.stderr.write(`setup: ${line}\n`);
  process.exitCode = 1;
}
