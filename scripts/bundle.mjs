// Puts the compiled modules of each package together, and all those of the command line: a process starts in
// less time when Node finds, reads and links a few files in place of 150. Quick when nothing was compiled
// since.
//
// Packages are imported from their bundles. NODE_OPTIONS=--conditions=clusterfs-modules imports the modules,
// in a process and its threads, for who replaces one of them.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isNewest, stamps } from '../packages/node/bin/newest.js';

const packages = join(dirname(fileURLToPath(import.meta.url)), '../packages');

/** What has binaries or threads of its own, or is loaded by few commands: it stays apart. */
const apart = [
  'better-sqlite3',
  'chokidar',
  'pino',
  '@peculiar/x509',
  'reflect-metadata',
  'tar-stream',
  'cli-progress',
];
/** Libraries of which a process has one each, whoever imports them. */
const libraries = ['@cluster-fs/transport', 'cluster-fs'];

/** What is made in `build` of a package, of which modules in `dist`; `folder` has all else of it. */
const bundles = [
  {
    name: 'transport',
    folder: 'library',
    entries: { 'index.js': 'index.js', 'peer.js': 'peer/index.js', 'peer-url.js': 'peer/peer-url.js' },
    external: [],
  },
  {
    name: 'cluster-fs',
    folder: 'library',
    entries: {
      'index.js': 'index.js',
      'segment.js': 'segment/index.js',
      'address.js': 'address.js',
      'coherence.js': 'coherence/index.js',
      'session-worker.js': 'client/session-worker.js',
      'futex-worker.js': 'client/futex-worker.js',
    },
    external: libraries,
  },
  {
    name: 'node',
    folder: 'library',
    entries: { 'index.js': 'index.js', 'embedded.js': 'embedded.js' },
    external: [...apart, ...libraries],
  },
  { name: 'node', folder: 'program', entries: { 'clusterfs.js': 'cli.js' }, external: apart },
];

const require = `import { createRequire as requireFrom } from 'node:module';
const require = requireFrom(import.meta.url);`;

const keptMs = 24 * 3600 * 1000;

if (!stamps.every((stamp) => existsSync(stamp))) throw new Error('not everything is compiled: npm run setup');
const madeOf = [...stamps, new URL(import.meta.url)];
const pathsOf = ({ name, entries }) =>
  Object.keys(entries).map((path) => join(packages, name, 'build', path));
if (!bundles.flatMap(pathsOf).every((path) => isNewest(path, madeOf))) await makeAll();

/** All entries at once, when everything else is there: they belong together. */
async function makeAll() {
  const begun = new Date();
  const made = [];
  for (const bundle of bundles) made.push(await make(bundle));
  for (const { build, directory, files, entries } of made) {
    const before = statSync(join(build, entries[0].path), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    removeOld({ directory, names: files, before, begun });
    // What is compiled meanwhile is newer.
    for (const { path, content } of entries) publish(join(build, path), content, begun);
  }
}

async function make({ name, folder, entries, external }) {
  const build = join(packages, name, 'build');
  const directory = join(build, folder);
  const sourceOf = (module) => join(packages, name, 'dist', module);
  const esbuild = await import('esbuild');
  const { metafile, outputFiles } = await esbuild.build({
    absWorkingDir: packages,
    entryPoints: Object.values(entries).map(sourceOf),
    outdir: directory,
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    conditions: ['clusterfs-modules'],
    external,
    plugins: [inPlace(directory)],
    // Packages that are no modules ask for those of Node.
    banner: { js: require },
    sourcemap: true,
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  mkdirSync(directory, { recursive: true });
  for (const { path, contents } of outputFiles) publish(path, contents);
  const outputs = Object.entries(metafile.outputs);
  const entryOf = ([path, module]) => {
    const source = relative(packages, sourceOf(module));
    const [file] = outputs.find(([, { entryPoint }]) => entryPoint === source);
    return { path, content: `export * from './${folder}/${basename(file)}';\n` };
  };
  const files = outputFiles.map(({ path }) => basename(path));
  return { build, directory, files, entries: Object.entries(entries).map(entryOf) };
}

/** A module goes on finding what lies beside it. */
function inPlace(directory) {
  return {
    name: 'in place',
    setup(bundler) {
      bundler.onLoad({ filter: /\/dist\/.*\.js$/ }, ({ path }) => {
        const url = `new URL(${JSON.stringify(relative(directory, path))}, import.meta.url).href`;
        return { contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url), loader: 'js' };
      });
    },
  };
}

/** By rename: a process that starts meanwhile has the old file or the new. */
function publish(path, content, madeAt = new Date()) {
  const made = `${path}.${process.pid}`;
  writeFileSync(made, content);
  utimesSync(made, madeAt, madeAt);
  renameSync(made, path);
}

/**
 * A process that runs may load more of the bundle that it has begun with: its files go a day after others
 * took their place. `before`: when the last ones were made.
 */
function removeOld({ directory, names, before, begun }) {
  const replacedAt = new Date(begun.getTime() - 1);
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const { mtimeMs = 0 } = statSync(path, { throwIfNoEntry: false }) ?? {};
    if (names.includes(name)) continue;
    // What ends otherwise is being made, or its maker has died.
    if (mtimeMs >= before && /\.(js|map)$/.test(name)) utimesSync(path, replacedAt, replacedAt);
    else if (mtimeMs < Date.now() - keptMs) rmSync(path, { force: true });
  }
}
