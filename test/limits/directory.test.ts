/** A directory of a hundred thousand entries. */
import { mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startNodeProcess } from '../chaos/node-process.ts';

const count = 100_000;
const nameOf = (i: number) => `entry-${i}-${(i * 7919) % count}`;

test(`a directory of ${count} entries is made, listed, survives its node, and is removed`, async () => {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.mkdir('/large');
  for (let i = 0; i < count; i += 1000) {
    const batch = Array.from({ length: 1000 }, (_, k) => fs.promises.mkdir(`/large/${nameOf(i + k)}`));
    await Promise.all(batch);
  }
  expect(fs.readdirSync('/large')).toHaveLength(count);
  for (let i = 0; i < count; i += 97) expect(fs.existsSync(`/large/${nameOf(i)}`)).toBe(true);
  expect(fs.existsSync('/large/entry-1')).toBe(false);
  expect((await fs.promises.stat('/large')).nlink).toBe(count + 2);

  await fs.promises.rmdir(`/large/${nameOf(count / 2)}`);
  expect(fs.existsSync(`/large/${nameOf(count / 2)}`)).toBe(false);
  await node.kill();
  await node.start();
  expect(await fs.check()).toEqual([]);
  expect(new Set(await fs.promises.readdir('/large')).size).toBe(count - 1);

  await fs.promises.rm('/large', { recursive: true });
  expect(fs.readdirSync('/')).toEqual([]);
  expect((await fs.status()).freeInodes).toBe(2 ** 20 - 2);
  expect(await fs.check()).toEqual([]);
}, 60_000);
