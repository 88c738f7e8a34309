/** The cells of the table that say `recall`: who is asked to let go, and what becomes of the operation. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount, type RecallEvent, type View } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type NodeProcess, startNode } from '../setups/node-process.ts';
import { acts, arrange, contentOf, filePages, from, length, page, path } from './acts.ts';
import { type CaseName, cases, type Kind, kinds } from './cases.ts';

const recalled = (Object.keys(cases) as CaseName[]).flatMap((name) =>
  kinds.flatMap((kind, i) => (cases[name].outcomes[i] === 'recall' ? [{ name, ...kind }] : [])),
);
/** As the listener hears it. */
const reasons: Partial<Record<CaseName, string>> = {
  punch: 'fallocate',
  zero: 'fallocate',
  cut: 'truncate',
  replace: 'write',
  replaceHole: 'write',
  move: 'move',
};
const rest = { offset: from, length: filePages * page - from };
const whole = { offset: 0, length: filePages * page };
const ranges: Partial<Record<CaseName, RecallEvent['range']>> = {
  punch: { offset: from, length },
  zero: { offset: from, length },
  cut: rest,
  replace: whole,
  replaceHole: whole,
  move: whole,
};
const pinnedWriter: Kind = { client: 'pinned', follow: 'live', mode: 'rw' };

let fs: ClusterFs;
const nodes: NodeProcess[] = [];

/** A node that waits that long for who is recalled, and a client that is pinned. */
async function startWith(...options: string[]) {
  const node = await startNode({ options });
  nodes.push(node);
  fs = await mount(node.url);
  return { node, holder: () => mountPinned(node) };
}

async function mountPinned({ url }: NodeProcess): Promise<ClusterFs> {
  const holder = await mount(url, { mode: 'pinned' });
  onTestFinished(() => holder.unmount());
  return holder;
}

/** Ends what the describe block has started. */
async function stopAll(): Promise<void> {
  await fs.unmount();
  for (const node of nodes.splice(0)) await node.stop();
}

async function failure(done: Promise<unknown>): Promise<Error> {
  return done.then(
    () => new Error('it was done'),
    (reason: Error) => reason,
  );
}

const heardOf = (view: View): RecallEvent[] => {
  const heard: RecallEvent[] = [];
  view.on('recall', (event) => heard.push(event));
  return heard;
};

const closeWhenRecalled = (view: View): void => {
  view.on('recall', () => view.close());
};

describe('a client that is recalled', () => {
  let holder: () => Promise<ClusterFs>;
  beforeAll(async () => {
    ({ holder } = await startWith('--recall-deadline', '60000'));
  });
  afterAll(stopAll);

  test.each(recalled)('and closes its view ($follow) lets $name go on', async ({ name, ...kind }) => {
    const { old, handle, view, close } = await arrange({ fs, holder: await holder() }, acts[name], kind);
    const heard = heardOf(view);
    closeWhenRecalled(view);
    await acts[name].run(fs, handle);
    expect(heard).toEqual([{ path, reason: reasons[name], range: ranges[name], deadlineMs: 60_000 }]);
    expect((await contentOf(handle)).equals(acts[name].after(Buffer.from(old)))).toBe(true);
    await close();
  });

  test('and closes its view later is waited for, and nobody else is', async () => {
    const { old, handle, view, close } = await arrange(
      { fs, holder: await holder() },
      acts.cut,
      pinnedWriter,
    );
    const heard = once(view, 'recall');
    const done = acts.cut.run(fs, handle);
    await heard;
    const { recalls } = await fs.status();
    expect(recalls).toEqual([
      expect.objectContaining({ path, reason: 'truncate', for: [expect.anything()] }),
    ]);
    expect(await fs.holders(path)).toEqual([expect.objectContaining({ recalledMs: expect.any(Number) })]);
    await handle.write(Buffer.alloc(10, 7), 0, 10, 0);
    view.bytes[20] = 8;
    const reader = await fs.map(path);
    expect([...reader.bytes.subarray(9, 21)]).toEqual([7, ...old.subarray(10, 20), 8]);
    reader.close();
    await fs.promises.writeFile('/another', 'x');
    await fs.promises.rename(path, '/renamed');
    view.close();
    await done;
    expect((await handle.stat()).size).toBe(from);
    expect((await fs.status()).recalls).toEqual([]);
    await close();
  });

  test('and dies is not waited for any longer', async () => {
    const dying = await holder();
    const { handle, view, close } = await arrange({ fs, holder: dying }, acts.cut, pinnedWriter);
    const heard = once(view, 'recall');
    const done = acts.cut.run(fs, handle);
    await heard;
    await dying.unmount();
    await done;
    await close();
  });

  test('by two operations lets go once, and both go on', async () => {
    const { handle, view, close } = await arrange({ fs, holder: await holder() }, acts.cut, pinnedWriter);
    const heard = heardOf(view);
    const done = [acts.replace.run(fs, handle), acts.punch.run(fs, handle)];
    await expect.poll(async () => ((await fs.status()).recalls as unknown[]).length).toBe(2);
    await expect.poll(() => heard.length).toBe(1);
    view.close();
    await Promise.all(done);
    expect(heard.length).toBe(1);
    await close();
  });

  test('cannot be followed by another before the operation is done', async () => {
    const { handle, view, close } = await arrange({ fs, holder: await holder() }, acts.cut, pinnedWriter);
    const heard = once(view, 'recall');
    const done = acts.cut.run(fs, handle);
    await heard;
    const order: string[] = [];
    const next = await holder();
    const waiting = next.map(path, { mode: 'rw' }).then((mapped) => {
      order.push('mapped');
      return mapped;
    });
    (await next.map(path)).close();
    view.close();
    await done.then(() => order.push('done'));
    const mapped = await waiting;
    expect(order).toEqual(['done', 'mapped']);
    expect(mapped.size).toBe(from);
    mapped.close();
    await close();
  });

  test('is not waited for once its listener is gone', async () => {
    const { handle, view, close } = await arrange({ fs, holder: await holder() }, acts.cut, pinnedWriter);
    const heard = heardOf(view);
    view.removeAllListeners('recall');
    const error = await failure(Promise.resolve(acts.cut.run(fs, handle)));
    expect(error.message).toContain('nothing there listens for a recall');
    expect(heard).toEqual([]);
    await close();
  });

  test('by somebody who is gone stays as it is', async () => {
    const { old, handle, view, close } = await arrange(
      { fs, holder: await holder() },
      acts.cut,
      pinnedWriter,
    );
    const asker = await mount(nodes[0]?.url);
    const heard = once(view, 'recall');
    const done = failure(asker.promises.truncate(path, 0));
    await heard;
    await asker.unmount();
    expect(await done).toMatchObject({ code: 'EBADF' });
    await expect.poll(async () => (await fs.status()).recalls).toEqual([]);
    expect((await contentOf(handle)).equals(old)).toBe(true);
    view.close();
    expect((await handle.stat()).size).toBe(old.length);
    await close();
  });

  test('by a move that is cancelled stays as it is', async () => {
    const { view, close } = await arrange({ fs, holder: await holder() }, acts.move, pinnedWriter);
    const heard = once(view, 'recall');
    const controller = new AbortController();
    const done = failure(fs.move(path, { signal: controller.signal }));
    await heard;
    controller.abort();
    expect(await done).toMatchObject({ code: 'ECANCELED' });
    expect((await fs.status()).recalls).toEqual([]);
    await close();
  });

  test('may be the one that asks', async () => {
    const own = await holder();
    const { handle, view, close } = await arrange({ fs, holder: own }, acts.cut, pinnedWriter);
    closeWhenRecalled(view);
    await own.promises.truncate(path, from);
    expect((await handle.stat()).size).toBe(from);
    await close();
  });

  test('keeps the file alive for the operation, also without a name', async () => {
    await fs.promises.writeFile(path, Buffer.alloc(filePages * page, 1));
    const view = await (await holder()).map(path, { mode: 'rw' });
    const heard = once(view, 'recall');
    const done = fs.promises.truncate(path, from);
    await heard;
    await fs.promises.unlink(path);
    await fs.promises.writeFile('/another', Buffer.alloc(filePages * page, 2));
    view.close();
    await done;
    expect((await fs.promises.readFile('/another')).equals(Buffer.alloc(filePages * page, 2))).toBe(true);
    await fs.promises.unlink('/another');
    await expect.poll(async () => (await fs.status()).usedBytes).toBe(0);
    expect(await fs.check()).toEqual([]);
  });

  test('is seen in the events, and so is what it did', async () => {
    const { handle, view, close } = await arrange({ fs, holder: await holder() }, acts.cut, pinnedWriter);
    const seen = await eventsBelow(path);
    closeWhenRecalled(view);
    await acts.cut.run(fs, handle);
    const about = { pid: process.pid, reason: 'truncate' };
    await expect
      .poll(() => seen.filter(({ kind }) => kind.startsWith('recall')))
      .toEqual([
        { kind: 'recall', detail: expect.objectContaining(about) },
        { kind: 'recalled', detail: expect.objectContaining({ ...about, outcome: 'released' }) },
      ]);
    await close();
  });
});

/** What happens below a path, from now on. */
async function eventsBelow(place: string) {
  const seen: { readonly kind: string; readonly detail: unknown }[] = [];
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const follow = async (): Promise<void> => {
    for await (const { kind, detail } of fs.events({ path: place, signal: controller.signal }))
      seen.push({ kind, detail });
  };
  const following = follow();
  following.catch(() => undefined);
  const touch = async () => {
    await fs.promises.utimes(place, 1, 1);
    return seen.length;
  };
  await expect.poll(touch).toBeGreaterThan(0);
  return seen;
}

describe('a client that is recalled and does not let go', () => {
  let holder: () => Promise<ClusterFs>;
  beforeAll(async () => {
    ({ holder } = await startWith('--recall-deadline', '50'));
  });
  afterAll(stopAll);

  test.each(recalled)('of its view ($follow) makes $name fail', async ({ name, ...kind }) => {
    const own = await holder();
    const { old, handle, view, close } = await arrange({ fs, holder: own }, acts[name], kind);
    const heard = heardOf(view);
    const error = await failure(Promise.resolve(acts[name].run(fs, handle)));
    expect(error).toMatchObject({ code: 'EBUSY', path, syscall: reasons[name] });
    expect(error.message).toContain(
      `held by session ${own.session.id} (pid ${process.pid}), which is pinned and maps it to write; ` +
        'it was recalled and did not let go in 50 ms',
    );
    await expect.poll(() => heard.length).toBe(1);
    expect((await contentOf(handle)).equals(old)).toBe(true);
    view.bytes[from] = 0x77;
    old[from] = 0x77;
    expect((await contentOf(handle)).equals(old)).toBe(true);
    await close();
  });
});

describe('under --on-conflict deny', () => {
  let holder: () => Promise<ClusterFs>;
  beforeAll(async () => {
    ({ holder } = await startWith('--on-conflict', 'deny'));
  });
  afterAll(stopAll);

  test.each(recalled)('$name fails and nobody ($follow) is recalled', async ({ name, ...kind }) => {
    const { old, handle, view, close } = await arrange({ fs, holder: await holder() }, acts[name], kind);
    const heard = heardOf(view);
    const error = await failure(Promise.resolve(acts[name].run(fs, handle)));
    expect(error).toMatchObject({ code: 'EBUSY', path });
    expect(error.message).not.toContain('recall');
    expect(heard).toEqual([]);
    expect((await contentOf(handle)).equals(old)).toBe(true);
    await close();
  });
});

describe('under --on-conflict revoke', () => {
  let holder: () => Promise<ClusterFs>;
  beforeAll(async () => {
    ({ holder } = await startWith('--on-conflict', 'revoke', '--recall-deadline', '50'));
  });
  afterAll(stopAll);

  test.each(recalled)('$name goes on, and the session of the view ($follow) ends', async (each) => {
    const { name, ...kind } = each;
    const own = await holder();
    const { old, handle, view, close } = await arrange({ fs, holder: own }, acts[name], kind);
    heardOf(view);
    const stale = once(view, 'stale');
    const lost = once(own, 'lost');
    await acts[name].run(fs, handle);
    expect((await contentOf(handle)).equals(acts[name].after(Buffer.from(old)))).toBe(true);
    await stale;
    const [error] = await lost;
    const why = `the session was revoked: ${reasons[name]} '${path}' needed its pages`;
    expect(error).toMatchObject({ code: 'ECANCELED', message: expect.stringContaining(why) });
    expect(await failure(view.sync())).toMatchObject({ code: 'ECANCELED' });
    expect(view.bytes.length).toBe(0);
    expect(Buffer.from(view.buffer as ArrayBuffer).every((byte) => byte === 0)).toBe(true);
    new Uint8Array(view.buffer).fill(0x55);
    expect((await contentOf(handle)).equals(acts[name].after(Buffer.from(old)))).toBe(true);
    await close();
  });

  test('who asks is not revoked for its own view', async () => {
    const own = await holder();
    const { view, close } = await arrange({ fs, holder: own }, acts.cut, pinnedWriter);
    const error = await failure(own.promises.truncate(path, from));
    expect(error).toMatchObject({ code: 'EBUSY' });
    view.bytes[0] = 3;
    expect((await own.promises.readFile(path))[0]).toBe(3);
    await close();
  });

  test('who listens for nothing is revoked at once', async () => {
    await stopAll();
    ({ holder } = await startWith('--on-conflict', 'revoke', '--recall-deadline', '60000'));
    const own = await holder();
    const { handle, close } = await arrange({ fs, holder: own }, acts.cut, pinnedWriter);
    const lost = once(own, 'lost');
    await acts.cut.run(fs, handle);
    const [error] = await lost;
    expect((error as Error).message).toContain('nothing there listens for a recall');
    await close();
  });
});

test('who mounts a directory says what the node that it starts does', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'clusterfs-recall-'));
  const own = await mount(directory, { onConflict: 'revoke', recallDeadlineMs: 70 });
  const holder = await mount(directory, { mode: 'pinned' });
  onTestFinished(async () => {
    for (const each of [holder, own]) await each.unmount();
    await rm(directory, { recursive: true });
  });
  expect(await own.status()).toMatchObject({ onConflict: 'revoke', recallDeadlineMs: 70 });
  await own.promises.writeFile(path, Buffer.alloc(page, 1));
  const view = await holder.map(path, { mode: 'rw' });
  const stale = once(view, 'stale');
  await own.promises.truncate(path, 0);
  await stale;
});
