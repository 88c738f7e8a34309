/**
 * A file that is synced after each write is stored before its next sync is asked for. What a sync that finds
 * that under way has promised is there after a loss of power.
 */
import { randomBytes } from 'node:crypto';
import type { ClusterFs } from 'cluster-fs';
import { describe, expect, test, vi } from 'vitest';
import { startRecorded } from './recorded-node.ts';
import type { Recorder } from './recorder.ts';

const page = 4096;
/** Long enough for a request to be answered while a flush is under way. */
const flushMs = 60;

/** Opens a file that is written and synced again and again, until that is foreseen. */
async function openForeseen(fs: ClusterFs, path: string, length = page) {
  const handle = await fs.promises.open(path, 'w+');
  const write = async (): Promise<Buffer> => {
    const bytes = randomBytes(length);
    await handle.write(bytes, 0, length, 0);
    return bytes;
  };
  for (let i = 0; i < 4; i++) {
    await write();
    await handle.sync();
  }
  return { handle, write };
}

test('it is durable without the sync, and a file that is not synced each time is not', async () => {
  const { fs, lost } = await startRecorded();
  const { handle, write } = await openForeseen(fs, '/file');
  const first = await write();
  await expect.poll(async () => (await lost()).get('/file')?.bytes.equals(first)).toBe(true);
  // A second write without a sync: nobody waits for it any more.
  await write();
  const last = await write();
  // What asks for another file is no sync of this one, and comes after all that was begun for it.
  const other = await fs.promises.open('/other', 'w');
  await other.sync();
  await other.close();
  expect((await lost()).get('/file')?.bytes.equals(first)).toBe(true);
  await handle.sync();
  expect((await lost()).get('/file')?.bytes.equals(last)).toBe(true);
  await handle.close();
});

test('a sync that finds it under way needs no flush of its own', async () => {
  const { fs, recorder, lost } = await startRecorded({ flushMs });
  const { handle, write } = await openForeseen(fs, '/file');
  const content = await write();
  const flushes = () => recorder.calls().filter(({ kind }) => kind === 'flushBegin').length;
  await underWay(recorder);
  const before = flushes();
  await handle.sync();
  const position = recorder.position();
  expect((await lost(position)).get('/file')?.bytes.equals(content)).toBe(true);
  expect(flushes()).toBe(before);
  await handle.close();
});

// A large one flushes the data file before it is committed.
describe.each([
  ['log', page],
  ['data file', 20 * page],
])('while the %s is being flushed, a sync has', (_, length) => {
  test('what is changed of names and attributes', async () => {
    const { fs, recorder, lost } = await startRecorded({ flushMs });
    await fs.promises.mkdir('/other');
    const { handle, write } = await openForeseen(fs, '/file', length);
    await write();
    await underWay(recorder);
    await fs.promises.chmod('/other', 0o604);
    await fs.promises.mkdir('/new');
    await handle.sync();
    const found = await lost(recorder.position());
    expect(found.get('/other')?.mode).toBe(0o604);
    expect(found.has('/new')).toBe(true);
    await handle.close();
  });

  test('what is written', async () => {
    const { fs, recorder, lost } = await startRecorded({ flushMs });
    const { handle, write } = await openForeseen(fs, '/file', length);
    await write();
    await underWay(recorder);
    const content = await write();
    await handle.sync();
    expect((await lost(recorder.position())).get('/file')?.bytes.equals(content)).toBe(true);
    await handle.close();
  });

  test('what is stored through a view', async () => {
    const { fs, recorder, lost } = await startRecorded({ flushMs });
    const { handle, write } = await openForeseen(fs, '/file', length);
    const view = await fs.map('/file', { mode: 'rw' });
    const content = await write();
    await underWay(recorder);
    view.bytes[7] = content[7] = (content.readUInt8(7) + 1) % 256;
    await handle.sync();
    expect((await lost(recorder.position())).get('/file')?.bytes.equals(content)).toBe(true);
    view.close();
    await handle.close();
  });
});

/** Within the time of a flush. */
const often = { interval: 2, timeout: 5000 };

/** Until what is foreseen is being flushed, and long before that ends. */
const underWay = (recorder: Recorder): Promise<void> =>
  vi.waitFor(() => {
    const flushes = recorder.calls().filter(({ kind }) => kind.startsWith('flush'));
    expect(flushes.at(-1)?.kind).toBe('flushBegin');
  }, often);
