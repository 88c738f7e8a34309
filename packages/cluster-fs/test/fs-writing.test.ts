import { readSync } from 'node:fs';
import { FsError, type Run, shortWriteBytes } from '@cluster-fs/transport';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Backend } from '../src/fs/backend.ts';
import { createFileApi } from '../src/fs/index.ts';
import { pageSize } from '../src/segment/index.ts';
import { backendOf, freeAccess, MemoryTree, pageSource } from './memory-tree.ts';

let tree: MemoryTree;

beforeEach(() => {
  tree = new MemoryTree();
});
afterEach(() => tree.close());

function deferred<T>() {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

type Asked = [name: string, fields: Record<string, unknown>];

/** A node that notes what it is asked, and answers with `answer`. */
function node(answer: (name: string, fields: Record<string, unknown>) => unknown) {
  const asked: Asked[] = [];
  const request = (async (name: string, fields: Record<string, unknown>) => {
    asked.push([name, fields]);
    return answer(name, fields);
  }) as Backend['request'];
  return { asked, request };
}

function pageAt(page: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(tree.dataFd, bytes, 0, length, page * pageSize);
  return bytes;
}

test('writeFile fills pages of its own and puts them in one request', async () => {
  const pages = pageSource(30);
  const { asked, request } = node(() => ({ ino: 5, layoutVersion: 1 }));
  const fs = createFileApi(backendOf(tree, { ...pages, request }));
  await fs.promises.writeFile('/f', 'content', { mode: 0o600 });
  expect(asked).toMatchObject([
    ['put', { path: '/f', size: 7, mode: 0o600, runs: [{ page: 30, count: 1 }] }],
  ]);
  expect(pageAt(30, 7).toString()).toBe('content');
});

test('pages go back when the node refuses them, and when a large write is aborted', async () => {
  const pages = pageSource(30);
  const { request } = node((_name, { path }) => {
    throw new FsError('EISDIR', 'open', { path: String(path) });
  });
  const fs = createFileApi(backendOf(tree, { ...pages, request }));
  await expect(fs.promises.writeFile('/d', 'x')).rejects.toThrow(
    "EISDIR: illegal operation on a directory, open '/d'",
  );
  expect(pages.given).toEqual([{ page: 30, count: 1 }]);

  const controller = new AbortController();
  const writing = fs.promises.writeFile('/f', Buffer.alloc(100 * pageSize), { signal: controller.signal });
  controller.abort();
  await expect(writing).rejects.toMatchObject({ name: 'AbortError' });
  expect(pages.given).toEqual([
    { page: 30, count: 1 },
    { page: 31, count: 100 },
  ]);
});

/** A node with one open empty file. */
function openFile(more: (name: string, fields: Record<string, unknown>) => unknown = () => ({})) {
  const ino = tree.file('/f', Buffer.alloc(0), []);
  const pages = pageSource(30);
  const { asked, request } = node((name, fields) =>
    name === 'open' ? { handle: 77, ino, generation: 1, created: false } : more(name, fields),
  );
  const event = vi.fn();
  const fs = createFileApi(
    backendOf(tree, { ...pages, request, event: event as unknown as Backend['event'] }),
  );
  return { fs, asked, pages, event, ino };
}

test('open, a first write and close are two requests and an event', async () => {
  const { fs, asked, event } = openFile();
  const handle = await fs.promises.open('/f', 'w');
  await handle.write('first');
  await handle.close();
  expect(asked.map(([name]) => name)).toEqual(['open', 'attachPages']);
  expect(asked[1]).toMatchObject(['attachPages', { handle: 77, offset: 0, length: 5 }]);
  expect(event).toHaveBeenCalledExactlyOnceWith('close', { handle: 77 });
});

test('close waits for the writes before it', async () => {
  const answered = deferred<object>();
  const { fs, event } = openFile(() => answered.promise);
  const handle = await fs.promises.open('/f', 'w');
  const writing = handle.write('x');
  const closing = handle.close();
  await Promise.resolve();
  expect(event).not.toHaveBeenCalled();
  answered.resolve({});
  await Promise.all([writing, closing]);
  expect(event).toHaveBeenCalledOnce();
  await expect(handle.stat()).rejects.toMatchObject({ code: 'EBADF', message: 'file closed' });
});

test('a write that lost its grant is made again, an append where the second grant says', async () => {
  let grants = 0;
  const { fs, asked } = openFile((name) => {
    if (name === 'writeBegin') {
      grants++;
      return { grant: grants, offset: 10 * grants, extents: [{ filePage: 0, page: 50, count: 4 }] };
    }
    if (grants === 1) throw new FsError('ESTALE', 'write');
    return { size: 25 };
  });
  const handle = await fs.promises.open('/f', 'a');
  const long = Buffer.from('later'.padEnd(shortWriteBytes + 1));
  expect((await handle.write(long)).bytesWritten).toBe(long.length);
  expect(asked.map(([name]) => name)).toEqual(['open', 'writeBegin', 'writeEnd', 'writeBegin', 'writeEnd']);
  expect(pageAt(50, 25).toString('latin1', 20)).toBe('later');
  await handle.close();
});

test('a short write in place is one request, made again when the node had to give way', async () => {
  let times = 0;
  const { fs, asked } = openFile((name, { bytes }) => {
    if (name !== 'write') throw new FsError('EEXIST', 'write');
    expect(Buffer.from(bytes as Uint8Array).toString()).toBe('short');
    if (++times === 1) throw new FsError('ESTALE', 'write');
    return { size: 25, offset: 20 };
  });
  const appending = await fs.promises.open('/f', 'a');
  expect((await appending.write('short')).bytesWritten).toBe(5);
  await appending.close();
  const handle = await fs.promises.open('/f', 'r+');
  await handle.write('short');
  const names = ['open', 'write', 'write', 'open', 'attachPages', 'write'];
  expect(asked.map(([name]) => name)).toEqual(names);
  await handle.close();
});

test('pages that others have made meanwhile are written in place', async () => {
  const { fs, asked, pages } = openFile((name) => {
    if (name === 'attachPages') throw new FsError('EEXIST', 'write');
    return { grant: 1, offset: 0, extents: [{ filePage: 0, page: 60, count: 3 }], size: 9000 };
  });
  const handle = await fs.promises.open('/f', 'r+');
  await handle.write('here'.padEnd(9000));
  expect(asked.map(([name]) => name)).toEqual(['open', 'attachPages', 'writeBegin', 'writeEnd']);
  expect(pages.given).toEqual([{ page: 30, count: 3 }]);
  expect(pageAt(60, 4).toString()).toBe('here');
  await handle.close();
});

test('writes of one handle take turns in the order they were called', async () => {
  const order: number[] = [];
  const { fs } = openFile((name, { offset }) => {
    if (name === 'attachPages') order.push(offset as number);
    return {};
  });
  const handle = await fs.promises.open('/f', 'w');
  const page = Buffer.alloc(pageSize);
  await Promise.all([handle.write(page), handle.write(page), handle.write(page)]);
  expect(order).toEqual([0, pageSize, 2 * pageSize]);
  await handle.close();
});

test('a handle is opened again when the node was started again, and must be the same file', async () => {
  const ino = tree.file('/f', Buffer.alloc(0), []);
  let incarnation = 1;
  let generation = 1;
  const { asked, request } = node((name, { handle }) => {
    if (name === 'open') return { handle: 70 + incarnation, ino, generation, created: false };
    if (handle !== 70 + incarnation) throw new FsError('EBADF', 'ftruncate');
    return {};
  });
  const event = vi.fn() as unknown as Backend['event'];
  const special = {
    request,
    event,
    get incarnation() {
      return incarnation;
    },
  };
  const fs = createFileApi(backendOf(tree, special));
  const handle = await fs.promises.open('/f', 'w');
  incarnation = 2;
  await handle.truncate(0);
  const { O_WRONLY } = fs.constants;
  expect(asked.slice(1)).toMatchObject([
    ['open', { path: '/f', flags: O_WRONLY }],
    ['setAttributes', { handle: 72 }],
  ]);
  incarnation = 3;
  generation = 2;
  await expect(handle.truncate(0)).rejects.toMatchObject({ code: 'ESTALE', path: '/f' });
  await handle.close();
});

test('pages of a node that was started again are neither stored to nor given back', async () => {
  const before = deferred<Run[]>();
  const pages = pageSource(40);
  let incarnation = 1;
  const { asked, request } = node(() => ({ ino: 5, layoutVersion: 1 }));
  const special = {
    request,
    givePages: pages.givePages,
    takePages: (count: number) => (incarnation === 1 ? before.promise : pages.takePages(count)),
    get incarnation() {
      return incarnation;
    },
  };
  const fs = createFileApi(backendOf(tree, special));
  const writing = fs.promises.writeFile('/f', 'content');
  incarnation = 2;
  before.resolve([{ page: 30, count: 1 }]);
  await writing;
  expect(pageAt(30, 7).equals(Buffer.alloc(7))).toBe(true);
  expect(pageAt(40, 7).toString()).toBe('content');
  expect(asked).toMatchObject([['put', { runs: [{ page: 40, count: 1 }] }]]);
  expect(pages.given).toEqual([]);
});

test('a change whose answer was lost is not made again', async () => {
  let incarnation = 1;
  const { asked, request } = node(() => {
    incarnation++;
    throw new FsError('ECONNRESET', 'read');
  });
  const special = {
    ...pageSource(30),
    request,
    get incarnation() {
      return incarnation;
    },
  };
  const fs = createFileApi(backendOf(tree, special));
  await expect(fs.promises.writeFile('/f', 'x')).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(asked.length).toBe(1);
});

test('a session is told of large stores that are under way', async () => {
  const copies: Promise<void>[] = [];
  const { request } = node(() => ({ ino: 5, layoutVersion: 1 }));
  const access = { ...freeAccess, pooled: (copy: Promise<void>) => void copies.push(copy) };
  const fs = createFileApi(backendOf(tree, { ...pageSource(30), request, access }));
  await fs.promises.writeFile('/f', Buffer.alloc(100 * pageSize));
  await expect(Promise.all(copies)).resolves.toEqual([undefined]);
});

test('a read-only mount refuses every change before it asks', async () => {
  const fs = createFileApi(backendOf(tree, { readOnly: true }));
  const { promises: p } = fs;
  const changes = [
    p.writeFile('/f', 'x'),
    p.appendFile('/f', 'x'),
    p.open('/f', 'r+'),
    p.mkdir('/d'),
    p.rmdir('/d'),
    p.unlink('/f'),
    p.rename('/a', '/b'),
    p.link('/a', '/b'),
    p.symlink('a', '/b'),
    p.chmod('/', 0o700),
    p.chown('/', 1, 1),
    p.utimes('/', 1, 1),
    p.truncate('/f'),
    p.mkdtemp('/t'),
  ];
  for (const outcome of await Promise.allSettled(changes)) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'EROFS' } });
  }
  expect(() => fs.accessSync('/', fs.constants.W_OK)).toThrow("EROFS: read-only file system, access '/'");
});

test('a change after watch() waits until the node knows of the watcher', async () => {
  const order: string[] = [];
  const subscribed = deferred<() => void>();
  const { request } = node((name) => {
    order.push(name);
    return { first: undefined };
  });
  const subscribe = () => subscribed.promise;
  const fs = createFileApi(backendOf(tree, { request, subscribe }));
  const watcher = fs.watch('/');
  const made = fs.promises.mkdir('/d');
  await Promise.resolve();
  order.push('subscribed');
  subscribed.resolve(() => order.push('stopped'));
  await made;
  watcher.close();
  expect(order).toEqual(['subscribed', 'mkdir', 'stopped']);
});
