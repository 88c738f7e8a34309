import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { deflate } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import * as native from '../src/native.ts';
import { type Here, inProcess, inThread } from './native-elsewhere.ts';

const { pageSize } = native;
const bothWays = { missing: true, writeProtect: true };

/** A file and a mapping of it in which touches of absent pages, and stores into protected ones, wait. */
interface Scene {
  readonly uffd: number;
  readonly fd: number;
  readonly address: number;
  readonly length: number;
  /** The file itself, mapped where nothing waits. */
  readonly file: Uint8Array;
}

function scene(pages: number, options?: { remapEvents: boolean }): Scene {
  const { fd: uffd } = native.createUserfault(options);
  const length = pages * pageSize;
  const fd = native.createMemfd('userfault-test', 4 * length);
  const address = native.mapFile({ fd, offset: 0, length, protection: 'read-write' });
  const fileAddress = native.mapFile({ fd, offset: 0, length: 4 * length, protection: 'read-write' });
  onTestFinished(() => {
    native.closeDescriptor(uffd); // whoever still waits goes on
    native.closeDescriptor(fd);
    native.unmap(fileAddress, 4 * length);
  });
  native.registerUserfault(uffd, address, length, bothWays);
  const file = new Uint8Array(native.arrayBufferAt(fileAddress, 4 * length));
  return { uffd, fd, address, length, file };
}

/** The next event of a userfaultfd, waited for on the event loop. */
function nextEvent(uffd: number): Promise<native.UserfaultEvent> {
  return new Promise((resolve) => {
    const poll = native.pollDescriptor(uffd, () => {
      const [event] = native.readUserfaultEvents(uffd, 1);
      if (event === undefined) return;
      poll.close();
      resolve(event);
    });
    onTestFinished(() => poll.close());
    poll.watch({ readable: true, writable: false });
  });
}

/** Tells what it reads at an address. */
const reader = ({ native, tell }: Here, at: number) => tell(new Uint8Array(native.arrayBufferAt(at, 1))[0]);

/** Stores 77 at an address, then says so. */
const writer = ({ native, tell }: Here, at: number) => {
  new Uint8Array(native.arrayBufferAt(at, 1))[0] = 77;
  tell('stored');
};

/** A page of memory, filled. */
function pageOf(value: number, pages = 1): number {
  const length = pages * pageSize;
  const address = native.reserveAddressRange(length);
  native.mapAnonymous({ address, length, protection: 'read-write' });
  onTestFinished(() => native.unmap(address, length));
  new Uint8Array(native.arrayBufferAt(address, length)).fill(value);
  return address;
}

test('a userfaultfd says what it can', () => {
  const { fd, kernelFaults, features } = native.createUserfault();
  const wanted = { pageFaultFlagWp: 1 << 0, missingShmem: 1 << 5, minorShmem: 1 << 10, wpShmem: 1 << 12 };
  for (const bit of Object.values(wanted)) expect(features & bit).toBe(bit);
  expect(kernelFaults).toBeTypeOf('boolean');
  expect(native.readUserfaultEvents(fd)).toEqual([]);
  native.closeDescriptor(fd);
});

describe('a touch of an absent page', () => {
  test('waits until the page is there', async () => {
    const { uffd, address, file } = scene(4);
    const thread = inThread(reader, address + pageSize + 5);
    expect(await nextEvent(uffd)).toMatchObject({
      type: 'fault',
      address: address + pageSize,
      write: false,
      writeProtect: false,
      minor: false,
    });
    const filled = native.copyUserfault(uffd, {
      address: address + pageSize,
      source: pageOf(9),
      length: pageSize,
    });
    expect(filled).toBe(pageSize);
    expect(await thread.heard()).toBe(9);
    expect(file[pageSize]).toBe(9);
  });

  test('tells a store and the thread that makes it', async () => {
    const { uffd, address } = scene(1);
    const thread = inThread(writer, address);
    const event = await nextEvent(uffd);
    expect(event).toMatchObject({ type: 'fault', write: true });
    expect(event).not.toMatchObject({ threadId: process.pid });
    expect(event).not.toMatchObject({ threadId: 0 });
    native.zeroUserfault(uffd, address, pageSize);
    expect(await thread.heard()).toBe('stored');
  });

  test('waits for a wake-up that is asked for apart', async () => {
    const { uffd, address } = scene(1);
    const thread = inThread(reader, address);
    await nextEvent(uffd);
    native.copyUserfault(uffd, { address, source: pageOf(3), length: pageSize, wake: false });
    expect(native.readUserfaultEvents(uffd)).toEqual([]);
    native.wakeUserfault(uffd, address, pageSize);
    expect(await thread.heard()).toBe(3);
  });

  test('finds zeros when nobody watches the range any more', async () => {
    const { uffd, address, length } = scene(1);
    const thread = inThread(reader, address);
    await nextEvent(uffd);
    native.unregisterUserfault(uffd, address, length);
    expect(await thread.heard()).toBe(0);
  });
});

describe('filling pages', () => {
  test('stops before one that is present, and says 0 there', () => {
    const { uffd, address, file } = scene(4);
    const source = pageOf(5, 4);
    file[2 * pageSize] = 1;
    const rest = { address, source, length: 4 * pageSize };
    expect(native.copyUserfault(uffd, rest)).toBe(2 * pageSize);
    const there = address + 2 * pageSize;
    expect(native.copyUserfault(uffd, { ...rest, address: there, length: 2 * pageSize })).toBe(0);
    expect(native.zeroUserfault(uffd, there, pageSize)).toBe(0);
    expect(file[2 * pageSize]).toBe(1);
  });

  test('is refused where nothing is registered, and for anything but pages', () => {
    const { uffd, fd, address, length } = scene(1);
    const source = pageOf(1);
    const elsewhere = native.mapFile({ fd, offset: length, length, protection: 'read-write' });
    expect(() => native.copyUserfault(uffd, { address: elsewhere, source, length })).toThrow(/ENOENT.*ioctl/);
    expect(() => native.copyUserfault(uffd, { address: address + 1, source, length })).toThrow(/EINVAL/);
    expect(() => native.copyUserfault(uffd, { address, source: 0, length })).toThrow(/EFAULT/);
    native.unmap(elsewhere, length);
  });

  test('continues a minor fault, of a page that the file has', async () => {
    const { uffd, fd, length, file } = scene(1);
    const address = native.mapFile({ fd, offset: length, length, protection: 'read-write' });
    native.registerUserfault(uffd, address, length, { minor: true });
    file[length] = 6;
    const thread = inThread(reader, address);
    expect(await nextEvent(uffd)).toMatchObject({ type: 'fault', minor: true });
    expect(native.continueUserfault(uffd, address, length)).toBe(length);
    expect(await thread.heard()).toBe(6);
    expect(native.continueUserfault(uffd, address, length)).toBe(0);
  });
});

describe('a mapping of a read-only descriptor', () => {
  test('cannot be registered', () => {
    const { uffd, fd, length } = scene(1);
    const readOnly = openSync(`/proc/self/fd/${fd}`, 'r');
    const address = native.mapFile({ fd: readOnly, offset: 0, length, protection: 'read' });
    expect(() => native.registerUserfault(uffd, address, length, { missing: true })).toThrow(/EPERM.*ioctl/);
    native.unmap(address, length);
    native.closeDescriptor(readOnly);
  });
});

describe('a move under a writer', () => {
  test('loses no store: it waits, and lands in the new place', async () => {
    const { uffd, fd, address, length, file } = scene(16);
    file.fill(1, 0, length);
    native.writeProtectUserfault(uffd, address, length, true);
    const thread = inThread(writer, address + 5);
    expect(await nextEvent(uffd)).toMatchObject({ type: 'fault', address, write: true, writeProtect: true });

    await native.copyInFile({ fd, from: 0, to: length, length });
    native.mapFile({ fd, offset: length, length, protection: 'read-write', address });
    native.wakeUserfault(uffd, address, length);

    expect(await thread.heard()).toBe('stored');
    expect([file[5], file[length + 5], file[length + 6]]).toEqual([1, 77, 1]);
  });

  test('lets a store go on when it is called off', async () => {
    const { uffd, address, length, file } = scene(2);
    file.fill(1, 0, length);
    native.writeProtectUserfault(uffd, address, length, true);
    const thread = inThread(writer, address);
    await nextEvent(uffd);
    native.writeProtectUserfault(uffd, address, length, false);
    expect(await thread.heard()).toBe('stored');
    expect(file[0]).toBe(77);
  });

  test('protects at once what is registered, and says so where something is not', async () => {
    const { uffd, address, length, file } = scene(3);
    file.fill(1, 0, length);
    native.unregisterUserfault(uffd, address + 2 * pageSize, pageSize);
    expect(native.protectRegistered(uffd, address, length)).toBe(false);
    expect(native.protectRegistered(uffd, address + 2 * pageSize, pageSize)).toBe(false);
    native.writeProtectUserfault(uffd, address, 2 * pageSize, false);
    expect(native.protectRegistered(uffd, address, 2 * pageSize)).toBe(true);
    const thread = inThread(writer, address + pageSize);
    expect(await nextEvent(uffd)).toMatchObject({ address: address + pageSize, writeProtect: true });
    native.writeProtectUserfault(uffd, address, 2 * pageSize, false);
    expect(await thread.heard()).toBe('stored');
    expect(() => native.protectRegistered(uffd, address + 1, pageSize)).toThrow(/EINVAL/);
  });

  test('holds a reader of a page that was punched until its mapping is replaced', async () => {
    const { uffd, fd, address, length, file } = scene(2);
    file.fill(1, 0, length).fill(2, length, 2 * length);
    native.punchHole(fd, 0, length);
    const thread = inThread(reader, address + 9);
    expect(await nextEvent(uffd)).toMatchObject({ type: 'fault', address, write: false });
    native.mapFile({ fd, offset: length, length, protection: 'read-write', address });
    native.wakeUserfault(uffd, address, length);
    expect(await thread.heard()).toBe(2);
  });

  test('takes registration and protection along from a staging address', async () => {
    const { uffd, fd, address, length, file } = scene(2, { remapEvents: true });
    file.fill(2, length, 2 * length);
    const staging = native.mapFile({ fd, offset: length, length, protection: 'read-write' });
    native.registerUserfault(uffd, staging, length, bothWays);
    native.writeProtectUserfault(uffd, staging, length, true);
    // It waits until its event is read, so it cannot be the thread that reads.
    const mover = inThread(({ native, tell }, move) => tell(native.moveMapping(move)), {
      from: staging,
      to: address,
      length,
    });
    expect(await nextEvent(uffd)).toEqual({ type: 'remap', from: staging, to: address, length });
    expect(await mover.heard()).toBe(address);

    const thread = inThread(writer, address);
    expect(await nextEvent(uffd)).toMatchObject({ address, writeProtect: true });
    native.writeProtectUserfault(uffd, address, length, false);
    await thread.heard();
    expect(file[length]).toBe(77);
  });
});

test('registration and protection outlive a pause, also of pages that were stored into', async () => {
  const { uffd, fd, address, length, file } = scene(4);
  file.fill(1, 0, length);
  native.punchHole(fd, 3 * pageSize, pageSize);
  native.guardRange(address, length, 'paused');
  onTestFinished(() => native.unguardRange(address));
  new Uint8Array(native.arrayBufferAt(address, length))[pageSize] = 2;
  native.writeProtectUserfault(uffd, address, 2 * pageSize, true);
  expect(native.pauseGuarded(address, length)).toBe(true);
  // What a node does to a view that is paused.
  native.writeProtectUserfault(uffd, address + 2 * pageSize, pageSize, true);
  native.resumeGuarded(address, length, 'read-write');
  for (const page of [0, 1, 2]) {
    const thread = inThread(writer, address + page * pageSize);
    expect(await nextEvent(uffd)).toMatchObject({ address: address + page * pageSize, writeProtect: true });
    native.writeProtectUserfault(uffd, address + page * pageSize, pageSize, false);
    expect(await thread.heard()).toBe('stored');
  }
  const thread = inThread(reader, address + 3 * pageSize);
  expect(await nextEvent(uffd)).toMatchObject({ address: address + 3 * pageSize, writeProtect: false });
  native.zeroUserfault(uffd, address + 3 * pageSize, pageSize);
  expect(await thread.heard()).toBe(0);
});

test('polls and fills go on while every thread of the pool waits in a fault', async () => {
  const { uffd, address, file } = scene(64);
  const source = pageOf(8);
  const page = (i: number) => new Uint8Array(native.arrayBufferAt(address + i * pageSize, pageSize));
  // As many as the pool has threads, and more that queue behind them: zlib reads what it packs there.
  const readers = Array.from({ length: 64 }, (_, i) => promisify(deflate)(page(i)));
  const poll = native.pollDescriptor(uffd, () => {
    for (const event of native.readUserfaultEvents(uffd)) {
      if (event.type === 'fault')
        native.copyUserfault(uffd, { address: event.address, source, length: pageSize });
    }
  });
  poll.watch({ readable: true, writable: false });
  await Promise.all(readers);
  poll.close();
  expect([file[0], file[63 * pageSize]]).toEqual([8, 8]);
});

test('another process hands its memory over, and is paged from here', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'userfault-'));
  const path = join(folder, 's');
  const listener = native.listenUnix(path);
  onTestFinished(() => {
    native.closeDescriptor(listener);
    rmSync(folder, { recursive: true });
  });
  const child = inProcess(
    async ({ native, tell, told }, { path }) => {
      const length = 4 * native.pageSize;
      const fd = native.createMemfd('paged', length);
      const address = native.mapFile({ fd, offset: 0, length, protection: 'read-write' });
      const userfault = native.createUserfault();
      native.sendMessage(native.connectUnix(path), new Uint8Array(1), 0, 1, [userfault.fd]);
      tell({ address, length });
      await told();
      // Its only thread waits here.
      tell(new Uint8Array(native.arrayBufferAt(address, length))[0]);
    },
    { path },
  );
  const { address, length } = (await child.heard()) as { address: number; length: number };
  const socket = native.acceptUnix(listener) ?? -1;
  const received: number[] = [];
  native.receiveMessage(socket, new Uint8Array(1), received);
  const [uffd = -1] = received;
  native.registerUserfault(uffd, address, length, bothWays);
  child.say('read');
  expect(await nextEvent(uffd)).toMatchObject({ type: 'fault', address });
  native.copyUserfault(uffd, { address, source: pageOf(4), length: pageSize });
  expect(await child.heard()).toBe(4);
  await child.ended;
  expect(() => native.registerUserfault(uffd, address, length, bothWays)).toThrow(/ENOMEM|ESRCH/);
  expect(() => native.copyUserfault(uffd, { address, source: pageOf(4), length: pageSize })).toThrow(
    /ESRCH|ENOSPC/,
  );
  for (const fd of [socket, uffd]) native.closeDescriptor(fd);
});
