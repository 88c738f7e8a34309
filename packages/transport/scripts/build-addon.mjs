// Builds the addon for the Node that runs this script. Quick when nothing changed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const native = join(root, 'native');
const build = join(root, 'build');
const stampFile = join(build, 'stamp');

/** What the binaries are made of: sources, and the Node that runs them. */
function currentStamp() {
  const hash = createHash('sha256').update(`${process.versions.modules} ${process.arch}`);
  for (const { name } of readdirSync(native, { withFileTypes: true }).filter((entry) => entry.isFile())) {
    hash.update(name).update(readFileSync(join(native, name)));
  }
  return hash.digest('hex');
}

/** Where the headers of this Node are; without them node-gyp downloads some. */
function headers() {
  const beside = join(dirname(process.execPath), '..');
  if (existsSync(join(beside, 'include/node/node_api.h'))) return [`--nodedir=${beside}`];
  const { npm_config_nodedir: configured } = process.env;
  return configured === undefined ? [] : [`--nodedir=${configured}`];
}

function buildAll(stamp) {
  const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  mkdirSync(join(build, 'Release'), { recursive: true });
  const args = [gyp, 'rebuild', '--directory', native, '--jobs', 'max', ...headers()];
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: native });
  if (status !== 0) {
    throw new Error(
      'the addon did not build: g++, make and python3 are needed, and the headers of this Node',
    );
  }
  for (const name of binaries) {
    writeFileSync(join(build, 'Release', name), readFileSync(join(native, 'build', 'Release', name)), {
      mode: 0o755,
    });
  }
  writeFileSync(stampFile, stamp);
}

const binaries = ['cluster_fs.node', 'v8_buffer.node'];
const stamp = currentStamp();
const isCurrent =
  binaries.every((name) => existsSync(join(build, 'Release', name))) &&
  existsSync(stampFile) &&
  readFileSync(stampFile, 'utf8') === stamp;
if (!isCurrent) buildAll(stamp);
