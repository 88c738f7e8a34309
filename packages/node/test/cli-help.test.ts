/** `clusterfs --help` teaches, and every verb shows how it is used. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { makeHome, run, start, startProgram } from './cli-process.ts';

const verbs = [
  'serve',
  'ls',
  'stat',
  'cat',
  'put',
  'get',
  'dump',
  'load',
  'mkdir',
  'rm',
  'mv',
  'df',
  'extents',
  'fallocate',
  'move',
  'defrag',
  'status',
  'holders',
  'revoke',
  'events',
  'check',
  'fsck',
  'cert',
];

test('the help has every verb, the tour, and the exit codes', async () => {
  const { code, stdout, stderr } = await run(['--help']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const listed = [...stdout.matchAll(/^ {2}([a-z]+) .*/gm)].map(([, name]) => name);
  expect(listed.filter((name) => verbs.includes(name ?? ''))).toEqual(verbs);
  const tour = stdout.slice(stdout.indexOf('Two minutes'), stdout.indexOf('Which node'));
  const commands = [...tour.matchAll(/^ {2}\$ (clusterfs \w+)/gm)].map(([, command]) => command);
  expect(commands).toEqual([
    'clusterfs serve',
    'clusterfs put',
    'clusterfs ls',
    'clusterfs move',
    'clusterfs put',
    'clusterfs holders',
  ]);
  expect(stdout).toMatch(/^Exit codes: 0 done; 1 failed, .*; 2 called wrongly; 3 no node is there;$/m);
  expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(110);
});

test('the tour can be walked as it is printed', async () => {
  const { stdout } = await run(['--help']);
  const program = /\n {2}\/\/ reader\.mjs.*\n((?: {2}.+\n)+)/.exec(stdout)?.[1]?.replace(/^ {2}/gm, '') ?? '';
  const home = makeHome();
  mkdirSync(join(home, 'node_modules'));
  symlinkSync(
    fileURLToPath(new URL('../../cluster-fs', import.meta.url)),
    join(home, 'node_modules/cluster-fs'),
  );
  writeFileSync(join(home, 'reader.mjs'), program);
  writeFileSync(join(home, 'README.md'), '# The readme, as it was');
  writeFileSync(join(home, 'NEWS.md'), '# The news, as they are');
  const options = { cwd: home, env: { XDG_RUNTIME_DIR: home } };
  const node = start(['serve', '--memory', '1GiB'], options);
  await node.says(/ready on/);
  expect((await run(['put', 'README.md', '/readme'], options)).code).toBe(0);
  expect((await run(['ls', '-l', '/'], options)).stdout).toMatch(/ readme\n$/);
  const reader = startProgram(join(home, 'reader.mjs'), options);
  await reader.says(/^# The readme/m);
  expect((await run(['move', '/readme'], options)).code).toBe(0);
  await reader.says(/^move under the same address/m);
  expect((await run(['put', '--replace', 'NEWS.md', '/readme'], options)).code).toBe(0);
  await reader.says(/^replace under the same address/m);
  await reader.says(/^# The news/m);
  expect((await run(['holders'], options)).stdout).toMatch(/ \/readme +.*reader\.mjs\n$/);
  await reader.interrupt();
  expect((await node.interrupt()).code).toBe(0);
});

test.each(verbs)('%s --help has an example and says what it is for', async (verb) => {
  const { code, stdout, stderr } = await run([verb, '--help']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(new RegExp(`^Usage: clusterfs ${verb} `));
  expect(stdout).toMatch(/\n\n[A-Z].*\n/);
  expect(stdout).toMatch(new RegExp(`^Examples?:\\n {2}\\$ .*clusterfs ${verb}`, 'm'));
  expect(stdout).toContain('--json');
});

test('help VERB is VERB --help', async () => {
  const [help, option] = await Promise.all([run(['help', 'put']), run(['put', '--help'])]);
  expect(help.stdout).toBe(option.stdout);
  expect(help.code).toBe(0);
});

test('without a verb shows the help and fails', async () => {
  const { code, stdout, stderr } = await run([]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain('Two minutes');
});

test('--version', async () => {
  const { code, stdout } = await run(['--version']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
