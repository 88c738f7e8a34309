import { mkdtempSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type AnyRequest, Connection, type ConnectionHandlers } from '../src/connection.ts';
import { FsError } from '../src/errors.ts';
import { encodeFrame } from '../src/frame.ts';
import * as native from '../src/native.ts';

const statusId = 64;

describe('requests', () => {
  test('get their replies, whoever answers first', async () => {
    const later: (() => void)[] = [];
    const { client } = pair({
      onRequest: ({ fields }, id, _descriptors, server) => {
        later.unshift(() => server.reply('holders', id, { holders: (fields as { path: string }).path }));
      },
    });
    const asked = ['a', 'b', 'c'].map((path) => client.request('holders', { path }));
    await vi.waitFor(() => expect(later).toHaveLength(3));
    expect(client.pendingRequests).toBe(3);
    for (const reply of later) reply();
    expect(await Promise.all(asked)).toEqual([{ holders: 'a' }, { holders: 'b' }, { holders: 'c' }]);
    expect(client.pendingRequests).toBe(0);
  });

  test('fail with the code, the paths and the reason that the peer gives', async () => {
    const { client } = pair({
      onRequest: (_request, id, _descriptors, server) =>
        server.fail(id, new FsError('EXDEV', 'rename', { path: '/a', dest: '/b', why: 'because' })),
    });
    const error = await client.request('rename', { from: '/a', to: '/b' }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(FsError);
    expect(error).toMatchObject({ code: 'EXDEV', syscall: 'rename', path: '/a', dest: '/b', why: 'because' });
    expect(error).toHaveProperty(
      'message',
      new FsError('EXDEV', 'rename', { path: '/a', dest: '/b', why: 'because' }).message,
    );
  });

  test('are all rejected when the connection ends, and none is sent after it', async () => {
    const { client, server } = pair({ onRequest: () => undefined });
    const asked = Array.from({ length: 5 }, () => client.request('status', {}));
    await vi.waitFor(() => expect(client.pendingRequests).toBe(5));
    server.close();
    for (const { reason } of (await Promise.allSettled(asked)) as PromiseRejectedResult[]) {
      expect(reason).toMatchObject({ code: 'ECONNRESET' });
    }
    await expect(client.request('status', {})).rejects.toMatchObject({ code: 'ECONNRESET' });
    client.event('close', { handle: 1 });
    expect(client.closed).toMatchObject({ code: 'ECONNRESET' });
  });

  test('are all rejected when a peer that never reads is cut off', async () => {
    const { client, server } = pair();
    server.setHandlers({ onRequest: () => undefined });
    const stuck = new Connection(deaf());
    onTestFinished(() => stuck.close());
    const path = `/${'x'.repeat(4000)}`;
    const asked = Array.from({ length: 6000 }, () => stuck.request('unlink', { path }));
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true);
    expect(stuck.closed).toMatchObject({ code: 'EPIPE' });
    expect(client.closed).toBeUndefined();
  });

  test('that are too long to send are rejected, and others go on', async () => {
    const { client } = pair({ onRequest: (_r, id, _d, server) => server.reply('unlink', id, {}) });
    const long = client.request('put', {
      path: '/x',
      flags: 0,
      mode: 0,
      size: 0,
      runs: Array.from({ length: 400_000 }, () => ({ page: 2 ** 31, count: 1 })),
    });
    await expect(long).rejects.toMatchObject({ code: 'EMSGSIZE' });
    await expect(client.request('unlink', { path: '/x' })).resolves.toEqual({});
  });
});

describe('descriptors', () => {
  test('travel with the message that names them, through full buffers and partial writes', async () => {
    const { client } = pair({
      onRequest: ({ fields }, id, descriptors, server) => {
        const seen = descriptors.map(readWord);
        for (const fd of descriptors) native.closeDescriptor(fd);
        const { path } = fields as { path: string };
        server.reply('holders', id, { holders: { path: path.length, seen } });
      },
    });
    const before = native.openDescriptorCount();
    const asked = Array.from({ length: 200 }, async (_, i) => {
      const descriptors = Array.from({ length: i % 4 }, (_unused, k) => memfdWith(i * 10 + k));
      const path = 'p'.repeat((i * 997) % 4096);
      const reply = await client.request('holders', { path }, { descriptors });
      for (const fd of descriptors) native.closeDescriptor(fd);
      expect(reply).toEqual({
        holders: { path: path.length, seen: descriptors.map((_unused, k) => i * 10 + k) },
      });
    });
    await Promise.all(asked);
    expect(native.openDescriptorCount()).toBe(before);
  });

  test('come back with a reply, or are closed when nobody takes them', async () => {
    const { client } = pair({
      onRequest: (_request, id, _descriptors, server) => {
        const fd = memfdWith(77);
        server.reply('check', id, { findings: [] }, [fd]);
        // They stay the sender's too, until the reply has left.
        setImmediate(() => native.closeDescriptor(fd));
      },
    });
    const before = native.openDescriptorCount();
    let taken: readonly number[] = [];
    await client.request(
      'check',
      {},
      {
        onDescriptors: (descriptors) => {
          taken = descriptors;
        },
      },
    );
    expect(taken.map(readWord)).toEqual([77]);
    for (const fd of taken) native.closeDescriptor(fd);
    await client.request('check', {});
    await vi.waitFor(() => expect(native.openDescriptorCount()).toBe(before));
  });

  test('that no message names are closed with the connection', async () => {
    const before = native.openDescriptorCount();
    const { clientFd, server } = halfRaw();
    const fd = memfdWith(1);
    native.sendMessage(clientFd, Buffer.alloc(3), 0, 3, [fd, fd]);
    for (const mine of [fd, clientFd]) native.closeDescriptor(mine);
    await vi.waitFor(() => expect(server.closed).toBeDefined());
    expect(native.openDescriptorCount()).toBe(before);
  });
});

describe('events', () => {
  test('arrive in order, and a batch has an end', async () => {
    const seen: number[] = [];
    const onBatchEnd = vi.fn();
    const { client } = pair({
      onEvent: (event) => {
        if (event.name === 'close') seen.push(event.fields.handle);
      },
      onBatchEnd,
    });
    for (let handle = 0; handle < 500; handle++) client.event('close', { handle });
    await vi.waitFor(() => expect(seen).toEqual(Array.from({ length: 500 }, (_, i) => i)));
    expect(onBatchEnd).toHaveBeenCalled();
  });

  test('bye is heard behind all that was sent before it, and whoever hears it closes', async () => {
    const heard: unknown[] = [];
    const { client, server } = pair();
    client.setHandlers({
      onEvent: ({ name, fields }) => {
        heard.push(fields);
        if (name === 'bye') client.close();
      },
    });
    server.setHandlers({ onClose: ({ code }) => heard.push(code) });
    server.event('progress', { request: 1, done: 1, total: 2, what: 'x'.repeat(200) });
    server.event('bye', { code: 'ECANCELED', why: 'revoked' });
    await vi.waitFor(() => expect(heard).toHaveLength(3));
    expect(heard.slice(1)).toEqual([{ code: 'ECANCELED', why: 'revoked' }, 'ECONNRESET']);
  });
});

describe('a peer that breaks the protocol', () => {
  test.each([
    ['no list', Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0xc0])],
    ['no type', encodeFrame(['x', 1], 0)],
    ['an unknown type', encodeFrame([251, 1], 0)],
    ['a reply to nothing', encodeFrame([1, 5], 0)],
    ['fields of another message', encodeFrame([42, 1, 5], 0)],
    ['descriptors that did not come', encodeFrame([statusId, 1], 2)],
  ])('by %s is cut off with EPROTO', async (_, bytes) => {
    const onRequest = vi.fn();
    const { clientFd, server } = halfRaw({ onRequest });
    onTestFinished(() => native.closeDescriptor(clientFd));
    native.sendMessage(clientFd, bytes, 0, bytes.length, []);
    await vi.waitFor(() => expect(server.closed).toMatchObject({ code: 'EPROTO' }));
    expect(onRequest).not.toHaveBeenCalled();
  });
});

type Handlers = Omit<ConnectionHandlers, 'onRequest'> & {
  onRequest?: (request: AnyRequest, id: number, descriptors: readonly number[], server: Connection) => void;
};

/** Two descriptors, one socket. */
function socketPair(): [number, number] {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-connection-'));
  const path = join(directory, 's');
  const listener = native.listenUnix(path);
  const client = native.connectUnix(path);
  const server = native.acceptUnix(listener) ?? -1;
  native.closeDescriptor(listener);
  rmSync(directory, { recursive: true });
  return [client, server];
}

function pair(handlers: Handlers = {}): { client: Connection; server: Connection } {
  const [clientFd, serverFd] = socketPair();
  const client = new Connection(clientFd);
  const server = serve(serverFd, handlers);
  onTestFinished(() => client.close());
  return { client, server };
}

/** A connection whose other end is a bare descriptor. */
function halfRaw(handlers: Handlers = {}): { clientFd: number; server: Connection } {
  const [clientFd, serverFd] = socketPair();
  return { clientFd, server: serve(serverFd, handlers) };
}

function serve(fd: number, { onRequest, ...others }: Handlers): Connection {
  const server: Connection = new Connection(fd, {
    ...others,
    onRequest: (request, id, descriptors) => onRequest?.(request, id, descriptors, server),
  });
  onTestFinished(() => server.close());
  return server;
}

/** One end of a socket whose other end nobody reads. */
function deaf(): number {
  const [client, server] = socketPair();
  onTestFinished(() => native.closeDescriptor(server));
  return client;
}

function memfdWith(word: number): number {
  const fd = native.createMemfd('word', 4);
  writeSync(fd, Uint32Array.of(word), 0, 4, 0);
  return fd;
}

function readWord(fd: number): number {
  const word = new Uint32Array(1);
  readSync(fd, word, 0, 4, 0);
  return word[0] ?? -1;
}
