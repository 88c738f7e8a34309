/**
 * A segment without a free page: ENOSPC for what needs one, everything else as before, and room again after
 * a removal.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const segmentBytes = 16 * MiB;
const full = { code: 'ENOSPC' };

describe('a full segment', () => {
  test('refuses every way to take more, and changes nothing', async () => {
    const { fs, contents } = await fillUp();
    const { promises: files } = fs;
    await files.writeFile('/sparse', '').catch(() => undefined);
    const attempts: Record<string, () => Promise<unknown>> = {
      'a new file': () => files.writeFile('/new', Buffer.alloc(MiB)),
      'a replacement': () => files.writeFile('/file-0', Buffer.alloc(2 * MiB, 7)),
      'an append': () => files.appendFile('/file-1', Buffer.alloc(MiB)),
      'a copy': () => files.copyFile('/file-2', '/copy'),
      'a store into a hole': async () => {
        const handle = await files.open('/sparse', 'r+');
        await handle.write(Buffer.alloc(MiB), 0, MiB, 4 * MiB).finally(() => handle.close());
      },
      'a move': () => fs.move('/file-3'),
    };
    for (const [what, attempt] of Object.entries(attempts)) {
      await expect(attempt(), what).rejects.toMatchObject(full);
      expect(await fs.check(), what).toEqual([]);
    }
    await expectContents(fs, contents);
  });

  test('refuses a view that would fill holes, and one that grows into nothing', async () => {
    const { fs, contents } = await fillUp();
    await fs.promises.truncate('/file-0', 0);
    await fs.promises.truncate('/file-0', 8 * MiB);
    await expect(fs.map('/file-0', { mode: 'rw' })).rejects.toMatchObject(full);
    const view = await fs.map('/file-1', { mode: 'rw', reserve: 8 * MiB });
    await expect(fs.promises.truncate('/file-1', 8 * MiB)).rejects.toMatchObject(full);
    expect(view.size).toBe(contents.get('/file-1')?.length);
    view.bytes[0] = 99;
    expect((await fs.promises.readFile('/file-1'))[0]).toBe(99);
    expect(await fs.check()).toEqual([]);
  });

  test('takes what fits after a removal, in pieces if it must', async () => {
    const { fs, contents } = await fillUp();
    for (const path of ['/file-1', '/file-3', '/file-5']) await fs.promises.unlink(path);
    const content = Buffer.alloc(2 * MiB + 4096 * 100, 5);
    await fs.promises.writeFile('/again', content);
    expect(fs.extents('/again').length).toBeGreaterThan(1);
    expect((await fs.promises.readFile('/again')).equals(content)).toBe(true);
    const view = await fs.map('/again', { mode: 'rw' });
    expect(Buffer.compare(view.bytes, content)).toBe(0);
    for (const path of ['/file-1', '/file-3', '/file-5']) contents.delete(path);
    await expectContents(fs, contents);
    expect(await fs.check()).toEqual([]);
  });

  test('is as empty as it was when all is removed', async () => {
    const { fs, contents, freeBytes } = await fillUp();
    for (const path of contents.keys()) await fs.promises.unlink(path);
    const { freeBytes: after, reservedBytes } = (await fs.status()) as {
      freeBytes: number;
      reservedBytes: number;
    };
    expect(after + reservedBytes).toBe(freeBytes);
    expect(await fs.check()).toEqual([]);
  });

  test('can be packed when one file less makes room', async () => {
    const { fs, contents } = await fillUp();
    await fs.promises.unlink('/file-0');
    contents.delete('/file-0');
    await fs.promises.unlink('/file-4');
    contents.delete('/file-4');
    await fs.defrag();
    expect((await fs.status()).freeRuns).toBe(1);
    for (const path of contents.keys()) expect(fs.extents(path)).toHaveLength(1);
    await expectContents(fs, contents);
    expect(await fs.check()).toEqual([]);
  });
}, 30_000);

describe('pages that a stopped client maps', () => {
  test('are waited for: it goes on, and who wants them gets them', async () => {
    const { fs, onlooker } = await leaveToOnlooker();
    const written = fs.promises.writeFile('/other', Buffer.alloc(8 * MiB, 3));
    for (let i = 0; i < 5; i++) expect((await fs.status()).quarantinedBytes).toBe(12 * MiB);
    onlooker.process.kill('SIGCONT');
    await written;
    expect((await fs.promises.readFile('/other')).equals(Buffer.alloc(8 * MiB, 3))).toBe(true);
    expect(await fs.check()).toEqual([]);
  });

  test('are waited for a moment only: it stays stopped, and who wants them is refused', async () => {
    const { fs, onlooker } = await leaveToOnlooker();
    const write = () => fs.promises.writeFile('/other', Buffer.alloc(8 * MiB, 3));
    await expect(write()).rejects.toMatchObject(full);
    // Nobody is waited for twice.
    const started = performance.now();
    await expect(write()).rejects.toMatchObject(full);
    expect(performance.now() - started).toBeLessThan(500);
    onlooker.process.kill('SIGCONT');
    await expect.poll(write).toBe(undefined);
    expect(await fs.check()).toEqual([]);
  });

  async function leaveToOnlooker() {
    const { fs, node } = await start(segmentBytes);
    await fs.promises.writeFile('/file', Buffer.alloc(12 * MiB, 1));
    const onlooker = startChild('onlooker.mjs', [node.url]);
    await onlooker.hear('ready');
    onlooker.process.kill('SIGSTOP');
    await fs.promises.truncate('/file', 0);
    return { fs, onlooker };
  }
}, 30_000);

test('a file may be as large as the segment', async () => {
  const { fs } = await start(segmentBytes);
  const content = Buffer.alloc(segmentBytes, 'all of it ');
  const handle = await fs.promises.open('/all', 'w');
  await handle.write(content);
  await handle.close();
  const view = await fs.map('/all', { mode: 'rw' });
  expect(Buffer.compare(view.bytes, content)).toBe(0);
  await expect(fs.promises.truncate('/all', segmentBytes + 1)).rejects.toMatchObject({ code: 'EFBIG' });
  await expect(fs.promises.appendFile('/all', 'x')).rejects.toMatchObject({
    code: expect.stringMatching(/ENOSPC|EFBIG/),
  });
  await expect(fs.move('/all')).rejects.toMatchObject(full);
  view.bytes.fill(1);
  expect((await fs.promises.readFile('/all')).equals(Buffer.alloc(segmentBytes, 1))).toBe(true);
  await fs.promises.truncate('/all', 10);
  await fs.promises.writeFile('/other', Buffer.alloc(MiB));
  expect(await fs.check()).toEqual([]);
}, 30_000);

async function start(memory: number): Promise<{ fs: ClusterFs; node: NodeProcess }> {
  const node = await startNodeProcess({ memory });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return { fs, node };
}

/** Files of about a megabyte until there is no room for one more, then of a page. */
async function fillUp() {
  const { fs } = await start(segmentBytes);
  const { freeBytes } = (await fs.status()) as { freeBytes: number };
  const contents = new Map<string, Buffer>();
  for (const size of [MiB + 4096, 4096]) {
    for (;;) {
      const path = `/file-${contents.size}`;
      const content = Buffer.alloc(size, path);
      const refused = await fs.promises.writeFile(path, content).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused !== undefined) {
        expect(refused).toMatchObject(full);
        expect(fs.existsSync(path)).toBe(false);
        break;
      }
      contents.set(path, content);
    }
  }
  // All of it: no page is lost to what was refused.
  expect((await fs.status()).freeBytes).toBe(0);
  expect((await fs.status()).reservedBytes).toBe(0);
  return { fs, contents, freeBytes };
}

async function expectContents(fs: ClusterFs, contents: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [path, content] of contents) {
    expect((await fs.promises.readFile(path)).equals(content), path).toBe(true);
  }
}
