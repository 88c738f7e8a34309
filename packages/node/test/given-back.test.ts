/** STags that are given back over links that break: nothing said of them is lost, none is kept for ever. */
import { InodeCopy, readInode } from 'cluster-fs/segment';
import { expect, test } from 'vitest';
import { hexOf, type Stranger, startHome } from './stranger.ts';

async function start() {
  const { enter, fs, segment } = await startHome();
  await fs.promises.writeFile('/file', 'some');
  const { ino } = fs.statSync('/file');
  const inode = new InodeCopy();
  expect(readInode(segment, ino, inode)).toBe(true);
  const file = { ino, generation: inode.generation, mode: 'r' } as const;
  return { fs, file, enter };
}

async function giveBack(stranger: Stranger, stag: Uint8Array): Promise<void> {
  stranger.link.event('tagClose', { stag });
  await stranger.hears('tagClosed');
}

test('what was said before names the one of before, over the next link too', async () => {
  const { fs, file, enter } = await start();
  const stranger = await enter(2);
  const first = await stranger.tag(file);
  stranger.say('getShared', first);
  await stranger.hears('toHolder');
  const writing = fs.promises.writeFile('/file', 'more');
  await expect.poll(() => stranger.named).toHaveLength(2);
  await giveBack(stranger, first);
  const second = await stranger.tag(file);
  stranger.link.close();

  const again = await enter(2, stranger.session);
  // Nothing is known to have come.
  expect(again.named).toEqual([hexOf(first), hexOf(first)]);
  again.say('invalidateAck', first, { number: 2, received: 2 });
  await writing;
  again.say('getShared', second, { number: 3, received: 2 });
  await expect.poll(() => again.named.at(-1)).toBe(hexOf(second));
});

test('the home says that it is closed until the end of it was heard', async () => {
  const { file, enter } = await start();
  let stranger = await enter(2);
  const stag = await stranger.tag(file);
  await giveBack(stranger, stag);
  for (let link = 0; link < 2; link++) {
    stranger.link.close();
    stranger = await enter(2, stranger.session);
    // Also when it is given back once more.
    await giveBack(stranger, stag);
  }
  stranger.link.event('tagGone', { stag });
  await stranger.link.request('describe', {});
  stranger.link.close();
  stranger = await enter(2, stranger.session);
  await stranger.link.request('describe', {});
  expect(stranger.hasHeard('tagClosed')).toBe(false);
});

test('whoever says that another node’s is gone is cut off', async () => {
  const { file, enter } = await start();
  const stranger = await enter(2);
  const stag = await stranger.tag(file);
  await giveBack(stranger, stag);
  const other = await enter(3);
  other.link.event('tagGone', { stag });
  await expect.poll(() => other.link.closed?.code).toBe('ESTALE');
  await stranger.link.request('describe', {});
});
