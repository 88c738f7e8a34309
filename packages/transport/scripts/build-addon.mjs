// Builds the addon for the Node that runs this script. Quick when nothing changed.
//
// It is built in a folder of its own and put in place by rename: a process that runs keeps the binary it has
// mapped, and two builds at once do not meet.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(import.meta.url);
const root = dirname(dirname(script));
const native = join(root, 'native');
const build = join(root, 'build');
const release = join(build, 'Release');
const stampFile = join(build, 'stamp');
const binaries = ['cluster_fs.node', 'v8_buffer.node'];
const sources = readdirSync(native).filter((name) => /\.(cc|h|gyp)$/.test(name));

const stamp = stampOf();
if (!isBuilt()) buildAll();

function stampOf() {
  const hash = createHash('sha256').update(`${process.versions.modules} ${process.arch}`);
  hash.update(readFileSync(script));
  for (const name of sources) hash.update(name).update(readFileSync(join(native, name)));
  return hash.digest('hex');
}

function isBuilt() {
  const present = binaries.every((name) => existsSync(join(release, name)));
  return present && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
}

function buildAll() {
  const missing = ['g++', 'make', 'python3'].filter((tool) => !runs(tool));
  if (missing.length > 0) {
    const install = 'Debian: apt-get install g++ make python3';
    stop(`the addon of cluster-fs needs ${missing.join(', ')} to build (${install})`);
    return;
  }
  mkdirSync(release, { recursive: true });
  const work = mkdtempSync(join(build, 'work-'));
  try {
    for (const name of sources) cpSync(join(native, name), join(work, name));
    if (compile(work)) install(work);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function compile(work) {
  const gyp = createRequire(script).resolve('node-gyp/bin/node-gyp.js');
  const args = [gyp, 'rebuild', '--directory', work, '--jobs', 'max', ...headers()];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: work, encoding: 'utf8' });
  if (status === 0) return true;
  process.stderr.write(`${stdout}${stderr}\n`);
  stop(
    `the addon of cluster-fs did not build for Node ${process.version}: the compiler's messages are above`,
  );
  return false;
}

/** Order: the stamp last, so that a build that was cut off is repeated. */
function install(work) {
  for (const name of binaries) renameSync(join(work, 'build/Release', name), join(release, name));
  const newStamp = join(work, 'stamp');
  writeFileSync(newStamp, stamp);
  renameSync(newStamp, stampFile);
}

/** Where the headers of this Node are; without them node-gyp downloads some. */
function headers() {
  const beside = join(dirname(process.execPath), '..');
  if (existsSync(join(beside, 'include/node/node_api.h'))) return [`--nodedir=${beside}`];
  const { npm_config_nodedir: configured } = process.env;
  return configured === undefined ? [] : [`--nodedir=${configured}`];
}

function runs(tool) {
  return spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0;
}

function stop(message) {
  process.stderr.write(`${message}\n`);
  process.exitCode = 1;
}
