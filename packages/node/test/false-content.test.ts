/** A node that keeps files, or does not, and says of them what cannot be. */
import { expect, test } from 'vitest';
import { startHome } from './stranger.ts';

const file = { ino: 2, generation: 1, size: 4096, mtimeMs: 1, ctimeMs: 1 };
const one = { filePage: 0, count: 1 };

test.each([
  ['twice the same page', { ...file, pages: [one, one] }],
  ['pages in no order', { ...file, pages: [{ filePage: 5, count: 1 }, one] }],
  ['no page', { ...file, pages: [{ filePage: 0, count: 0 }] }],
  ['more pages than there are', { ...file, pages: [{ filePage: 1, count: 2 ** 31 }] }],
  ['a larger file than fits', { ...file, size: 2 ** 50, pages: [one] }],
])('%s: the coordinator refuses it, and goes on', async (_, content) => {
  const { enter, fs } = await startHome();
  await fs.promises.writeFile('/file', 'content');
  const { link } = await enter(2);
  await expect(link.request('content', { files: [content] })).rejects.toMatchObject({ code: 'EPROTO' });
  await link.request('keep', {
    url: 'tcp://127.0.0.1:1',
    memoryBytes: 2 ** 20,
    capacityBytes: 2 ** 20,
    isStored: false,
  });
  await expect(link.request('content', { files: [content] })).rejects.toThrow(/cannot be like that/);
  const { reply } = await link.request('content', { files: [{ ...file, pages: [one] }] });
  expect(reply).toEqual({ refused: [] });
  expect(await fs.promises.readFile('/file', 'utf8')).toBe('content');
  expect(await fs.check()).toEqual([]);
});

test('nobody hands a file over that nobody expects', async () => {
  const { enter, fs } = await startHome();
  await fs.promises.writeFile('/file', 'content');
  const { link, session } = await enter(2);
  await link.request('keep', {
    url: 'tcp://127.0.0.1:1',
    memoryBytes: 2 ** 20,
    capacityBytes: 2 ** 20,
    isStored: false,
  });
  const { ino } = fs.statSync('/file');
  const alone = [{ from: 0, count: 2 ** 32 - 1 }];
  const said = {
    ino,
    generation: 1,
    move: 1,
    session,
    mode: 'rw',
    alone,
    isWritten: false,
    asked: 1,
  } as const;
  await expect(link.request('handOver', said)).rejects.toMatchObject({ code: 'ESTALE' });
  expect(await fs.promises.readFile('/file', 'utf8')).toBe('content');
});
