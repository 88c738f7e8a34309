/** Short writes, whose bytes the node stores: they wait for who has the layout, as a client's stores do. */
import { constants } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, startNodeProcess } from './node-process.ts';
import { openRawSession } from './raw-session.mjs';

const page = 4096;

test('a short write waits for a write that makes the file longer, and lands in its pages', async () => {
  const node = await startNodeProcess({});
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/f', Buffer.alloc(page, 'a'));
  const { connection, close } = await openRawSession(node.socketPath);
  onTestFinished(close);
  const { handle } = await connection.request('open', { path: '/f', flags: constants.O_RDWR, mode: 0 });
  const begun = await connection.request('writeBegin', { handle, offset: 0, length: 2 * page });
  const short = await fs.promises.open('/f', 'r+');
  let isDone = false;
  const writing = short.write('in turn', 10).finally(() => {
    isDone = true;
  });
  // Requests of another connection are answered meanwhile, in the order in which they came.
  for (let i = 0; i < 3; i++) await connection.request('check', {});
  expect(isDone).toBe(false);
  await connection.request('writeEnd', { grant: begun.grant, written: 2 * page });
  await writing;
  const content = await fs.promises.readFile('/f');
  expect(content).toHaveLength(2 * page);
  expect(content.toString('latin1', 8, 20)).toBe('aain turnaaa');
  const before = (await short.stat()).mtimeMs;
  await short.write('at once', 10);
  expect((await fs.promises.readFile('/f')).toString('latin1', 8, 20)).toBe('aaat onceaaa');
  expect((await short.stat()).mtimeMs).toBeGreaterThanOrEqual(before);
  await short.close();
});

test('more bytes than a short write may have, or none, are refused', async () => {
  const node = await startNodeProcess({});
  const fs = await mountForTest(node);
  await fs.promises.writeFile('/f', 'content');
  const { connection, close } = await openRawSession(node.socketPath);
  onTestFinished(close);
  const open = (flags: number) => connection.request('open', { path: '/f', flags, mode: 0 });
  const { handle } = await open(constants.O_RDWR);
  const { handle: reading } = await open(constants.O_RDONLY);
  const write = (to: number, bytes: Uint8Array) =>
    connection.request('write', { handle: to, bytes, offset: 0 });
  await expect(write(handle, new Uint8Array(0))).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(write(reading, Buffer.from('x'))).rejects.toMatchObject({ code: 'EBADF' });
  expect(await write(handle, Buffer.from('C'))).toEqual({ size: 7, offset: 0 });
  await expect(write(handle, Buffer.alloc(2 * page + 1))).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(fs.readFileSync('/f', 'utf8')).toBe('Content');
});
