/** `clusterfs fallocate`, and what the other verbs say and do about holes. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Served, serve } from './cli-process.ts';

const page = 4096;
let node: Served;
let fs: ClusterFs;

beforeAll(async () => {
  node = await serve();
  fs = await mount(node.url, { label: 'the test' });
});

afterAll(async () => {
  await fs.unmount();
  expect((await node.stop()).code).toBe(0);
});

test('fallocate punches, zeroes and allocates', async () => {
  await fs.promises.writeFile('/f', Buffer.alloc(16 * page, 1));
  expect(await node.text('fallocate', '--punch', '/f', '16KiB', '8KiB')).toBe('/f: 64 KiB, 56 KiB held\n');
  expect(await node.json('fallocate', '--zero', '/f', '0', '4KiB')).toEqual({
    path: '/f',
    size: 16 * page,
    allocated: 14 * page,
  });
  const expected = Buffer.alloc(16 * page, 1)
    .fill(0, 0, page)
    .fill(0, 4 * page, 6 * page);
  expect(fs.readFileSync('/f').equals(expected)).toBe(true);
  expect(await node.text('fallocate', '--keep-size', '/f', '0', '1MiB')).toBe('/f: 64 KiB, 64 KiB held\n');
  expect(await node.text('fallocate', '/f', '64KiB', '4KiB')).toBe('/f: 68 KiB, 68 KiB held\n');
});

test('fallocate says what it cannot do', async () => {
  expect(await node.run('fallocate', '--punch', '/none', '0', '1')).toMatchObject({
    code: 1,
    stderr: "clusterfs fallocate: ENOENT: no such file or directory, fallocate '/none'\n",
  });
  expect((await node.run('fallocate', '--punch', '--zero', '/f', '0', '1')).code).toBe(2);
  expect((await node.run('fallocate', '/f', '0')).code).toBe(2);
});

test('extents shows holes, and get keeps them', async () => {
  await fs.promises.writeFile('/sparse', 'head');
  await fs.promises.truncate('/sparse', 3 * page);
  await fs.promises.appendFile('/sparse', Buffer.alloc(page + 5, 7));
  await fs.promises.truncate('/sparse', 256 * page + 5);
  const rows = (await node.text('extents', '/sparse')).split('\n').slice(2, 6);
  expect(rows.map((row) => row.trim().split(/\s+/).slice(0, 3))).toMatchObject([
    ['0', expect.stringMatching(/^\d+$/), '1'],
    ['1', 'hole', '2'],
    ['3', expect.stringMatching(/^\d+$/), '2'],
    ['5', 'hole', '252'],
  ]);
  const local = join(node.home, 'sparse');
  await node.text('get', '/sparse', local);
  expect(readFileSync(local).equals(fs.readFileSync('/sparse'))).toBe(true);
  expect(statSync(local).blocks * 512).toBeLessThanOrEqual(8 * page);
});
