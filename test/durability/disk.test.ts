/** A loss of power that also takes what was written to the disk and not flushed. Needs root, for a disk. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { describe, expect, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { mountForTest, startNodeProcess } from '../chaos/node-process.ts';
import { hasDisks, makeDisk } from './disk.ts';
import { killWriter, Manifest } from './manifest.ts';
import { never } from './power.ts';

const page = 4096;
const rounds = Number(process.env.CLUSTERFS_DISK_ROUNDS ?? 4);

describe.skipIf(!hasDisks())('a disk that has what was flushed alone', () => {
  test('has nothing of what was not synced: the test takes the power indeed', async () => {
    const disk = makeDisk();
    const node = await startNodeProcess({ store: join(disk.path, 'store'), writeBackMs: never });
    const fs = await mountForTest(node);
    await fs.sync();
    await fs.promises.writeFile('/empty', '');
    await fs.unmount();
    await disk.cutPower(node);
    await node.start();
    expect((await mountForTest(node)).existsSync('/empty')).toBe(false);
  }, 30_000);

  test.each([1, 16, 17, 2000])(
    'has a first sync of %i pages',
    async (pages) => {
      const disk = makeDisk();
      const node = await startNodeProcess({ store: join(disk.path, 'store'), writeBackMs: never });
      const fs = await mountForTest(node);
      const content = randomBytes(pages * page);
      await fs.promises.writeFile('/first', content);
      await syncFile(fs, '/first');
      await fs.unmount();
      await disk.cutPower(node);
      await node.start();
      const again = await mountForTest(node);
      expect((await again.promises.readFile('/first')).equals(content)).toBe(true);
      expect(node.errors).toEqual([]);
    },
    30_000,
  );

  test(`${rounds} losses of power under load: what was synced is there`, async () => {
    const disk = makeDisk();
    const node = await startNodeProcess({
      store: join(disk.path, 'store'),
      writeBackMs: 15,
      memory: 32 * 2 ** 20,
    });
    const manifest = new Manifest();
    for (let round = 0; round < rounds; round++) {
      const first = manifest.newest + 1;
      const writers = ['/a', '/b'].map((name) =>
        startChild('../durability/storm-writer.mjs', [node.url, name, first]),
      );
      for (const writer of writers) manifest.listen(writer);
      const enough = first + 10 + Math.floor(Math.random() * 100);
      const load = expect.poll(() => manifest.newest, { timeout: 30_000, interval: 2 });
      await load.toBeGreaterThan(enough);
      await disk.cutPower(node);
      await Promise.all(writers.map(killWriter));
      await node.start();
      const fs = await mountForTest(node);
      expect(await manifest.verify(fs, 'power'), `round ${round}`).toEqual([]);
      expect(await fs.check()).toEqual([]);
      expect(node.errors).toEqual([]);
      await fs.unmount();
    }
  }, 120_000);
});

async function syncFile(fs: ClusterFs, path: string): Promise<void> {
  const handle = await fs.promises.open(path);
  await handle.sync();
  await handle.close();
}
