/** What a node does to the files that it keeps reaches the coordinator, also when it is refused at first. */
import { expect, test, vi } from 'vitest';
import { startTwo, timeout } from './two-keepers.ts';

const MiB = 2 ** 20;

test('a file that the coordinator has no room for fails alone, and is there when it has', {
  timeout,
}, async () => {
  const { atA, atB } = await startTwo();
  for (const path of ['/large', '/small']) {
    await atA.promises.writeFile(path, 'content');
    await atA.migrate(path, 'b');
  }
  // The coordinator has what was in it as long as this view shows it, and the other node has not.
  await atA.promises.writeFile('/kept', Buffer.alloc(1.5 * MiB, 1));
  const view = await atA.map('/kept', { follow: 'manual' });
  await atA.promises.writeFile('/kept', Buffer.alloc(1.5 * MiB, 2));
  const content = Buffer.alloc(2 * MiB, 'large');
  await expect(atB.promises.writeFile('/large', content)).rejects.toMatchObject({ code: 'ENOSPC' });
  await atB.promises.writeFile('/small', 'changed');
  expect(await atA.promises.readFile('/small', 'utf8')).toBe('changed');
  expect(atA.statSync('/large').size).toBe(7);
  view.close();
  await expect.poll(() => atA.statSync('/large').size).toBe(content.length);
  expect((await atA.promises.readFile('/large')).equals(content)).toBe(true);
});

test('everything is sent when a link is up, and not with what others do', { timeout }, async () => {
  const { atA, b, line } = await startTwo();
  const sent = vi.spyOn(b.member?.own ?? expect.fail(), 'sendAll');
  for (const path of ['/1', '/2', '/3']) await atA.promises.writeFile(path, 'content');
  expect(sent).not.toHaveBeenCalled();
  await line.cut();
  await line.mend();
  await expect.poll(() => sent.mock.calls.length).toBe(1);
});
