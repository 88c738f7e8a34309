/** A tmpfs that gives more pages than were asked for: what is absent would be there, as zeros. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, newStore, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const canMount = process.getuid?.() === 0;

function mountTmpfs(huge: string): string {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-huge-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=256m,mode=0700,huge=${huge}`, 'clusterfs-test', home]);
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', home]);
    rmdirSync(home);
  });
  return `${home}/run`;
}

test.skipIf(!canMount).each(['always', 'within_size'])(
  'huge=%s is refused where pages may be absent, and taken where none is (needs root, to mount one)',
  async (huge) => {
    const runDirectory = mountTmpfs(huge);
    const refused = startNodeProcess({ runDirectory, store: newStore(), memory: 16 * MiB });
    await expect(refused).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining('mount -o remount,huge=never'),
    });
    const fs = await mountForTest(await startNodeProcess({ runDirectory, memory: 64 * MiB }));
    const content = Buffer.alloc(5 * MiB, 7);
    await fs.promises.writeFile('/file', content);
    await fs.move('/file');
    expect((await fs.promises.readFile('/file')).equals(content)).toBe(true);
    await fs.promises.unlink('/file');
    await fs.promises.writeFile('/holes', '');
    await fs.promises.truncate('/holes', 8 * MiB);
    expect((await fs.promises.readFile('/holes')).every((byte) => byte === 0)).toBe(true);
    expect(await fs.check()).toEqual([]);
  },
);

test.skipIf(!canMount)(
  'huge=advise is as good as none: what was evicted comes back (needs root, to mount one)',
  async () => {
    const runDirectory = mountTmpfs('advise');
    const fs = await mountForTest(
      await startNodeProcess({ runDirectory, store: newStore(), memory: 64 * MiB }),
    );
    const content = Buffer.alloc(5 * MiB, 7);
    await fs.promises.writeFile('/file', content);
    await fs.sync();
    await fs.evict('/file');
    expect(Buffer.from((await fs.map('/file')).bytes).equals(content)).toBe(true);
  },
);
