/** Files that are larger than the memory of the node, and files with holes, on the command line. */
import { randomBytes } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { mount } from 'cluster-fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHome, run, type Served, serve } from './cli-process.ts';

const MiB = 2 ** 20;
const home = makeHome();
const store = join(home, 'store');
const local = join(home, 'local');
const bytes = randomBytes(9 * MiB + 123);
let node: Served;

beforeAll(async () => {
  writeFileSync(local, bytes);
  node = await serve(['--store', store, '--memory', '4MiB', '--capacity', '128MiB']);
});

afterAll(async () => {
  expect((await node.interrupt()).code).toBe(0);
});

const here = (...args: string[]) => run([...args, '--url', node.url]);
const done = { code: 0, stderr: '' };

test('put, get, dump and load take files of more than the memory', async () => {
  expect(await here('put', local, '/large')).toMatchObject(done);
  expect(await here('put', local, '/large')).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/EEXIST/),
  });
  expect(await here('put', '--replace', local, '/large')).toMatchObject(done);
  expect(await run(['put', '-', '/piped', '--url', node.url], { input: bytes })).toMatchObject(done);
  for (const path of ['/large', '/piped']) {
    expect(await here('get', path, join(home, 'got'))).toMatchObject(done);
    expect(readFileSync(join(home, 'got')).equals(bytes), path).toBe(true);
    rmSync(join(home, 'got'));
  }
  expect(await here('dump', join(home, 'dump.tar'))).toMatchObject(done);
  expect(await here('load', join(home, 'dump.tar'), '--into', '/loaded')).toMatchObject(done);
  expect(await here('get', '/loaded/large', join(home, 'loaded'))).toMatchObject(done);
  expect(readFileSync(join(home, 'loaded')).equals(bytes)).toBe(true);
  const fs = await mount(node.url);
  expect(fs.readdirSync('/').sort()).toEqual(['large', 'loaded', 'piped']);
  expect(await fs.check()).toEqual([]);
  await fs.unmount();
}, 60_000);

test('put keeps holes, of small files and of large ones', async () => {
  const fs = await mount(node.url);
  for (const size of [MiB, 16 * MiB]) {
    const sparse = join(home, 'sparse');
    const fd = openSync(sparse, 'w');
    for (let at = 0; at + MiB / 2 <= size; at += MiB) writeSync(fd, bytes, 0, MiB / 4, at);
    ftruncateSync(fd, size);
    closeSync(fd);
    const path = `/sparse-${size}`;
    expect(await here('put', sparse, path)).toMatchObject(done);
    expect(fs.statSync(path).blocks * 512).toBe(size / 4);
    expect((await fs.promises.readFile(path)).equals(readFileSync(sparse))).toBe(true);
  }
  await fs.unmount();
});
