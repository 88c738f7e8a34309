import { describe, expect, test } from 'vitest';
import { inProcess, type Work } from './native-elsewhere.ts';

const dying = (work: Work<object>) => inProcess(work, {}).ended;

describe('a process that touches what it may not', () => {
  test('says which view it stored into, and dies of it', async () => {
    const ending = await dying(({ native }) => {
      const length = 4 * native.pageSize;
      const fd = native.createMemfd('view', length);
      const address = native.mapFile({ fd, offset: 0, length, protection: 'read' });
      native.guardRange(address, length, '/models/a.bin');
      const bytes = new Uint8Array(native.arrayBufferAt(address, length));
      bytes[5000] = 1;
    });
    expect(ending).toEqual({
      code: null,
      signal: 'SIGSEGV',
      stderr: 'cluster-fs: store into read-only view of /models/a.bin at offset 5000 (SIGSEGV)\n',
    });
  });

  test('says which view had no memory', async () => {
    const ending = await dying(({ native }) => {
      const fd = native.createMemfd('view', 0);
      const length = native.pageSize;
      const address = native.mapFile({ fd, offset: 0, length, protection: 'read' });
      native.guardRange(address, length, '/cut');
      new Uint8Array(native.arrayBufferAt(address, length)).at(7);
    });
    expect(ending).toMatchObject({
      signal: 'SIGBUS',
      stderr: 'cluster-fs: no readable content behind view of /cut at offset 7 (SIGBUS)\n',
    });
  });

  test('says so of a view that a thread guarded which is no more', async () => {
    const ending = await dying(async ({ native, require }) => {
      const { Worker } = require('node:worker_threads');
      const { once } = require('node:events');
      const address = native.reserveAddressRange(native.pageSize);
      const addon = require.resolve('../dist/native.js');
      const source = `import(${JSON.stringify(addon)}).then((n) => n.guardRange(${address}, 4096, 'late'))`;
      await once(new Worker(source, { eval: true }), 'exit');
      new Uint8Array(native.arrayBufferAt(address, native.pageSize))[3] = 1;
    });
    expect(ending).toMatchObject({
      signal: 'SIGSEGV',
      stderr: expect.stringContaining('of late at offset 3'),
    });
  });

  test('keeps to one line, whatever a file is called', async () => {
    const ending = await dying(({ native }) => {
      const address = native.reserveAddressRange(native.pageSize);
      native.guardRange(address, native.pageSize, `a\nb${'x'.repeat(5000)}`);
      new Uint8Array(native.arrayBufferAt(address, native.pageSize))[0] = 1;
    });
    expect(ending.stderr).toMatch(
      /^cluster-fs: store into read-only view of a\?bx{196} at offset 0 \(SIGSEGV\)\n$/,
    );
  });

  test('says nothing of what is guarded no more, or elsewhere, and dies all the same', async () => {
    const { signal, stderr } = await dying(({ native }) => {
      const [a = 0, b = 0] = [1, 2].map(() => native.reserveAddressRange(native.pageSize));
      native.guardRange(a, native.pageSize, 'a');
      native.guardRange(b, native.pageSize, 'b');
      native.unguardRange(b);
      native.unguardRange(b);
      new Uint8Array(native.arrayBufferAt(b, native.pageSize))[0] = 1;
    });
    expect(signal).toBe('SIGSEGV');
    expect(stderr).not.toContain('cluster-fs');
  });

  test('says which view it was, however many there are', async () => {
    const ending = await dying(({ native }) => {
      const views = 10_000;
      const low = (view: number) => 4096 + view;
      for (let view = 1; view <= views; view++) native.guardRange(low(view), 1, `${view}`);
      const address = native.reserveAddressRange(native.pageSize);
      native.guardRange(address, native.pageSize, 'the last');
      for (let view = 1; view < views; view++) native.unguardRange(low(view));
      if (!native.pauseGuarded(address, native.pageSize)) throw new Error('it cannot be paused');
      native.resumeGuarded(address, native.pageSize, 'read');
      new Uint8Array(native.arrayBufferAt(address, native.pageSize))[9] = 1;
    });
    expect(ending).toEqual({
      code: null,
      signal: 'SIGSEGV',
      stderr: 'cluster-fs: store into read-only view of the last at offset 9 (SIGSEGV)\n',
    });
  });

  test.each(['SIGSEGV', 'SIGBUS'])('dies of a %s that somebody sends', async (signal) => {
    const child = inProcess(async ({ native, tell, told }) => {
      const whole = 2 ** 46;
      native.guardRange(4096, whole, 'everything');
      tell('guarded');
      await told();
    }, {});
    await child.heard();
    process.kill(child.pid, signal);
    expect(await child.ended).toMatchObject({ signal, stderr: '' });
  });
});

describe('a range that is paused', () => {
  test('has who touches it wait, in any thread, and go on with what is there then', async () => {
    const child = inProcess(async ({ native, require, tell }) => {
      const { Worker } = require('node:worker_threads');
      const { once } = require('node:events');
      const length = 2 * native.pageSize;
      const fd = native.createMemfd('view', length);
      const [address = 0, other = 0] = [1, 2].map(() =>
        native.mapFile({ fd, offset: 0, length, protection: 'read-write' }),
      );
      native.guardRange(address, length, '/file');
      const bytes = new Uint8Array(native.arrayBufferAt(other, length));
      const addon = require.resolve('../dist/native.js');
      const source = `import(${JSON.stringify(addon)}).then(async (n) => {
        const { parentPort } = await import('node:worker_threads');
        const bytes = new Uint8Array(n.arrayBufferAt(${address}, ${length}));
        parentPort.postMessage('touches');
        bytes[5000] = bytes[1] + 1;
        parentPort.postMessage('done');
      })`;
      const values: number[] = [];
      for (let round = 1; round <= 5; round++) {
        bytes[1] = 0;
        native.pauseGuarded(address, length);
        const worker = new Worker(source, { eval: true });
        // Its last message may come in one turn with its end.
        const exited = once(worker, 'exit');
        await once(worker, 'message');
        bytes[1] = round * 10;
        native.resumeGuarded(address, length, 'read-write');
        await once(worker, 'message');
        values.push(bytes[5000] as number);
        await exited;
      }
      tell(values);
    }, {});
    expect(await child.heard()).toEqual([11, 21, 31, 41, 51]);
    expect(await child.ended).toMatchObject({ code: 0 });
  });

  test('says of a store that may not be what it says without, also when it was paused before', async () => {
    const ending = await dying(({ native }) => {
      const length = native.pageSize;
      const fd = native.createMemfd('view', length);
      const address = native.mapFile({ fd, offset: 0, length, protection: 'read' });
      native.guardRange(address, length, '/file');
      native.pauseGuarded(address, length);
      native.resumeGuarded(address, length, 'read');
      new Uint8Array(native.arrayBufferAt(address, length))[7] = 1;
    });
    expect(ending).toMatchObject({
      signal: 'SIGSEGV',
      stderr: 'cluster-fs: store into read-only view of /file at offset 7 (SIGSEGV)\n',
    });
  });

  test('is none where nothing is guarded', async () => {
    const child = inProcess(({ native, tell }) => {
      const address = native.reserveAddressRange(native.pageSize);
      tell(native.pauseGuarded(address, native.pageSize));
    }, {});
    expect(await child.heard()).toBe(false);
  });
});

test('faults of WebAssembly stay exceptions', async () => {
  const child = inProcess(({ native, tell }) => {
    const { WebAssembly } = globalThis as unknown as {
      WebAssembly: Record<string, new (x: unknown) => unknown>;
    };
    const { Module, Instance } = WebAssembly as Record<string, new (x: unknown) => unknown>;
    // (memory 1) (func (export "load") (param i32) (result i32) local.get 0 i32.load)
    const code = [
      ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 3, 2, 1, 0, 5, 3, 1, 0, 1],
      ...[7, 8, 1, 4, 108, 111, 97, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 40, 2, 0, 11],
    ];
    const address = native.reserveAddressRange(native.pageSize);
    native.guardRange(address, native.pageSize, 'mine');
    const instance = new (Instance as never as new (m: unknown) => { exports: { load(at: number): number } })(
      new (Module as new (x: unknown) => unknown)(new Uint8Array(code)),
    );
    try {
      instance.exports.load(0x7fff_ffff);
    } catch (error) {
      tell(String(error));
    }
  }, {});
  expect(await child.heard()).toMatch(/RuntimeError: memory access out of bounds/);
});

test('one range too many is not guarded, and that is all', async () => {
  const child = inProcess(({ native, tell }) => {
    const many = Array.from({ length: 5000 }, (_, i) => 4096 * (i + 1));
    for (const address of many) native.guardRange(address, 4096, 'many');
    for (const address of many) native.unguardRange(address);
    tell('done');
  }, {});
  expect(await child.heard()).toBe('done');
});
