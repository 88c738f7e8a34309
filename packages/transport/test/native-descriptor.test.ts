import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import * as native from '../src/native.ts';
import { inProcess } from './native-elsewhere.ts';

const { pageSize } = native;
let folder = '';
let path = '';
let descriptorsBefore = 0;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'native-'));
  path = join(folder, 'socket');
  descriptorsBefore = native.openDescriptorCount();
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  expect(native.openDescriptorCount()).toBe(descriptorsBefore);
});

const kept = (fd: number): number => {
  onTestFinished(() => native.closeDescriptor(fd));
  return fd;
};
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const send = (fd: number, text: string, descriptors: number[] = []) =>
  native.sendMessage(fd, bytes(text), 0, text.length, descriptors);

/** Reads one message; undefined when there is none. */
function receive(fd: number): { text: string; descriptors: number[] } | undefined {
  const into = new Uint8Array(256);
  const descriptors: number[] = [];
  const count = native.receiveMessage(fd, into, descriptors);
  return count === undefined
    ? undefined
    : { text: Buffer.from(into.subarray(0, count)).toString(), descriptors };
}

/** Both ends of a connection; closed before the descriptors are counted. */
function pair(): [number, number] {
  const listener = native.listenUnix(path);
  const near = native.connectUnix(path);
  const far = native.acceptUnix(listener);
  native.closeDescriptor(listener);
  if (far === undefined) throw new Error('nobody waits');
  return [near, far];
}

const closeAll = (fds: readonly number[]): void => {
  for (const fd of fds) native.closeDescriptor(fd);
};

describe('parts that are sent as one', () => {
  test('arrive one behind the other, as far as the socket takes them', () => {
    const [near, far] = pair();
    expect(native.sendParts(near, [bytes('one, '), bytes('two, '), bytes('three')])).toBe(15);
    expect(receive(far)?.text).toBe('one, two, three');
    const much = Array.from({ length: native.mostParts }, () => new Uint8Array(2 ** 20));
    const taken = native.sendParts(near, much) ?? 0;
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(native.mostParts * 2 ** 20);
    expect(native.sendParts(near, much)).toBeUndefined();
    closeAll([near, far]);
  });

  test('fail with EPIPE when the peer is gone, and with a TypeError when there are too many or none', () => {
    const [near, far] = pair();
    native.closeDescriptor(far);
    expect(() => native.sendParts(near, [bytes('one')])).toThrow(/EPIPE/);
    expect(() => native.sendParts(near, [])).toThrow(TypeError);
    const many = Array.from({ length: native.mostParts + 1 }, () => new Uint8Array(1));
    expect(() => native.sendParts(near, many)).toThrow(TypeError);
    native.closeDescriptor(near);
  });
});

describe('a listening socket', () => {
  test.each([
    { mode: 0o600, umask: 0 },
    { mode: 0o666, umask: 0o077 },
  ])('has exactly the rights it is given: $mode under $umask', ({ mode, umask }) => {
    const before = process.umask(umask);
    const fd = native.listenUnix(path, { mode });
    expect(process.umask(before)).toBe(umask);
    expect(statSync(path).mode & 0o777).toBe(mode);
    native.closeDescriptor(fd);
  });

  test('is its owner’s alone by default', () => {
    const fd = native.listenUnix(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    native.closeDescriptor(fd);
  });

  test('does not replace what is there', () => {
    writeFileSync(path, 'precious');
    expect(() => native.listenUnix(path)).toThrow(
      expect.objectContaining({ code: 'EADDRINUSE', syscall: 'listen', path }),
    );
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  test('needs a path that fits', () => {
    const long = `/tmp/${'x'.repeat(103)}`;
    expect(() => native.listenUnix(long)).toThrow(
      expect.objectContaining({ code: 'ENAMETOOLONG', syscall: 'listen', path: long }),
    );
    expect(() => native.connectUnix('x'.repeat(9000))).toThrow(/ENAMETOOLONG/);
    const longest = join(folder, 'x'.repeat(107 - folder.length - 1));
    native.closeDescriptor(native.listenUnix(longest));
    expect(existsSync(longest)).toBe(true);
  });

  test('has no abstract name: those have no rights', () => {
    expect(() => native.listenUnix('')).toThrow(/ENOENT/);
    expect(() => native.listenUnix('\0name')).toThrow(/path must be a string without zero bytes/);
    expect(() => native.connectUnix(`${path}\0x`)).toThrow(TypeError);
  });

  test('has nobody to accept at first', () => {
    const fd = native.listenUnix(path);
    expect(native.acceptUnix(fd)).toBeUndefined();
    native.closeDescriptor(fd);
  });

  test('refuses when its backlog is full', () => {
    const listener = native.listenUnix(path, { backlog: 0 });
    const first = native.connectUnix(path);
    expect(() => native.connectUnix(path)).toThrow(/EAGAIN.*connect/);
    closeAll([listener, first]);
  });
});

describe('connecting', () => {
  test('fails when nobody is there', () => {
    expect(() => native.connectUnix(path)).toThrow(expect.objectContaining({ code: 'ENOENT', path }));
    native.closeDescriptor(native.listenUnix(path));
    expect(() => native.connectUnix(path)).toThrow(/ECONNREFUSED/);
  });

  test('tells both who the other is', async () => {
    const listener = kept(native.listenUnix(path));
    const child = inProcess(
      async ({ native, tell, told }, { path }) => {
        tell(native.peerCredentials(native.connectUnix(path)).pid);
        await told();
      },
      { path },
    );
    expect(await child.heard()).toBe(process.pid);
    const fd = native.acceptUnix(listener);
    if (fd === undefined) throw new Error('nobody waits');
    expect(native.peerCredentials(kept(fd))).toEqual({
      pid: child.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    descriptorsBefore += 2;
    child.say('end');
    await child.ended;
    descriptorsBefore = native.openDescriptorCount();
  });
});

describe('the other side of a connection', () => {
  test('has the groups of the process that connected', () => {
    const [near, far] = pair();
    const { gid } = native.peerCredentials(far);
    const groups = new Set([gid, ...native.peerGroups(far)]);
    // getgroups(2) may or may not have the primary group in it, and so may the kernel's answer.
    expect(groups).toEqual(new Set([process.getgid?.(), ...(process.getgroups?.() ?? [])]));
    closeAll([near, far]);
  });

  test('has unread what it did not receive', () => {
    const [near, far] = pair();
    expect(native.unreadBytes(near)).toBe(0);
    native.sendMessage(near, bytes('a message'), 0, 9, []);
    expect(native.unreadBytes(near)).toBeGreaterThan(0);
    expect(native.unreadBytes(far)).toBe(0);
    receive(far);
    expect(native.unreadBytes(near)).toBe(0);
    closeAll([near, far]);
  });
});

describe('a message', () => {
  test('arrives, and then there is none', () => {
    const [near, far] = pair();
    expect(receive(far)).toBeUndefined();
    expect(native.sendMessage(near, bytes('a message'), 2, 4, [])).toBe(4);
    expect(receive(far)).toEqual({ text: 'mess', descriptors: [] });
    expect(receive(far)).toBeUndefined();
    closeAll([near, far]);
  });

  test('does not fit when nobody reads, and a part is counted', () => {
    const [near, far] = pair();
    const block = new Uint8Array(1 << 20);
    let sent = 0;
    for (;;) {
      const count = native.sendMessage(near, block, 0, block.length, []);
      if (count === undefined) break;
      sent += count;
    }
    let received = 0;
    for (;;) {
      const count = native.receiveMessage(far, block, []);
      if (count === undefined) break;
      received += count;
    }
    expect(received).toBe(sent);
    closeAll([near, far]);
  });

  test('ends with 0 bytes when the other end shuts down', () => {
    const [near, far] = pair();
    send(near, 'last');
    native.shutdownSocket(near);
    expect(receive(far)?.text).toBe('last');
    expect(native.receiveMessage(far, new Uint8Array(8), [])).toBe(0);
    expect(() => send(near, 'x')).toThrow(/EPIPE.*sendmsg/);
    closeAll([near, far]);
  });

  test('cannot be empty: that would read as the end', () => {
    const [near, far] = pair();
    expect(() => native.sendMessage(near, bytes('x'), 0, 0, [far])).toThrow(/length must be more than 0/);
    expect(() => native.receiveMessage(far, new Uint8Array(0), [])).toThrow(TypeError);
    expect(() => native.sendMessage(near, bytes('xyz'), 2, 2, [])).toThrow(/inside the bytes/);
    closeAll([near, far]);
  });
});

describe('a descriptor', () => {
  test('passes to another process, which sees the same memory', async () => {
    const listener = native.listenUnix(path);
    const child = inProcess(
      async ({ native, tell, told }, { path }) => {
        const socket = native.connectUnix(path);
        const fd = native.createMemfd('passed', native.pageSize);
        const whole = { fd, offset: 0, length: native.pageSize, protection: 'read-write' } as const;
        const bytes = new Uint8Array(native.arrayBufferAt(native.mapFile(whole), native.pageSize));
        bytes[0] = 1;
        native.sendMessage(socket, new Uint8Array(1), 0, 1, [fd]);
        tell('sent');
        await told();
        tell(bytes[1]);
      },
      { path },
    );
    await child.heard();
    const socket = native.acceptUnix(listener) ?? -1;
    const { descriptors } = receive(socket) ?? { descriptors: [] };
    const [fd = -1] = descriptors;
    const address = native.mapFile({ fd, offset: 0, length: pageSize, protection: 'read-write' });
    const shared = new Uint8Array(native.arrayBufferAt(address, pageSize));
    expect(shared[0]).toBe(1);
    shared[1] = 2;
    child.say('look');
    expect(await child.heard()).toBe(2);
    await child.ended;
    native.unmap(address, pageSize);
    closeAll([listener, socket, fd]);
    await vi.waitFor(() => expect(native.openDescriptorCount()).toBe(descriptorsBefore));
  });

  test('is appended to those that came before, and is closed when a program is started', () => {
    const [near, far] = pair();
    send(near, 'two', [near, far]);
    send(near, 'one', [near]);
    const descriptors: number[] = [];
    const into = new Uint8Array(3);
    native.receiveMessage(far, into, descriptors);
    native.receiveMessage(far, into, descriptors);
    expect(descriptors).toHaveLength(3);
    for (const fd of descriptors) {
      expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toMatch(/flags:\s*02\d{6}\b/);
    }
    closeAll([near, far, ...descriptors]);
  });

  test('goes sixteen to a message', () => {
    const [near, far] = pair();
    const many = Array.from({ length: 16 }, () => far);
    send(near, 'x', many);
    const received = receive(far)?.descriptors ?? [];
    expect(received).toHaveLength(16);
    expect(() => send(near, 'x', [...many, far])).toThrow(/at most 16 descriptors/);
    closeAll([near, far, ...received]);
  });

  test.each([[[-1]], [[1.5]], [[Number.NaN]], [['0']], [[undefined]]])('is not %j', (descriptors) => {
    const [near, far] = pair();
    expect(() => send(near, 'x', descriptors as number[])).toThrow(/descriptors must be/);
    expect(() => send(near, 'x', [1023])).toThrow(/EBADF.*sendmsg/);
    closeAll([near, far]);
  });

  test('does not leak into an array that takes none', () => {
    const [near, far] = pair();
    send(near, 'x', [near]);
    const frozen = Object.freeze([]) as unknown as number[];
    expect(() => native.receiveMessage(far, new Uint8Array(8), frozen)).toThrow(/EMSGSIZE/);
    closeAll([near, far]);
  });

  test('is dropped with the others when the process may open no more', async () => {
    const child = inProcess(
      ({ native, tell }, { path }) => {
        const listener = native.listenUnix(path);
        const near = native.connectUnix(path);
        const far = native.acceptUnix(listener) ?? -1;
        native.sendMessage(near, new Uint8Array(1), 0, 1, [near, near, near]);
        const full: number[] = [];
        const attempt = <T>(action: () => T): T | string => {
          try {
            return action();
          } catch (error) {
            return String((error as NodeJS.ErrnoException).code);
          }
        };
        for (let fd = attempt(() => native.duplicate(near)); typeof fd === 'number'; ) {
          full.push(fd);
          fd = attempt(() => native.duplicate(near));
        }
        // Room for two of the three that come, and one to count them.
        for (const fd of full.splice(0, 2)) native.closeDescriptor(fd);
        const received: number[] = [];
        const result = attempt(() => native.receiveMessage(far, new Uint8Array(8), received));
        const freed = [0, 1, 2].map(() => attempt(() => native.duplicate(near)));
        tell({ result, received, freed: freed.map((fd) => typeof fd) });
      },
      { path },
      { openFiles: 128 },
    );
    expect(await child.heard()).toEqual({
      result: 'EMSGSIZE',
      received: [],
      freed: ['number', 'number', 'string'],
    });
    await child.ended;
    descriptorsBefore = native.openDescriptorCount();
  });

  test('is closed once', () => {
    const fd = native.createMemfd('once', 0);
    native.closeDescriptor(fd);
    expect(() => native.closeDescriptor(fd)).toThrow(/EBADF.*close/);
  });
});
