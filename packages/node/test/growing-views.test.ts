/** Views of a file of another home that grows there. */
import { FsError } from '@cluster-fs/transport';
import { pageSize } from 'cluster-fs/segment';
import { expect, test, vi } from 'vitest';
import { startTwo, timeout } from './two-keepers.ts';

const blockBytes = 65_536;

test('what a file has got is shown, also when it could not be fetched at first', { timeout }, async () => {
  const { atA, atB, b } = await startTwo();
  await atA.promises.writeFile('/file', Buffer.alloc(blockBytes, 1));
  const view = await atB.map('/file', { reserve: 2 * blockBytes });
  const blocks = b.coordinator.blocks ?? expect.fail();
  const [known = expect.fail()] = b.coordinator.viewsOf(atB.statSync('/file').ino);
  const told = vi.spyOn(known.session.control, 'event');
  const away = new FsError('ECONNRESET', 'request', { why: 'the home is away' });
  const acquire = vi.spyOn(blocks, 'acquire').mockRejectedValueOnce(away);
  await atA.promises.appendFile('/file', Buffer.alloc(blockBytes, 2));
  // It is not touched before: this thread is the node that would have to fetch it.
  const shown = { cause: 'grow', from: blockBytes / pageSize, count: blockBytes / pageSize };
  await expect
    .poll(() => told.mock.calls, { timeout })
    .toContainEqual(['remap', expect.objectContaining(shown)]);
  await expect.poll(() => known.unanswered).toEqual([]);
  expect(view.bytes[blockBytes]).toBe(2);
  expect(acquire.mock.calls.length).toBeGreaterThan(1);
  view.close();
});
