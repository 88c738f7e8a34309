/** The program, and the libraries, in few files: the same as their modules, and as new. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { isNewest } from '../bin/newest.js';

const fileOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

const node = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, args, { cwd: fileOf('') })).stdout;

/** Says which modules are loaded. */
const telling = `data:text/javascript,${encodeURIComponent(`
  import { register } from 'node:module';
  register('data:text/javascript,' + encodeURIComponent(\`
    import { writeSync } from 'node:fs';
    export const load = (url, context, next) => (writeSync(1, url + '\\\\n'), next(url, context));
  \`));
`)}`;

const isOurs = (line: string): boolean => /^file:.*\/packages\/[^/]+\/dist\//.test(line);

/** The modules of packages that Node loads one by one. */
const modulesOf = async (...args: string[]): Promise<string[]> =>
  (await node('--import', telling, ...args)).split('\n').filter(isOurs);

test('what is bundled says what the modules say, and loads none of them', async () => {
  await node(fileOf('../../scripts/bundle.mjs'));
  for (const args of [['--help'], ['serve', '--help'], ['fsck', '--help']])
    expect(await node(fileOf('bin/clusterfs.js'), ...args)).toBe(await node(fileOf('dist/cli.js'), ...args));
  const modules = (program: string) => modulesOf(fileOf(program), 'serve', '--help');
  expect((await modules('dist/cli.js')).length).toBeGreaterThan(50);
  expect(await modules('bin/clusterfs.js')).toEqual([]);
});

test('a library is imported as one, and module by module when that is wanted', async () => {
  const threads = ['cluster-fs/session-worker', 'cluster-fs/futex-worker', '@cluster-fs/node/embedded'];
  const program = `import 'cluster-fs'; import 'cluster-fs/coherence'; import '@cluster-fs/node';
    for (const thread of ${JSON.stringify(threads)}) console.log(import.meta.resolve(thread));`;
  const importing = ['--input-type=module', '--eval', program];
  expect(await modulesOf(...importing)).toEqual([]);
  expect((await modulesOf('--conditions=clusterfs-modules', ...importing)).length).toBeGreaterThan(50);
});

test('there is one of each library in a process', async () => {
  const program = `import { startNode } from '@cluster-fs/node';
    import { FsError } from '@cluster-fs/transport';
    import { mount } from 'cluster-fs';
    const none = '/nonexistent/node.sock';
    const node = async () => startNode({ socketPath: none, runDirectory: '/nonexistent', memory: 1 });
    for (const attempt of [node, () => mount('unix:' + none)])
      console.log(await attempt().catch((error) => error instanceof FsError && error.code));`;
  expect(await node('--input-type=module', '--eval', program)).toBe('EINVAL\nENOENT\n');
});

test('a bundle is not used when something was compiled after it, or nobody can tell', () => {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-bundle-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const file = (name: string, seconds: number): string => {
    const path = join(directory, name);
    writeFileSync(path, '');
    utimesSync(path, seconds, seconds);
    return path;
  };
  const bundle = file('bundle', 1000);
  const [before, after] = [file('before', 999), file('after', 1001)];
  const none = join(directory, 'none');
  expect(isNewest(bundle, [before, before])).toBe(true);
  expect(isNewest(bundle, [before, after])).toBe(false);
  expect(isNewest(bundle, [before, file('at once', 1000)])).toBe(false);
  expect(isNewest(bundle, [before, none])).toBe(false);
  expect(isNewest(none, [before])).toBe(false);
});
