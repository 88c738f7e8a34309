import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backend } from '../src/fs/backend.ts';
import { createFileApi } from '../src/fs/index.ts';
import { limits, piecesOf } from '../src/fs/reading.ts';
import { pageSize } from '../src/segment/index.ts';
import { backendOf, MemoryTree } from './memory-tree.ts';

let tree: MemoryTree;

beforeEach(() => {
  tree = new MemoryTree();
});
afterEach(() => tree.close());

/** Content in which every page is another byte. */
const content = (pageCount: number, seed: number) =>
  Buffer.concat(Array.from({ length: pageCount }, (_, i) => Buffer.alloc(pageSize, seed + i)));

/** A backend that runs `meddle` whenever a reader has noted the layout and is about to copy. */
function meddled(meddle: () => void) {
  return backendOf(tree, {
    get dataFd() {
      meddle();
      return tree.dataFd;
    },
  });
}

describe('pieces of a range', () => {
  const extents = [
    { filePage: 1, page: 10, count: 2 },
    { filePage: 4, page: 20, count: 1 },
  ];

  test('begin and end inside pages, with holes before, between and behind', () => {
    expect(piecesOf(extents, 100, 6 * pageSize)).toEqual([
      { at: 0, from: undefined, length: pageSize - 100 },
      { at: pageSize - 100, from: 10 * pageSize, length: 2 * pageSize },
      { at: 3 * pageSize - 100, from: undefined, length: pageSize },
      { at: 4 * pageSize - 100, from: 20 * pageSize, length: pageSize },
      { at: 5 * pageSize - 100, from: undefined, length: pageSize + 100 },
    ]);
  });

  test('are one for a range inside an extent', () => {
    expect(piecesOf(extents, 2 * pageSize + 5, 7)).toEqual([{ at: 0, from: 11 * pageSize + 5, length: 7 }]);
    expect(piecesOf(extents, 2 * pageSize, pageSize)).toEqual([
      { at: 0, from: 11 * pageSize, length: pageSize },
    ]);
  });

  test('are one hole without extents', () => {
    expect(piecesOf([], 5, 9)).toEqual([{ at: 0, from: undefined, length: 9 }]);
  });
});

test('a file scattered over the segment is read in its order, holes as zeros', () => {
  const bytes = content(5, 1);
  tree.file('/f', bytes, [40, 3, undefined, 12, 11]);
  bytes.fill(0, 2 * pageSize, 3 * pageSize);
  const fs = createFileApi(backendOf(tree));
  expect(fs.readFileSync('/f').equals(bytes)).toBe(true);
});

test('a file that moves while it is copied is copied again', () => {
  const [before, after] = [content(2, 1), content(2, 101)];
  const ino = tree.file('/f', before, [5, 6]);
  let moved = false;
  const fs = createFileApi(
    meddled(() => {
      if (moved) return;
      moved = true;
      tree.store(ino, after, [7, 8]);
    }),
  );
  expect(fs.readFileSync('/f').equals(after)).toBe(true);
});

test('pages that become another file while they are copied are not shown', async () => {
  const secret = Buffer.alloc(40 * pageSize, 0x5a);
  const ino = tree.file(
    '/f',
    content(40, 1),
    Array.from({ length: 40 }, (_, i) => 10 + i),
  );
  let reused = false;
  const fs = createFileApi(
    meddled(() => {
      if (reused) return;
      reused = true;
      tree.store(
        ino,
        content(40, 101),
        Array.from({ length: 40 }, (_, i) => 110 + i),
      );
      tree.file(
        '/secret',
        secret,
        Array.from({ length: 40 }, (_, i) => 10 + i),
      );
    }),
  );
  expect((await fs.promises.readFile('/f')).equals(content(40, 101))).toBe(true);
});

test('new times while a file is copied do not make it be copied again', () => {
  let copies = 0;
  const ino = tree.file('/f', content(1, 1), [5]);
  const fs = createFileApi(
    meddled(() => {
      copies++;
      tree.touch(ino);
    }),
  );
  expect(fs.readFileSync('/f').equals(content(1, 1))).toBe(true);
  expect(copies).toBe(1);
});

test('a file that changes at every look but one is read in the end', () => {
  let changes = 0;
  const ino = tree.file('/f', content(2, 1), [5, 6]);
  const fs = createFileApi(
    meddled(() => {
      if (changes++ < limits.wholeAttempts + 10) tree.store(ino, content(2, changes), [5, 6]);
    }),
  );
  expect(fs.readFileSync('/f').equals(content(2, limits.wholeAttempts + 10))).toBe(true);
});

test('a file that never stands still is given up with EAGAIN', () => {
  let changes = 0;
  const ino = tree.file('/f', content(1, 1), [5]);
  const fs = createFileApi(meddled(() => tree.store(ino, content(1, ++changes % 100), [5])));
  expect(() => fs.readFileSync('/f')).toThrow('EAGAIN');
});

test('a name that leads to another file by the time it is read gives that file', () => {
  tree.file('/f', content(1, 1), [5]);
  tree.file('/g', content(1, 50), [6]);
  let renamed = false;
  const fs = createFileApi(
    meddled(() => {
      if (renamed) return;
      renamed = true;
      tree.rename('/g', '/f');
    }),
  );
  expect(fs.readFileSync('/f').equals(content(1, 50))).toBe(true);
});

test('a file that is removed while it is read is not there', () => {
  tree.file('/f', content(1, 1), [5]);
  let removed = false;
  const fs = createFileApi(
    meddled(() => {
      if (!removed) tree.remove('/f');
      removed = true;
    }),
  );
  expect(() => fs.readFileSync('/f')).toThrow("ENOENT: no such file or directory, open '/f'");
});

test('a large read stops at its signal', async () => {
  tree.file(
    '/f',
    content(40, 1),
    Array.from({ length: 40 }, (_, i) => 10 + i),
  );
  const controller = new AbortController();
  const fs = createFileApi(meddled(() => controller.abort()));
  const { signal } = controller;
  await expect(fs.promises.readFile('/f', { signal })).rejects.toMatchObject({
    name: 'AbortError',
    code: 'ABORT_ERR',
  });
});

test('reads of one handle under way together do not spoil each other', async () => {
  const pages = Array.from({ length: 40 }, (_, i) => 10 + i);
  const moved = pages.map((page) => page + 100);
  const ino = tree.file('/f', content(40, 1), pages);
  const request = (async () => ({
    handle: 1,
    ino,
    generation: 1,
    created: false,
  })) as unknown as Backend['request'];
  const event = () => undefined;
  const fs = createFileApi(backendOf(tree, { request, event }));
  const handle = await fs.promises.open('/f');
  const [first, second] = [Buffer.alloc(40 * pageSize), Buffer.alloc(40 * pageSize)];
  const reading = handle.read(first, 0, first.length, 0);
  tree.store(ino, content(40, 101), moved);
  tree.file('/secret', Buffer.alloc(40 * pageSize, 0x5a), pages);
  await Promise.all([reading, handle.read(second, 0, second.length, 0)]);
  expect([first.equals(content(40, 101)), second.equals(content(40, 101))]).toEqual([true, true]);
  await handle.close();
});
