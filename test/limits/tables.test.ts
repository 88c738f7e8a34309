/** Tables of the segment: how much there is by default, and what happens when one is full. */
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startNodeProcess } from '../chaos/node-process.ts';

const full = { code: 'ENOSPC' };

test('there are 2^20 inodes without asking', async () => {
  const fs = await start({});
  expect((await fs.status()).inodes).toBeGreaterThanOrEqual(2 ** 20 - 1);
  expect((await fs.promises.statfs('/')).files).toBeGreaterThanOrEqual(2 ** 20 - 1);
});

describe('a table of 64 inodes', () => {
  test('refuses the one that is too many in every way to make one', async () => {
    const fs = await start({ inodeCount: 64 });
    const { promises: files } = fs;
    const made = await makeUntilFull((i) => files.writeFile(`/${i}`, String(i)));
    expect(made).toBe(62);
    for (const attempt of [
      () => files.writeFile('/more', ''),
      () => files.open('/more', 'w'),
      () => files.mkdir('/more'),
      () => files.mkdir('/more/and/more', { recursive: true }),
      () => files.symlink('/0', '/more'),
      () => files.copyFile('/0', '/more'),
      () => files.mkdtemp('/more-'),
    ]) {
      await expect(attempt()).rejects.toMatchObject(full);
      expect(fs.existsSync('/more')).toBe(false);
      expect(await fs.check()).toEqual([]);
    }
    await files.link('/0', '/another name');
    for (let i = 0; i < made; i++) expect(await files.readFile(`/${i}`, 'utf8')).toBe(String(i));
  });

  test('has room again after a removal, and counts right', async () => {
    const fs = await start({ inodeCount: 64 });
    const made = await makeUntilFull((i) => fs.promises.mkdir(`/${i}`));
    for (let i = 0; i < made; i++) await fs.promises.rmdir(`/${i}`);
    expect((await fs.status()).freeInodes).toBe(62);
    expect(await makeUntilFull((i) => fs.promises.writeFile(`/${i}`, ''))).toBe(62);
    expect(await fs.check()).toEqual([]);
  });
});

describe('a table of 64 blocks', () => {
  test('refuses a name, a target and an extent that find no block', async () => {
    const fs = await start({ inodeCount: 64 });
    const { promises: files } = fs;
    const long = (i: number) => `/${'n'.repeat(200)}${i}`;
    // A long name takes a block of its own, and seven names share one.
    const made = await makeUntilFull((i) => files.writeFile(long(i), 'x'));
    expect(made).toBeLessThan(62);
    expect(await fs.check()).toEqual([]);
    await expect(files.rename(long(0), `${long(0)}-longer`)).rejects.toMatchObject(full);
    await files.rename(long(1), '/short');
    await files.symlink('/short', '/link');
    await expect(files.symlink(`/${'t'.repeat(4000)}`, '/link-2')).rejects.toMatchObject(full);
    expect(await files.readFile('/link', 'utf8')).toBe('x');
    expect(await files.readFile(long(0), 'utf8')).toBe('x');
    expect(await fs.check()).toEqual([]);
  });
});

async function makeUntilFull(make: (i: number) => Promise<unknown>): Promise<number> {
  for (let made = 0; ; made++) {
    const refused = await make(made).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refused === undefined) continue;
    expect(refused).toMatchObject(full);
    return made;
  }
}

async function start(options: { inodeCount?: number }): Promise<ClusterFs> {
  const node = await startNodeProcess(options);
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return fs;
}
