/**
 * Blocks that follow each other are asked for, protected and given up together. What holds for one of them
 * holds for each: whoever stores into any of them afterwards waits, and the other node sees it.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startTwoNodes } from '../setups/two-nodes.ts';

const blockBytes = 65_536;
const blocks = 24;
const path = '/file';
const timeout = 60_000;

test('each of many that were shared at once is one that nobody has stored into unseen', {
  timeout,
}, async () => {
  const { home, member, stop } = await startTwoNodes();
  onTestFinished(stop);
  const mounted = [await mount(home.url), await mount(member.url)] as const;
  onTestFinished(async () => void (await Promise.all(mounted.map((fs) => fs.unmount()))));
  await mounted[0].promises.writeFile(path, Buffer.alloc(blocks * blockBytes));
  const views = await Promise.all(mounted.map((fs) => fs.map(path, { mode: 'rw' })));
  onTestFinished(() => {
    for (const view of views) view.close();
  });
  const wordsOf = (bytes: Uint8Array): number[] =>
    Array.from({ length: blocks }, (_, block) => bytes[block * blockBytes + 1000] ?? -1);
  const readAll = async (fs: ClusterFs): Promise<number[]> => wordsOf(await fs.promises.readFile(path));
  let value = 0;
  for (let round = 0; round < 3; round++)
    for (const [node, view] of views.entries()) {
      const other = mounted[1 - node] as ClusterFs;
      // Whoever stored has all of them alone; the read of the other one takes them in one go, to share.
      for (let again = 0; again < 2; again++) {
        value++;
        for (let block = 0; block < blocks; block++)
          Atomics.store(view.bytes, block * blockBytes + 1000, value);
        expect(await readAll(other)).toEqual(Array(blocks).fill(value));
        expect(wordsOf((views[1 - node] as typeof view).bytes)).toEqual(Array(blocks).fill(value));
      }
      // A write by API takes them in one go, to store: nothing is left at the other node.
      value++;
      const file = await other.promises.open(path, 'r+');
      await file.write(Buffer.alloc(blocks * blockBytes, value));
      await file.close();
      expect(wordsOf(view.bytes)).toEqual(Array(blocks).fill(value));
    }
});
