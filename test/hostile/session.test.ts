/** A client that says hello and then lies, in every field of every message. */
import { closeSync, openSync } from 'node:fs';
import { Connection, type EventName, events, FsError, native, type RequestName } from '@cluster-fs/transport';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { goodHello, openRawSession } from '../chaos/raw-session.mjs';
import { hostileFields, hostileRequest, KnownNumbers, type Lie } from './hostile-fields.ts';
import { type Scene, startScene } from './witness.ts';

const pageSize = 4096;
type Raw = Awaited<ReturnType<typeof openRawSession>>;

describe('a session that lies', () => {
  test('in any field of any request', async () => {
    const { scene, liar } = await startLiar();
    await fc.assert(
      fc.asyncProperty(hostileRequest, async (lie) => {
        await liar.ask(lie);
        expect(scene.node.errors.filter((error) => error.includes('Node.js v'))).toEqual([]);
      }),
      { numRuns: 1000, endOnFailure: true },
    );
    await liar.leave();
    expect(liar.sessions()).toBeLessThan(150);
    await scene.expectUndisturbed();
  });

  test('in any field of any request, many at once', async () => {
    const { scene, liar } = await startLiar();
    const volley = fc.array(hostileRequest, { minLength: 30, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(volley, async (lies) => {
        await Promise.all(lies.map((lie) => liar.ask(lie)));
        // What it never maps and never answers makes its own moves wait: it starts anew.
        await liar.leave();
        expect(scene.node.errors.filter((error) => error.includes('Node.js v'))).toEqual([]);
      }),
      { numRuns: 25, endOnFailure: true },
    );
    await liar.leave();
    await scene.expectUndisturbed();
  });

  test('in any field of any event', async () => {
    const { scene, liar } = await startLiar();
    const event = fc
      .constantFrom(...(Object.keys(events) as EventName[]))
      .chain((name) => hostileFields(events[name].fields).map((fields) => ({ name, fields })));
    await fc.assert(
      fc.asyncProperty(event, async ({ name, fields }) => {
        (await liar.session()).connection.event(name, fields as never);
        await liar.ask({ name: 'status', fields: {}, pick: 0 });
        expect(scene.node.errors.filter((error) => error.includes('Node.js v'))).toEqual([]);
      }),
      { numRuns: 500, endOnFailure: true },
    );
    await liar.leave();
    await scene.expectUndisturbed();
  });

  test.each([
    ['an address that nothing is mapped to', pageSize * 16],
    ['an address of the kernel', 2 ** 53 - pageSize],
  ])('with %s: its file is replaced, cut and moved all the same', async (_, address) => {
    const { scene, session } = await start();
    const { fs } = scene;
    const honest = await fs.map('/hostile/a', { mode: 'rw' });
    const { view } = await session.connection.request('lease', {
      path: '/hostile/a',
      mode: 'rw',
      follow: 'live',
      offset: 0,
    });
    await refusedOrDone(session.connection.request('mapped', { view, address, length: 100 * pageSize }));
    await refusedOrDone(fs.move('/hostile/a'));
    honest.bytes[0] = 77;
    await fs.promises.truncate('/hostile/a', 10_000);
    await fs.promises.writeFile('/hostile/a', 'new');
    await fs.move('/hostile/a');
    expect(honest.bytes[0]).toBe('n'.charCodeAt(0));
    session.close();
    honest.close();
    await scene.expectUndisturbed();
  });

  test('about its userfaultfd: nothing else is kept, and a connection that is closed ends', async () => {
    const scene = await startScene();
    const { socketPath } = scene.node;
    const file = openSync('/dev/null', 'r');
    onTestFinished(() => closeSync(file));
    const refusal = { code: 'EPROTO', why: expect.stringContaining('userfaultfd') };
    await expect(openRawSession(socketPath, { userfault: file })).rejects.toMatchObject(refusal);
    const connection = new Connection(native.connectUnix(socketPath));
    const itself = { descriptors: [connection.fd] };
    await expect(connection.request('hello', goodHello, itself)).rejects.toMatchObject(refusal);
    connection.close();
    await scene.expectUndisturbed();
  });

  test('about pages: overlapping, twice, of others, outside, none', async () => {
    const { scene, session } = await start();
    const { runs } = await session.connection.request('reserve', { pages: 4 });
    const { page = 0 } = runs[0] ?? {};
    const lies = [
      [
        { page, count: 2 },
        { page: page + 1, count: 2 },
      ],
      [
        { page, count: 1 },
        { page, count: 1 },
      ],
      [{ page: 0, count: 4 }],
      [{ page: 2 ** 32 - 1, count: 4 }],
      [
        { page, count: 0 },
        { page, count: 4 },
      ],
      [{ page, count: 2 ** 32 - 1 }],
      [],
    ];
    for (const lie of lies) {
      const size = lie.reduce((sum, { count }) => sum + count, 0) * pageSize;
      await refusedOrDone(session.connection.request('put', { ...put('/hostile/lie'), size, runs: lie }));
      await refusedOrDone(
        session.connection.request('put', { ...put('/hostile/lie'), size: 4 * pageSize, runs: lie }),
      );
      session.connection.event('unreserve', { runs: lie });
      expect(await scene.fs.check()).toEqual([]);
    }
    const other = await openRawSession(scene.node.socketPath);
    const { runs: left } = await session.connection.request('reserve', { pages: 3 });
    const stolen = other.connection.request('put', {
      ...put('/hostile/stolen'),
      size: 3 * pageSize,
      runs: left,
    });
    await expect(stolen).rejects.toMatchObject({ code: 'EINVAL' });
    other.close();
    session.close();
    await scene.expectUndisturbed();
  });

  test('that gives a file away in sixty thousand pieces does not keep others waiting', async () => {
    const { scene, session } = await start();
    const { runs } = await session.connection.request('reserve', { pages: 120_000 });
    const { page = 0 } = runs[0] ?? {};
    const pieces = Array.from({ length: 60_000 }, (_, i) => ({ page: page + i * 2, count: 1 }));
    const size = pieces.length * pageSize;
    await session.connection.request('put', { ...put('/hostile/pieces'), size, runs: pieces });
    await session.connection.request('unlink', { path: '/hostile/pieces' });
    session.close();
    await scene.expectUndisturbed();
  });

  test('that takes a directory, or a link, for a file', async () => {
    const { scene, session } = await start();
    const { fs } = scene;
    await fs.promises.symlink('/hostile/a', '/hostile/link');
    const lie = {
      view: 1,
      mode: 'rw',
      follow: 'live',
      path: '/hostile/a',
      offset: 0,
      size: 100_000,
    } as const;
    const place = { layoutVersion: 1, address: 2 ** 40, length: 25 * pageSize, extents: [] };
    for (const path of ['/', '/hostile', '/hostile/link']) {
      const { ino } = await fs.promises.lstat(path);
      for (const generation of [1, 2, 3]) {
        const presented = session.connection.request('present', { ...lie, ...place, ino, generation });
        expect(await presented).toMatchObject({ stale: true, extents: [] });
      }
      const requests = [
        session.connection.request('fetch', { ino, from: 0, count: 10 }),
        session.connection.request('evict', { ino }),
        session.connection.request('pin', { ino, on: true }),
      ];
      for (const refused of requests) await expect(refused).rejects.toMatchObject({ code: 'EINVAL' });
      // As fsync(2) of a directory does.
      await session.connection.request('sync', { ino });
    }
    session.close();
    await scene.expectUndisturbed();
  });

  test('that presents stale views and lets them go takes nothing from others', async () => {
    const { scene, session } = await start();
    const { fs } = scene;
    const handle = await fs.promises.open('/hostile/a', 'r');
    const view = await fs.map('/hostile/a');
    const { ino } = await handle.stat();
    await fs.promises.unlink('/hostile/a');
    const lie = {
      mode: 'r',
      follow: 'live',
      path: '/hostile/a',
      offset: 0,
      size: 1,
      layoutVersion: 1,
      address: pageSize,
      length: pageSize,
    } as const;
    for (let i = 0; i < 5; i++) {
      const presented = await session.connection.request('present', {
        ...lie,
        view: i,
        ino,
        generation: 12_345,
        extents: [],
      });
      expect(presented.stale).toBe(true);
      await session.connection.request('release', { view: presented.view });
    }
    await session.connection.request('status', {});
    expect((await handle.readFile()).equals(Buffer.alloc(100_000, 1))).toBe(true);
    expect(view.bytes[99_999]).toBe(1);
    view.close();
    await handle.close();
    session.close();
    await scene.expectUndisturbed();
  });
}, 60_000);

describe('a session that has mapped a file before it has a lease', () => {
  const asked = { path: '/hostile/a', mode: 'r', follow: 'live', offset: 0 } as const;
  const place = { address: 2 ** 40, length: 25 * pageSize };

  test('is believed where the file is as it saw it, and not else', async () => {
    const { scene, session } = await start();
    const lease = (guess?: object) => session.connection.request('lease', { ...asked, guess } as never);
    const { ino, generation, layoutVersion, mapped } = await lease();
    expect(mapped).toBe(false);
    const seen = { ino, generation, layoutVersion, ...place };
    const wrong = [{ ino: ino + 1 }, { generation: generation + 1 }, { layoutVersion: layoutVersion - 1 }];
    for (const lie of wrong) expect((await lease({ ...seen, ...lie })).mapped).toBe(false);
    expect((await lease(seen)).mapped).toBe(true);
    await scene.fs.promises.writeFile('/hostile/a', 'new');
    expect((await lease(seen)).mapped).toBe(false);
    session.close();
    await scene.expectUndisturbed();
  });

  test.each([
    ['within a page', { address: place.address + 1 }],
    ['shorter than the file', { length: 24 * pageSize }],
  ])('%s gets no lease', async (_, lie) => {
    const { scene, session } = await start();
    const { connection } = session;
    const { ino, generation, layoutVersion, view } = await connection.request('lease', asked);
    await connection.request('release', { view });
    const guess = { ino, generation, layoutVersion, ...place, ...lie };
    await expect(connection.request('lease', { ...asked, guess })).rejects.toMatchObject({ code: 'EINVAL' });
    expect(await scene.fs.holders('/hostile/a')).toEqual([]);
    session.close();
    await scene.expectUndisturbed();
  });
});

describe('a peer that breaks the order of things', () => {
  test('asks before it says hello', async () => {
    const scene = await startScene();
    for (const name of ['status', 'mkdir', 'lease', 'check', 'defrag'] satisfies RequestName[]) {
      const connection = new Connection(native.connectUnix(scene.node.socketPath));
      const fields = { path: '/x', mode: 'r', follow: 'live', offset: 0, recursive: false, progress: false };
      const asked = connection.request(name, {
        ...fields,
        ...(name === 'mkdir' ? { mode: 0o755 } : {}),
      } as never);
      await expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^(EPROTO|ECONNRESET)$/) });
      connection.close();
    }
    await scene.expectUndisturbed();
  });

  test('says hello many times at once', async () => {
    const scene = await startScene();
    for (let i = 0; i < 20; i++) {
      const connection = new Connection(native.connectUnix(scene.node.socketPath));
      const hellos = Array.from({ length: 5 }, () => connection.request('hello', goodHello));
      const attached = connection.request('attach', { session: 1, token: new Uint8Array(16) });
      await Promise.all([...hellos, attached].map(refusedOrDone));
      connection.close();
    }
    await scene.expectUndisturbed();
  });

  test('joins a session without its token', async () => {
    const { scene, session } = await start();
    const connection = new Connection(native.connectUnix(scene.node.socketPath));
    const { session: id } = session.welcome;
    const guess = connection.request('attach', { session: id, token: new Uint8Array(16) });
    await expect(guess).rejects.toMatchObject({ code: 'EACCES' });
    connection.close();
    session.close();
    await scene.expectUndisturbed();
  });

  test('speaks another version, or has another layout', async () => {
    const scene = await startScene();
    for (const lie of [{ protocol: 999 }, { layoutHash: 1 }]) {
      const opened = openRawSession(scene.node.socketPath, { hello: lie });
      await expect(opened).rejects.toMatchObject({ code: 'EPROTONOSUPPORT' });
    }
    await scene.expectUndisturbed();
  });
}, 30_000);

const put = (path: string) => ({ path, flags: 0o1101, mode: 0o644 });

/** An honest client at work, a directory that the liars may have, and a liar. */
async function start(mebibytes = 1024): Promise<{ scene: Scene; session: Raw }> {
  const scene = await startScene({ memory: mebibytes * 2 ** 20 });
  await scene.fs.promises.mkdir('/hostile');
  await scene.fs.promises.writeFile('/hostile/a', Buffer.alloc(100_000, 1));
  const { fd: userfault } = native.createUserfault();
  onTestFinished(() => native.closeDescriptor(userfault));
  return { scene, session: await openRawSession(scene.node.socketPath, { userfault }) };
}

/** A liar that comes back when a lie has cost it its session. */
async function startLiar() {
  const { scene, session: first } = await start();
  const userfault = native.createUserfault().fd;
  onTestFinished(() => native.closeDescriptor(userfault));
  const known = new KnownNumbers();
  let opening = Promise.resolve(first);
  let count = 1;
  const session = async (): Promise<Raw> => {
    const asked = opening;
    const current = await asked;
    if (current.connection.closed === undefined) return current;
    if (asked === opening) {
      current.close();
      opening = openRawSession(scene.node.socketPath, { userfault });
      count++;
    }
    return session();
  };
  const ask = async ({ name, fields, pick }: Lie): Promise<void> => {
    const { connection } = await session();
    known.learn(await refusedOrDone(connection.request(name, known.use(fields, pick) as never)));
  };
  return { scene, liar: { session, ask, sessions: () => count, leave: async () => (await opening).close() } };
}

/** A lie may be refused with a code, or have an effect on the liar alone; it is answered in any case. */
async function refusedOrDone(asked: Promise<unknown>): Promise<unknown> {
  try {
    return await asked;
  } catch (error) {
    expect(error).toBeInstanceOf(FsError);
    expect((error as FsError).code, String(error)).not.toBe('EIO');
    return {};
  }
}
