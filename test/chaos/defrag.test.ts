/**
 * Packing a segment that chance has made a mess of: all files in one piece, free space in one piece, no
 * byte changed.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const pageSize = 4096;

const step = fc.record({
  file: fc.nat(9),
  kind: fc.constantFrom('append', 'append', 'append', 'store', 'cut', 'remove', 'replace'),
  pages: fc.integer({ min: 1, max: 60 }),
  at: fc.nat(150),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

test('after it every file is one extent, free space is one run, and every byte is what it was', async () => {
  const { node, fs } = await start();
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), fc.integer(), async (steps, salt) => {
      // A client of its own makes the mess: what it has set aside for its next writes goes with it.
      const writer = await mount(node.url);
      await writer.promises.rm('/files', { recursive: true, force: true });
      await writer.promises.mkdir('/files');
      const model = new Map<number, Buffer>();
      for (const [i, each] of steps.entries()) await apply(writer, model, each, (salt + i) & 0xff);
      await writer.unmount();
      await expect.poll(async () => (await fs.status()).reservedBytes).toBe(0);
      const views = await Promise.all(
        [...model.keys()].map((file) => fs.map(pathOf(file), { follow: 'manual' })),
      );

      expect((await fs.defrag()).freeRuns).toBe(1);

      for (const [file, content] of model) {
        expect((await fs.promises.readFile(pathOf(file))).equals(content)).toBe(true);
        expect(piecesOf(fs, file)).toBeLessThanOrEqual(1);
      }
      for (const view of views) {
        const file = Number(view.path.split('-')[1]);
        expect(Buffer.compare(view.bytes, model.get(file) ?? Buffer.alloc(0))).toBe(0);
        view.close();
      }
      expect(await fs.check()).toEqual([]);
      expect(node.errors).toEqual([]);
    }),
    { numRuns: 25, endOnFailure: true },
  );
}, 60_000);

test('it goes through while files come, go and change', async () => {
  const { node, fs } = await start();
  const other = await mountForTest(node);
  await fs.promises.mkdir('/files');
  let packing = true;
  const model = new Map<number, Buffer>();
  const changing = (async () => {
    for (let i = 0; packing; i++) {
      const kind = (['append', 'replace', 'cut', 'append', 'store', 'remove'] as const)[i % 6] ?? 'append';
      await apply(
        other,
        model,
        { file: (i * 7) % 10, kind, pages: 1 + ((i * 13) % 60), at: (i * 31) % 150 },
        i & 0xff,
      );
    }
  })();
  for (let i = 0; i < 40; i++) await fs.defrag();
  packing = false;
  await changing;
  for (const [file, content] of model) {
    expect((await fs.promises.readFile(pathOf(file))).equals(content)).toBe(true);
  }
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 60_000);

test('it stops when it is told to, and what is done stays done', async () => {
  const { node, fs } = await start();
  const writer = await mount(node.url);
  await writer.promises.mkdir('/files');
  const model = new Map<number, Buffer>();
  for (let i = 0; i < 120; i++)
    await apply(writer, model, { file: i % 10, kind: 'append', pages: 20, at: 0 }, i);
  await writer.unmount();
  const controller = new AbortController();
  const stopped = fs.defrag({ signal: controller.signal, onProgress: () => controller.abort() });
  await expect(stopped).rejects.toThrow();
  for (const [file, content] of model) {
    expect((await fs.promises.readFile(pathOf(file))).equals(content)).toBe(true);
  }
  expect(await fs.check()).toEqual([]);
  expect((await fs.defrag()).freeRuns).toBe(1);
}, 30_000);

const pathOf = (file: number) => `/files/file-${file}`;

async function apply(
  fs: ClusterFs,
  model: Map<number, Buffer>,
  { file, kind, pages, at }: Step,
  byte: number,
) {
  const path = pathOf(file);
  const before = model.get(file);
  const bytes = Buffer.alloc(pages * pageSize - 100, byte);
  if (kind === 'replace' || before === undefined) {
    await fs.promises.writeFile(path, bytes);
    model.set(file, bytes);
  } else if (kind === 'append') {
    await fs.promises.appendFile(path, bytes);
    model.set(file, Buffer.concat([before, bytes]));
  } else if (kind === 'remove') {
    await fs.promises.unlink(path);
    model.delete(file);
  } else if (kind === 'cut') {
    const size = Math.min(before.length, at * pageSize);
    await fs.promises.truncate(path, size);
    model.set(file, before.subarray(0, size));
  } else model.set(file, await store(fs, path, { before, bytes, offset: at * pageSize }));
}

/** A store at an offset, often behind the end: what is between is a hole. */
async function store(
  fs: ClusterFs,
  path: string,
  { before, bytes, offset }: { before: Buffer; bytes: Buffer; offset: number },
): Promise<Buffer> {
  const handle = await fs.promises.open(path, 'r+');
  await handle.write(bytes, 0, bytes.length, offset);
  await handle.close();
  const after = Buffer.alloc(Math.max(before.length, offset + bytes.length));
  before.copy(after);
  bytes.copy(after, offset);
  return after;
}

/** In how many runs of pages a file lies; holes between do not count. */
function piecesOf(fs: ClusterFs, file: number): number {
  const extents = fs.extents(pathOf(file));
  return extents.filter((e, i) => {
    const before = extents[i - 1];
    return before === undefined || before.page + before.count !== e.page;
  }).length;
}

async function start(): Promise<{ node: NodeProcess; fs: ClusterFs }> {
  const node = await startNodeProcess({ memory: 64 * MiB });
  return { node, fs: await mountForTest(node) };
}
