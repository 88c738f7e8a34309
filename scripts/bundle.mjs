// Puts the compiled modules of each package together, and all those of the command line: a process starts in
// less time when Node finds, reads and links a few files in place of 150. Quick when nothing was compiled
// since.
//
// Packages are imported from their bundles. `node --conditions=clusterfs-modules` imports the modules, for
// who replaces one of them. Of the program packages/node/bin/newest.js says when its bundle is used.
import {
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
import { isNewest } from '../packages/node/bin/newest.js';

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

for (const bundle of bundles) {
  const paths = Object.keys(bundle.entries).map((made) => join(packages, bundle.name, 'build', made));
  if (!paths.every((path) => isNewest(path))) await make(bundle);
}

async function make({ name, folder, entries, external }) {
  const build = join(packages, name, 'build');
  const begun = new Date();
  const directory = join(build, folder);
  mkdirSync(directory, { recursive: true });
  const esbuild = await import('esbuild');
  const sourceOf = (module) => join(packages, name, 'dist', module);
  const { metafile } = await esbuild.build({
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
    logLevel: 'warning',
  });
  const outputs = Object.entries(metafile.outputs);
  for (const [path, module] of Object.entries(entries)) {
    const source = relative(process.cwd(), sourceOf(module));
    const [made] = outputs.find(([, { entryPoint }]) => entryPoint === source);
    publish(join(build, path), `export * from './${folder}/${basename(made)}';\n`, begun);
  }
  removeOld(
    directory,
    outputs.map(([path]) => basename(path)),
  );
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

/** By rename: a process that starts meanwhile has the old bundle or the new. */
function publish(path, content, begun) {
  const made = `${path}.${process.pid}`;
  writeFileSync(made, content);
  // What is compiled meanwhile is newer.
  utimesSync(made, begun, begun);
  renameSync(made, path);
}

/** A process that runs may load more of the bundle that it has begun with. */
function removeOld(directory, names) {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (!names.includes(name) && statSync(path).mtimeMs < Date.now() - keptMs) rmSync(path);
  }
}
