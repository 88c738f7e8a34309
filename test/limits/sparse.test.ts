/** Holes and the memory they spare: what takes pages, what gives them back, and what says ENOSPC. */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const page = 4096;
const full = { code: 'ENOSPC' };

test('an allocated range can be written when nothing else can', async () => {
  const { fs, freeBytes } = await start();
  const handle = await fs.promises.open('/room', 'w+');
  await handle.allocate(MiB, 2 * MiB);
  await handle.zeroRange(4 * MiB, MiB);
  expect((await handle.stat()).size).toBe(5 * MiB);
  expect((await handle.stat()).blocks * 512).toBe(3 * MiB);
  await fillUp(fs);
  await handle.write(Buffer.alloc(2 * MiB, 1), 0, 2 * MiB, MiB);
  await handle.write(Buffer.alloc(MiB, 2), 0, MiB, 4 * MiB);
  await expect(handle.write(Buffer.alloc(page), 0, page, 0)).rejects.toMatchObject(full);
  const expected = Buffer.alloc(5 * MiB)
    .fill(1, MiB, 3 * MiB)
    .fill(2, 4 * MiB);
  expect((await fs.promises.readFile('/room')).equals(expected)).toBe(true);

  await handle.punchHole(0, 5 * MiB);
  expect((await handle.stat()).blocks).toBe(0);
  expect(await freeBytes()).toBeGreaterThanOrEqual(3 * MiB);
  await handle.close();
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('what needs pages fails when there are none, and changes nothing', async () => {
  const { fs } = await start();
  const content = Buffer.alloc(2 * MiB, 7);
  await fs.promises.writeFile('/file', content);
  await fs.promises.truncate('/file', 4 * MiB);
  await fs.promises.writeFile('/mapped', content);
  const view = await fs.map('/mapped', { mode: 'rw' });
  await fillUp(fs);
  const files = fs.promises;
  await expect(files.zeroRange('/file', 0, MiB)).rejects.toMatchObject(full);
  await expect(files.allocate('/file', 0, 4 * MiB)).rejects.toMatchObject(full);
  // A file that is mapped to write keeps pages under the zeros.
  await expect(files.punchHole('/mapped', 0, MiB)).rejects.toMatchObject(full);
  expect(fs.readFileSync('/file').equals(Buffer.concat([content, Buffer.alloc(2 * MiB)]))).toBe(true);
  expect(fs.readFileSync('/mapped').equals(content)).toBe(true);
  expect(Buffer.compare(view.bytes, content)).toBe(0);
  // What takes no page is done.
  await files.zeroRange('/file', 10, 100);
  await files.allocate('/file', 0, 2 * MiB);
  await files.punchHole('/file', MiB, MiB);
  content.fill(0, 10, 110).fill(0, MiB);
  expect(
    fs
      .readFileSync('/file')
      .subarray(0, 2 * MiB)
      .equals(content),
  ).toBe(true);
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('a copy has the holes of its source, and may be longer than the memory that is left', async () => {
  const { fs } = await start();
  const handle = await fs.promises.open('/sparse', 'w');
  for (const at of [0, 3 * MiB + 5, 14 * MiB]) await handle.write(Buffer.from(`at ${at}`), 0, null, at);
  await handle.truncate(15 * MiB + 1);
  await handle.close();
  await fs.promises.mkdir('/tree');
  await fs.promises.copyFile('/sparse', '/tree/copy');
  await fs.promises.cp('/tree', '/again', { recursive: true });
  const content = fs.readFileSync('/sparse');
  for (const path of ['/tree/copy', '/again/copy']) {
    expect(fs.readFileSync(path).equals(content), path).toBe(true);
    expect(fs.statSync(path).blocks, path).toBe(3 * 8);
    expect(fs.extents(path).map(({ filePage }) => filePage)).toEqual([
      0,
      (3 * MiB) / page,
      (14 * MiB) / page,
    ]);
  }
  // Onto a file that somebody maps to write: no store may go into a hole.
  await fs.promises.truncate('/tree/copy', 0);
  await fs.promises.truncate('/sparse', MiB);
  const view = await fs.map('/tree/copy', { mode: 'rw', reserve: MiB });
  await fs.promises.copyFile('/sparse', '/tree/copy');
  await expect.poll(() => view.size).toBe(MiB);
  view.bytes[MiB - 1] = 9;
  expect(fs.readFileSync('/tree/copy')[MiB - 1]).toBe(9);
  expect(fs.statSync('/tree/copy').blocks * 512).toBe(MiB);
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('a file that is allocated beyond its end has zeros there, whatever a view stored', async () => {
  const { fs } = await start();
  for (const grow of ['allocate', 'zeroRange'] as const) {
    await fs.promises.writeFile('/file', Buffer.alloc(100, 1));
    const view = await fs.map('/file', { mode: 'rw', reserve: 2 * page });
    new Uint8Array(view.buffer)[200] = 7;
    await fs.promises[grow]('/file', page, 10);
    view.close();
    const expected = Buffer.alloc(page + 10).fill(1, 0, 100);
    expect(fs.readFileSync('/file').equals(expected)).toBe(true);
  }
}, 30_000);

test('an offset or a length that is none is refused, and a file that is open to read', async () => {
  const { fs } = await start();
  await fs.promises.writeFile('/file', Buffer.alloc(2 * page, 1));
  const reader = await fs.promises.open('/file', 'r');
  await expect(reader.punchHole(0, 1)).rejects.toMatchObject({ code: 'EBADF', syscall: 'fallocate' });
  await reader.close();
  await expect(reader.seekHole(0)).rejects.toMatchObject({ code: 'EBADF' });
  const files = fs.promises;
  await expect(files.punchHole('/file', -1, 1)).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(files.zeroRange('/file', 0, 0)).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(files.allocate('/file', 0.5, 1)).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' });
  await expect(files.allocate('/file', 0, 2 ** 40)).rejects.toMatchObject({ code: 'EFBIG' });
  await expect(files.punchHole('/none', 0, 1)).rejects.toMatchObject({ code: 'ENOENT', path: '/none' });
  await expect(files.punchHole('/', 0, 1)).rejects.toMatchObject({ code: 'EISDIR' });
  await expect(files.seekData('/file', 2 * page)).rejects.toMatchObject({ code: 'ENXIO', syscall: 'lseek' });
  await files.allocate('/file', 0, 4 * page, { keepSize: true });
  expect(fs.statSync('/file')).toMatchObject({ size: 2 * page, blocks: 16 });
  await files.punchHole('/file', page, Number.MAX_SAFE_INTEGER - page);
  expect(fs.statSync('/file')).toMatchObject({ size: 2 * page, blocks: 8 });
  const readOnly = await mount(fs.url, { access: 'r' });
  await expect(readOnly.promises.punchHole('/file', 0, 1)).rejects.toMatchObject({ code: 'EROFS' });
  expect(await readOnly.promises.seekHole('/file', 0)).toBe(page);
  await readOnly.unmount();
}, 30_000);

async function start(): Promise<{ fs: ClusterFs; freeBytes(): Promise<number> }> {
  const node = await startNodeProcess({ memory: 16 * MiB });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return { fs, freeBytes: async () => (await fs.status()).freeBytes as number };
}

/** Leaves no page free. */
async function fillUp(fs: ClusterFs): Promise<void> {
  for (const size of [MiB, page]) {
    for (let i = 0; ; i++) {
      const refused = await fs.promises.writeFile(`/fill-${size}-${i}`, Buffer.alloc(size, 0xff)).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused === undefined) continue;
      expect(refused).toMatchObject(full);
      break;
    }
  }
}
