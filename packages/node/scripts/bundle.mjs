// Puts the modules of the compiled program together, and those of a node in a program of one's own: they
// start in less time when Node finds, reads and links a dozen of them in place of 150. Quick when nothing was
// compiled since. bin/newest.js says when a bundle is used.
import { readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isNewest } from '../bin/newest.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const build = join(root, 'build');
const directory = join(build, 'program');
/** What is made, and of which module; the last one is there when all are. */
const bundles = { 'index.js': 'index.js', 'clusterfs.js': 'cli.js' };

// A module goes on finding what lies beside it.
const inPlace = {
  name: 'in place',
  setup(bundler) {
    bundler.onLoad({ filter: /\/dist\/.*\.js$/ }, ({ path }) => {
      const url = `new URL(${JSON.stringify(relative(directory, path))}, import.meta.url).href`;
      return { contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url), loader: 'js' };
    });
  },
};

const keptMs = 24 * 3600 * 1000;

/** What has binaries or threads of its own, or is loaded by few commands; the others are in the bundle. */
const apart = [
  'better-sqlite3',
  'chokidar',
  'pino',
  '@peculiar/x509',
  'reflect-metadata',
  'tar-stream',
  'cli-progress',
];

const require = `import { createRequire as requireFrom } from 'node:module';
const require = requireFrom(import.meta.url);`;

if (!Object.keys(bundles).every((name) => isNewest(join(build, name)))) {
  const begun = new Date();
  const esbuild = await import('esbuild');
  const { metafile } = await esbuild.build({
    entryPoints: Object.values(bundles).map((name) => join(root, 'dist', name)),
    outdir: directory,
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    external: apart,
    plugins: [inPlace],
    // Packages that are no modules ask for those of Node.
    banner: { js: require },
    metafile: true,
    logLevel: 'warning',
  });
  const outputs = Object.entries(metafile.outputs);
  for (const [bundle, module] of Object.entries(bundles)) {
    const source = relative(process.cwd(), join(root, 'dist', module));
    const [made] = outputs.find(([, { entryPoint }]) => entryPoint === source);
    publish(join(build, bundle), `export * from './program/${basename(made)}';\n`, begun);
  }
  removeOld(outputs.map(([path]) => basename(path)));
}

/** By rename: a command that starts meanwhile has the old program or the new. */
function publish(path, content, begun) {
  const made = `${path}.${process.pid}`;
  writeFileSync(made, content);
  // What is compiled meanwhile is newer.
  utimesSync(made, begun, begun);
  renameSync(made, path);
}

/** A node that runs may load more of the program that it has begun with. */
function removeOld(names) {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (!names.includes(name) && statSync(path).mtimeMs < Date.now() - keptMs) rmSync(path);
  }
}
