/**
 * Content that is replaced under readers: each reads one version, whole; and stores in place that moves
 * must not lose.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { startChild } from './children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from './node-process.ts';
import { wordsOf } from './versions.mjs';

const MiB = 2 ** 20;
const versions = 250;
const contentOf = (version: number) => new Uint8Array(new Uint32Array(wordsOf(version)).fill(version).buffer);

interface Report {
  readonly findings: readonly string[];
  readonly looks: number;
  readonly newest: Readonly<Record<string, number>>;
}

test(`${versions} versions of a document, replaced and moved, are each seen whole`, async () => {
  const { node, fs } = await start();
  await fs.promises.writeFile('/document', contentOf(1));
  const readers = [
    startChild('version-reader.mjs', [node.url]),
    startChild('version-reader.mjs', [node.url]),
  ];
  await Promise.all(readers.map((reader) => reader.hear('ready')));
  for (let version = 2; version <= versions; version++) {
    await fs.promises.writeFile('/document', contentOf(version));
    if (version % 3 === 0) await fs.move('/document');
    if (version % 25 === 0) await fs.defrag();
    if (version % 7 === 0)
      await fs.promises.writeFile(`/other-${version % 2}`, new Uint8Array(MiB).fill(0xee));
  }
  for (const reader of readers) reader.send('stop');
  const reports = await Promise.all(readers.map((reader) => reader.hear<Report>('report')));
  for (const { findings, looks } of reports) {
    expect(findings).toEqual([]);
    expect(looks).toBeGreaterThan(50);
  }
  await Promise.all(readers.map((reader) => reader.ended()));
  await expectTidy(node, fs);
}, 60_000);

test('a view that follows by hand keeps a page of before while the rest of its file moves', async () => {
  const { node, fs } = await start();
  await fs.promises.writeFile('/file', Buffer.alloc(4 * 4096, 'old'));
  const view = await fs.map('/file', { follow: 'manual' });
  const old = Buffer.from(view.bytes);
  await fs.promises.punchHole('/file', 0, 4096);
  await fs.move('/file');
  // Whatever is free is somebody else's now.
  const fill = async (): Promise<void> => {
    for (let i = 0; ; i++) await fs.promises.writeFile(`/other-${i}`, Buffer.alloc(MiB, 'other'));
  };
  await expect(fill()).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(Buffer.from(view.bytes).equals(old)).toBe(true);
  await view.advance();
  expect(view.bytes.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
  view.close();
  await expectTidy(node, fs);
}, 60_000);

test('stores in place, appends and cuts go on while the file moves, and none is lost', async () => {
  const { node, fs } = await start();
  const other = await mountForTest(node);
  const model = Buffer.alloc(3 * MiB, 1);
  await fs.promises.writeFile('/file', model);
  const handle = await fs.promises.open('/file', 'r+');
  let writing = true;
  const moving = (async () => {
    let moves = 0;
    for (; writing; moves++) await (moves % 10 === 9 ? other.defrag() : other.move('/file'));
    return moves;
  })();
  for (let i = 0; i < 400; i++) {
    const offset = (i * 7919 * 31) % (model.length - 70_000);
    const bytes = Buffer.alloc(1 + ((i * 101) % 70_000), i);
    await handle.write(bytes, 0, bytes.length, offset);
    bytes.copy(model, offset);
  }
  writing = false;
  expect(await moving).toBeGreaterThan(20);
  expect((await handle.readFile()).equals(model)).toBe(true);
  await handle.close();
  await expectTidy(node, fs);
}, 60_000);

test('a client without a userfaultfd sees every version, and keeps a file that it writes to', async () => {
  const { node, fs } = await start();
  const pinned = await mount(node.url, { mode: 'pinned' });
  onTestFinished(() => pinned.unmount());
  await fs.promises.writeFile('/document', contentOf(1));
  const reader = await pinned.map('/document', { reserve: 4 * MiB });
  for (let version = 2; version < 30; version++) {
    await fs.promises.writeFile('/document', contentOf(version));
    await fs.move('/document');
    const words = new Uint32Array(reader.buffer);
    await expect.poll(() => words[0], { interval: 1 }).toBe(version);
  }
  const writer = await pinned.map('/document', { mode: 'rw' });
  await expect(fs.move('/document')).rejects.toMatchObject({ code: 'EBUSY' });
  writer.bytes[0] = 99;
  expect((await fs.promises.readFile('/document'))[0]).toBe(99);
  writer.close();
  await expect
    .poll(() =>
      fs.move('/document').then(
        () => 'moved',
        () => 'busy',
      ),
    )
    .toBe('moved');
  await fs.promises.truncate('/document', 4096);
  await expect.poll(() => reader.bytes.length).toBe(4096);
  await expectTidy(node, fs);
}, 30_000);

async function start(): Promise<{ node: NodeProcess; fs: ClusterFs }> {
  const node = await startNodeProcess({ memory: 32 * MiB });
  return { node, fs: await mountForTest(node) };
}

async function expectTidy(node: NodeProcess, fs: ClusterFs): Promise<void> {
  await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}
