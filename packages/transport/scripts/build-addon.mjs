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

const hash = createHash('sha256').update(`${process.versions.modules} ${process.arch}`);
for (const { name } of readdirSync(native, { withFileTypes: true }).filter((entry) => entry.isFile())) {
  hash.update(name).update(readFileSync(join(native, name)));
}
const stamp = hash.digest('hex');
const binary = join(build, 'Release', 'cluster_fs.node');
if (existsSync(binary) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) process.exit(0);

/** Where the headers of this Node are; without them node-gyp downloads some. */
function headers() {
  const beside = join(dirname(process.execPath), '..');
  if (existsSync(join(beside, 'include/node/node_api.h'))) return [`--nodedir=${beside}`];
  const { npm_config_nodedir: configured } = process.env;
  return configured === undefined ? [] : [`--nodedir=${configured}`];
}

const gyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
mkdirSync(build, { recursive: true });
const args = [gyp, 'rebuild', '--directory', native, '--jobs', 'max', ...headers()];
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: native });
if (status !== 0) {
  process.stderr.write(
    'the addon did not build: g++, make and python3 are needed, and the headers of this Node\n',
  );
  process.exit(1);
}
mkdirSync(join(build, 'Release'), { recursive: true });
for (const name of ['cluster_fs.node', 'v8_buffer.node']) {
  writeFileSync(join(build, 'Release', name), readFileSync(join(native, 'build', 'Release', name)), {
    mode: 0o755,
  });
}
writeFileSync(stampFile, stamp);
