/** Which file may import which, and which files nobody reaches. */
import { posix } from 'node:path';
import {
  type Finding,
  finding,
  isNode,
  isPackageSource,
  isScript,
  type Node,
  type Rule,
  type Source,
} from './source.ts';

/** What each package may import of the others. Dependencies point one way. */
const allowedPackages: Readonly<Record<string, readonly string[]>> = {
  transport: [],
  'cluster-fs': ['@cluster-fs/transport'],
  node: ['@cluster-fs/transport', 'cluster-fs'],
};
const ours = ['@cluster-fs/transport', 'cluster-fs', '@cluster-fs/node'];

/** An optional peer: a client that mounts a directory loads the node it embeds, when it is installed. */
const embeddedNode = '@cluster-fs/node/embedded';

const segmentFolder = 'packages/cluster-fs/src/segment/';
/** Of Node's own modules only functions of bytes: Buffer and crc32. */
const segmentMayImport = ['@cluster-fs/transport', 'node:buffer', 'node:zlib'];

interface Import {
  readonly specifier: string;
  readonly start: number;
  readonly dynamic: boolean;
}

export const importDirection: Rule = (sources) =>
  sources
    .filter((file) => isPackageSource(file.path))
    .flatMap((file) =>
      importsOf(file).flatMap((each): Finding[] => {
        const problem = directionProblem(file.path, each);
        return problem === undefined ? [] : [finding(file, each.start, ...problem)];
      }),
    );

export const segmentImports: Rule = (sources) =>
  sources
    .filter((file) => file.path.startsWith(segmentFolder))
    .flatMap((file) =>
      importsOf(file).flatMap((each): Finding[] => {
        if (segmentMayImport.includes(each.specifier)) return [];
        if (each.specifier.startsWith('.') && resolved(file.path, each.specifier).startsWith(segmentFolder)) {
          return [];
        }
        const what = `segment imports '${each.specifier}'`;
        return [finding(file, each.start, what, 'a parameter: the segment does no I/O')];
      }),
    );

/** The root's node_modules would let an import through that a user's install does not have. */
export const undeclaredImports: Rule = (sources) =>
  sources
    .filter((file) => isPackageSource(file.path))
    .flatMap((file) => {
      const manifest = manifestOf(file.path, sources);
      return importsOf(file).flatMap((each): Finding[] => {
        const name = packageName(each.specifier);
        if (name === undefined || name in manifest.dependencies || name in manifest.peerDependencies)
          return [];
        const what = `undeclared import of '${name}'`;
        return [finding(file, each.start, what, 'a dependency in package.json')];
      });
    });

export const orphans: Rule = (sources) => {
  const reached = new Set(
    sources.filter((file) => isScript(file.path)).flatMap((file) => referencesOf(file)),
  );
  for (const file of sources) {
    if (file.path.endsWith('package.json')) for (const path of entryPoints(file)) reached.add(path);
  }
  return sources
    .filter((file) => isScript(file.path) && !reached.has(file.path) && !isStartedByName(file.path))
    .map(
      ({ path }): Finding => ({
        path,
        line: 1,
        what: 'file nobody imports',
        instead: 'git rm, or import it',
      }),
    );
};

function directionProblem(path: string, { specifier, dynamic }: Import): [string, string] | undefined {
  const [, home = ''] = path.split('/');
  if (specifier.startsWith('.')) {
    if (resolved(path, specifier).startsWith(`packages/${home}/src/`)) return undefined;
    return [`import of '${specifier}' outside the package's src`, 'the name of the package'];
  }
  const target = ours.find((name) => specifier === name || specifier.startsWith(`${name}/`));
  if (target === undefined || allowedPackages[home]?.includes(target) === true) return undefined;
  if (home === 'cluster-fs' && dynamic && specifier === embeddedNode) return undefined;
  return [`'${home}' imports '${specifier}'`, 'only transport <- cluster-fs <- node'];
}

function importsOf(file: Source): Import[] {
  return file.nodes().flatMap((node): Import[] => {
    if (!/^(Import(Declaration|Expression)|Export(All|Named)Declaration)$/.test(node.type)) return [];
    const specifier = stringOf(node.source);
    if (specifier === undefined) return [];
    return [{ specifier, start: node.start, dynamic: node.type === 'ImportExpression' }];
  });
}

/**
 * Files that a file names: by import, or by a string such as a worker's URL or a child's path. A test of a
 * source file does not keep it alive, so what tests name inside src does not count.
 */
function referencesOf(file: Source): string[] {
  const strings = file.nodes().flatMap((node: Node) => stringOf(node) ?? []);
  const paths = strings.filter((text) => /^[\w./-]+\.(ts|js|mjs)$/.test(text));
  const fromHere = paths.map((path) => resolved(file.path, path));
  const fromRoot = paths.map((path) => posix.normalize(path));
  return [...fromHere, ...fromRoot]
    .flatMap((path) => [path, asSource(path)])
    .filter((path) => path !== file.path && (isProduct(file.path) || !isPackageSource(path)));
}

/** Sources, and the executables that start them. */
const isProduct = (path: string): boolean => isPackageSource(path) || /^packages\/[^/]+\/bin\//.test(path);

/** What package.json names, in `exports`, `bin` and `scripts`; a built file stands for its source. */
function entryPoints(manifest: Source): string[] {
  const folder = posix.dirname(manifest.path);
  const named = manifest.text.match(/[\w./-]+\.(ts|js|mjs)\b/g) ?? [];
  return named.map((path) => asSource(posix.join(folder, path)));
}

function isStartedByName(path: string): boolean {
  const byName = /\.(test|bench)\.ts$|^examples\/[^/]+\/main\.ts$|^bench\/children\//;
  return byName.test(path) || /^[^/]+\.config\.ts$|\.d\.ts$/.test(path);
}

function asSource(path: string): string {
  const source = path.replace(/(^|\/)dist\//, '$1src/');
  return source.replace(/(\/src\/.*)\.js$/, '$1.ts');
}

function resolved(from: string, specifier: string): string {
  return posix.join(posix.dirname(from), specifier);
}

function packageName(specifier: string): string | undefined {
  if (specifier.startsWith('.') || specifier.startsWith('node:')) return undefined;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function manifestOf(
  path: string,
  sources: readonly Source[],
): Record<'dependencies' | 'peerDependencies', object> {
  const manifest = sources.find(
    (file) => file.path === `${path.split('/').slice(0, 2).join('/')}/package.json`,
  );
  return { dependencies: {}, peerDependencies: {}, ...JSON.parse(manifest?.text ?? '{}') };
}

function stringOf(node: unknown): string | undefined {
  if (!isNode(node) || node.type !== 'Literal' || typeof node.value !== 'string') return undefined;
  return node.value;
}
