/** What the descriptors that a client is given let it do: read metadata and never write it. */
import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { native } from '@cluster-fs/transport';
import { mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startNodeProcess } from '../chaos/node-process.ts';
import { openRawSession } from '../chaos/raw-session.mjs';

const pageSize = 4096;

describe('the metadata of a segment', () => {
  test('cannot be mapped to write, by the descriptor or by opening it again', async () => {
    const { meta } = await openAs('rw');
    for (const fd of [meta, reopened(meta, constants.O_RDWR)]) {
      const map = () => native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read-write' });
      expect(map).toThrow(expect.objectContaining({ code: expect.stringMatching(/^(EPERM|EACCES)$/) }));
    }
  });

  test('cannot be made writable after it was mapped to read', async () => {
    const { meta } = await openAs('rw');
    for (const fd of [meta, reopened(meta, constants.O_RDWR)]) {
      const address = native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read' });
      expect(() => native.protectMapping(address, pageSize, 'read-write')).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^(EPERM|EACCES)$/) }),
      );
      native.unmap(address, pageSize);
    }
  });

  test('cannot be written, cut, grown, or punched', async () => {
    const { meta } = await openAs('rw');
    for (const fd of [meta, reopened(meta, constants.O_RDWR)]) {
      for (const change of [
        () => writeSync(fd, Buffer.alloc(8), 0, 8, 0),
        () => ftruncateSync(fd, 0),
        () => ftruncateSync(fd, 2 ** 40),
        () => native.punchHole(fd, 0, pageSize),
        () => native.allocateRange(fd, 2 ** 40, pageSize),
      ]) {
        expect(change).toThrow(
          expect.objectContaining({ code: expect.stringMatching(/^(EPERM|EACCES|EBADF)$/) }),
        );
      }
    }
  });

  test('stays as it is for others whatever was tried', async () => {
    const { node, meta } = await openAs('rw');
    const fs = await mount(node.url);
    onTestFinished(() => fs.unmount());
    await fs.promises.writeFile('/file', 'content');
    expect(() => writeSync(meta, Buffer.alloc(pageSize), 0, pageSize, 0)).toThrow();
    expect(await fs.promises.readFile('/file', 'utf8')).toBe('content');
    expect(await fs.check()).toEqual([]);
  });
});

describe('a session that was opened to read', () => {
  test('has no descriptor that can store', async () => {
    const { meta, data } = await openAs('r');
    expect(accessOf(data)).toBe(constants.O_RDONLY);
    expect(() => writeSync(data, Buffer.alloc(1))).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => native.mapFile({ fd: data, offset: 0, length: pageSize, protection: 'read-write' })).toThrow(
      expect.objectContaining({ code: 'EACCES' }),
    );
    expect(() =>
      native.mapFile({ fd: meta, offset: 0, length: pageSize, protection: 'read-write' }),
    ).toThrow();
  });

  test('is refused every change with EROFS', async () => {
    const { connection } = await openAs('r');
    const path = '/file';
    const attempts = [
      () => connection.request('mkdir', { path: '/d', mode: 0o755, recursive: false }),
      () => connection.request('mkdir', { path: '/d/e', mode: 0o755, recursive: true }),
      () => connection.request('rmdir', { path: '/directory' }),
      () => connection.request('unlink', { path }),
      () => connection.request('rename', { from: path, to: '/other' }),
      () => connection.request('link', { from: path, to: '/other' }),
      () => connection.request('symlink', { target: path, path: '/other' }),
      () => connection.request('open', { path, flags: constants.O_RDWR, mode: 0 }),
      () => connection.request('open', { path: '/new', flags: constants.O_CREAT, mode: 0 }),
      () => connection.request('open', { path, flags: constants.O_TRUNC, mode: 0 }),
      () => connection.request('put', { path, flags: 0o1101, mode: 0, size: 0, runs: [] }),
      () => connection.request('setAttributes', { path, follow: true, syscall: 'chmod', mode: 0 }),
      () => connection.request('setAttributes', { path, follow: true, syscall: 'truncate', size: 0 }),
      () => connection.request('remove', { path }),
      () => connection.request('move', { path, progress: false }),
      () => connection.request('reserve', { pages: 1 }),
      () => connection.request('defrag', { progress: false }),
      () => connection.request('drain', { node: 'a', progress: false }),
      () => connection.request('rebalance', { dryRun: false, progress: false }),
      () => connection.request('lease', { path, mode: 'rw', follow: 'live', offset: 0 }),
    ];
    const codes = await Promise.all(
      attempts.map((attempt) =>
        attempt().then(
          () => 'done',
          (error) => error.code,
        ),
      ),
    );
    expect(codes).toEqual(attempts.map(() => 'EROFS'));
  });

  test('reads what others write', async () => {
    const { node } = await openAs('r');
    const reader = await mount(node.url, { access: 'r' });
    const writer = await mount(node.url);
    onTestFinished(async () => {
      await reader.unmount();
      await writer.unmount();
    });
    await writer.promises.writeFile('/file', 'one');
    const view = await reader.map('/file', { reserve: pageSize });
    await writer.promises.writeFile('/file', 'three');
    await expect.poll(() => Buffer.from(view.bytes).toString()).toBe('three');
    await expect(reader.promises.writeFile('/file', 'x')).rejects.toMatchObject({ code: 'EROFS' });
    await expect(reader.map('/file', { mode: 'rw' })).rejects.toMatchObject({ code: 'EROFS' });
  });
});

async function openAs(access: 'r' | 'rw') {
  const node = await startNodeProcess();
  const fs = await mount(node.url);
  await fs.promises.writeFile('/file', 'content');
  await fs.promises.mkdir('/directory');
  await fs.unmount();
  const { connection, descriptors, close } = await openRawSession(node.socketPath, { hello: { access } });
  onTestFinished(close);
  const [meta = -1, data = -1] = descriptors;
  return { node, connection, meta, data };
}

/** The same file, opened once more through /proc: what a client of the same user can always do. */
function reopened(fd: number, flags: number): number {
  const again = openSync(`/proc/self/fd/${fd}`, flags);
  onTestFinished(() => closeSync(again));
  return again;
}

/** O_RDONLY, O_WRONLY or O_RDWR, as the kernel has it. */
function accessOf(fd: number): number {
  const flags = /^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
  return Number.parseInt(flags, 8) & 3;
}
