/** A tmpfs that is full before the segment is: ENOSPC, never SIGBUS, and removing files makes room. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const full = { code: 'ENOSPC' };
const canMount = process.getuid?.() === 0;

// Only root may mount a tmpfs of its own size; without one there is nothing here to test.
describe.skipIf(!canMount)(
  'a full tmpfs (needs root, to mount one)',
  () => {
    test('refuses every way to take more, and changes nothing', async () => {
      const { fs, contents } = await fillUp();
      const { promises: files } = fs;
      await files.truncate('/file-0', 0).catch(() => undefined);
      contents.delete('/file-0');
      const attempts: Record<string, () => Promise<unknown>> = {
        'a new file': () => files.writeFile('/new', Buffer.alloc(4 * MiB)),
        'a replacement': () => files.writeFile('/file-1', Buffer.alloc(4 * MiB, 7)),
        'an append': () => files.appendFile('/file-1', Buffer.alloc(4 * MiB)),
        'a view to write over holes': async () => {
          await files.truncate('/file-0', 8 * MiB);
          await fs.map('/file-0', { mode: 'rw' });
        },
      };
      for (const [what, attempt] of Object.entries(attempts)) {
        await expect(attempt(), what).rejects.toMatchObject(full);
        expect(await fs.check(), what).toEqual([]);
      }
      await expectContents(fs, contents);
    });

    test('never kills who stores through a view', async () => {
      const { node, fs } = await startOnTmpfs();
      await fs.promises.writeFile('/mapped', Buffer.alloc(MiB));
      const view = await fs.map('/mapped', { mode: 'rw', reserve: 4 * MiB });
      await fillWith(fs, new Map());
      view.bytes.fill(3);
      await fs.promises
        .truncate('/mapped', 2 * MiB)
        .catch((error: unknown) => expect(error).toMatchObject(full));
      view.bytes.fill(4);
      await fs.promises.truncate('/mapped', 100).catch((error: unknown) => expect(error).toMatchObject(full));
      new Uint8Array(view.buffer).fill(5);
      expect((await fs.promises.readFile('/mapped')).every((byte) => byte === 5)).toBe(true);
      expect(node.errors).toEqual([]);
    });

    test('has room again when files are removed', async () => {
      const { node, fs, contents } = await fillUp();
      for (const path of ['/file-0', '/file-1', '/file-2', '/file-3']) {
        await fs.promises.unlink(path);
        contents.delete(path);
      }
      await fs.promises.writeFile('/again', Buffer.alloc(2 * MiB, 9));
      await fs.move('/again');
      expect((await fs.promises.readFile('/again')).equals(Buffer.alloc(2 * MiB, 9))).toBe(true);
      await expectContents(fs, contents);
      expect(await fs.check()).toEqual([]);
      expect(node.errors).toEqual([]);
    });

    test('has room again however often it was filled', async () => {
      const { node, fs, contents } = await fillUp();
      for (let round = 0; round < 8; round++) {
        const [path] = [...contents.keys()].slice(-1);
        await fs.promises.unlink(path ?? '');
        contents.delete(path ?? '');
        await fillWith(fs, contents);
      }
      await fs.promises.truncate('/file-1', 0);
      contents.delete('/file-1');
      await expectContents(fs, contents);
      for (const path of contents.keys()) await fs.promises.unlink(path);
      expect(await fs.check()).toEqual([]);
      expect(node.errors).toEqual([]);
    });

    test('does not keep a killed node from starting again', async () => {
      const { node, fs, contents } = await fillUp();
      await node.kill();
      await node.start();
      await expectContents(fs, contents);
      await fs.promises.unlink('/file-0');
      contents.delete('/file-0');
      expect(await fs.check()).toEqual([]);
      await expectContents(fs, contents);
    });

    test('that is smaller than what was promised is enough for files of a store', async () => {
      const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
      onTestFinished(() => rmSync(store, { recursive: true, force: true }));
      const { node, fs } = await startOnTmpfs({ store });
      expect(node.notices.join()).toContain(
        '64 MiB promised, tmpfs has 24 MiB: what is more stays in the store',
      );
      const contents = new Map<string, Buffer>();
      for (let i = 0; i < 15; i++) {
        contents.set(`/file-${i}`, Buffer.alloc(4 * MiB, `file ${i}`));
        await fs.promises.writeFile(`/file-${i}`, contents.get(`/file-${i}`) as Buffer);
      }
      await expectContents(fs, contents);
      for (const [path, content] of contents) {
        const view = await fs.map(path, { mode: 'rw' });
        view.bytes[MiB] = 7;
        content[MiB] = 7;
        expect(content.equals(view.bytes), path).toBe(true);
        view.close();
      }
      await expectContents(fs, contents);
      expect(await fs.check()).toEqual([]);
      expect(node.errors).toEqual([]);
    });

    describe('by others, with a store', () => {
      const count = 12;
      const pathOf = (i: number): string => `/file-${i}`;
      const contentOf = (i: number): Buffer => Buffer.alloc(MiB, `content of ${i}`);

      /** Files of which the first is not in memory; then somebody else takes what tmpfs has left. */
      async function startAndFill() {
        const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
        onTestFinished(() => rmSync(store, { recursive: true, force: true }));
        const { node, fs, home } = await startOnTmpfs({ store, memory: 16 * MiB });
        for (let i = 0; i < count; i++) await fs.promises.writeFile(pathOf(i), contentOf(i));
        await fs.sync();
        await fs.evict(pathOf(0));
        const fd = openSync(join(home, 'others'), 'w');
        const bytes = Buffer.alloc(4096, 'others');
        expect(() => {
          for (;;) writeSync(fd, bytes);
        }).toThrow('ENOSPC');
        closeSync(fd);
        return { node, fs };
      }

      test('lets who comes mount, who touches what is absent have it, and other files go', async () => {
        const { node, fs } = await startAndFill();
        const late = await mount(node.url);
        onTestFinished(() => late.unmount());
        for (let i = 0; i < count; i++) {
          const view = await fs.map(pathOf(i), { mode: 'rw' });
          expect(contentOf(i).equals(view.bytes), pathOf(i)).toBe(true);
          view.bytes[7] = i;
          view.close();
        }
        for (let i = 0; i < count; i++) {
          const expected = contentOf(i);
          expected[7] = i;
          expect((await fs.promises.readFile(pathOf(i))).equals(expected), pathOf(i)).toBe(true);
        }
        expect(await fs.check()).toEqual([]);
        expect(node.errors).toEqual([]);
      });

      test('lets who writes have room, and says whose it is when there is none', async () => {
        const { node, fs } = await startAndFill();
        await fs.promises.writeFile('/new', contentOf(77));
        expect((await fs.promises.readFile('/new')).equals(contentOf(77))).toBe(true);
        for (let i = 0; i < count; i++) await fs.pin(pathOf(i)).catch(() => undefined);
        await expect(fs.promises.writeFile('/large', Buffer.alloc(14 * MiB))).rejects.toMatchObject({
          code: 'ENOSPC',
          message: expect.stringContaining('others have filled tmpfs'),
        });
        expect(node.errors).toEqual([]);
      });
    });
  },
  30_000,
);

async function startOnTmpfs(
  options: Parameters<typeof startNodeProcess>[0] = {},
): Promise<{ node: NodeProcess; fs: ClusterFs; home: string }> {
  const home = mkdtempSync(join(tmpdir(), 'clusterfs-tmpfs-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=0700', 'clusterfs-test', home]);
  onTestFinished(() => {
    // Lazily: a mapping of this process may still be there.
    execFileSync('umount', ['--lazy', home]);
    rmdirSync(home);
  });
  const node = await startNodeProcess({ memory: 64 * MiB, runDirectory: join(home, 'run'), ...options });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return { node, fs, home };
}

async function fillUp() {
  const { node, fs } = await startOnTmpfs();
  const contents = new Map<string, Buffer>();
  await fillWith(fs, contents);
  return { node, fs, contents };
}

/** Files of a megabyte, then of a page, until both get ENOSPC. */
async function fillWith(fs: ClusterFs, contents: Map<string, Buffer>): Promise<void> {
  for (const size of [MiB, 4096]) {
    for (let refused: unknown; refused === undefined; ) {
      const path = `/file-${contents.size}`;
      const content = Buffer.alloc(size, path);
      refused = await fs.promises.writeFile(path, content).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused === undefined) contents.set(path, content);
      else expect(refused).toMatchObject(full);
    }
  }
}

async function expectContents(fs: ClusterFs, contents: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [path, content] of contents) {
    expect((await fs.promises.readFile(path)).equals(content), path).toBe(true);
  }
}
