/** Every cell of the table in docs/leases.md: one operation under one kind of view. */
import { once } from 'node:events';
import { type ClusterFs, mount, type SparseHandle, type View } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type NodeProcess, startNode } from '../setups/node-process.ts';
import { type CaseName, cases, type Kind, kinds, type Outcome } from './cases.ts';

const page = 4096;
const filePages = 8;
const viewPages = 12;
/** The range that operations work on. */
const [from, length] = [2 * page, 2 * page];
const path = '/case';

type Handle = Awaited<ReturnType<ClusterFs['promises']['open']>>;
type FileHandle = Handle & SparseHandle;

interface Act {
  run(fs: ClusterFs, handle: FileHandle): Promise<unknown>;
  /** The content after it; `old` is a copy. */
  after(old: Buffer): Buffer;
  /** What is done to the file before anybody maps it. */
  before?(handle: FileHandle): Promise<unknown>;
  /** A byte of the file that a view can store into afterwards; by default the first of the range. */
  readonly storeAt?: number;
}

const zeroed = (old: Buffer) => old.fill(0, from, from + length);
const same = (old: Buffer) => old;
const lastPage = (filePages - 1) * page;

const acts: Readonly<Record<CaseName, Act>> = {
  punch: { run: (_, handle) => handle.punchHole(from, length), after: zeroed },
  punchPart: {
    run: (_, handle) => handle.punchHole(from + 10, 100),
    after: (old) => old.fill(0, from + 10, from + 110),
  },
  zero: { run: (_, handle) => handle.zeroRange(from, length), after: zeroed },
  allocate: {
    before: (handle) => handle.punchHole(from, length),
    run: (_, handle) => handle.allocate(from, length),
    after: same,
  },
  cut: {
    run: (fs) => fs.promises.truncate(path, from),
    after: (old) => old.subarray(0, from),
    storeAt: 0,
  },
  cutPart: {
    run: (_, handle) => handle.truncate(lastPage + 100),
    after: (old) => old.subarray(0, lastPage + 100),
  },
  grow: {
    run: (_, handle) => handle.truncate(viewPages * page),
    after: (old) => Buffer.concat([old, Buffer.alloc((viewPages - filePages) * page)]),
    storeAt: (viewPages - 1) * page,
  },
  write: {
    run: (_, handle) => handle.write(Buffer.alloc(length, 3), 0, length, from),
    after: (old) => old.fill(3, from, from + length),
  },
  replace: {
    run: (fs) => fs.promises.writeFile(path, Buffer.alloc(filePages * page, 2)),
    after: (old) => old.fill(2),
  },
  unlink: { run: (fs) => fs.promises.unlink(path), after: same },
  rename: {
    run: (fs) => fs.promises.rename(path, '/renamed'),
    after: same,
  },
  renameOver: {
    run: async (fs) => {
      await fs.promises.writeFile('/other', Buffer.alloc(filePages * page, 9));
      await fs.promises.rename('/other', path);
    },
    after: same,
  },
  move: { run: (fs) => fs.move(path), after: same },
};

let node: NodeProcess;
let fs: ClusterFs;
let mounts: Record<Kind['client'], ClusterFs>;

beforeAll(async () => {
  node = await startNode();
  fs = await mount(node.url);
  mounts = {
    'on-demand': await mount(node.url),
    pinned: await mount(node.url, { mode: 'pinned' }),
  };
});

afterAll(async () => {
  for (const each of [...Object.values(mounts), fs]) await each.unmount();
  await node.stop();
});

test('one client has a userfaultfd, the other has none', () => {
  expect(mounts['on-demand'].session.onDemand).toBe(true);
  expect(mounts.pinned.session.onDemand).toBe(false);
});

describe.each(Object.keys(cases) as CaseName[])('%s', (name) => {
  test.each(kinds.map((kind, i) => ({ ...kind, outcome: cases[name].outcomes[i] as Outcome })))(
    'under a view that is $client, $follow, $mode: $outcome',
    async ({ outcome, ...kind }) => {
      const { old, handle, view, close } = await arrange(acts[name], kind);
      const after = acts[name].after(Buffer.from(old));
      const shown = () => Buffer.from(new Uint8Array(view.buffer));
      const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(viewPages * page - bytes.length)]);
      const expectShown = (bytes: Buffer) => expect(shown().equals(padded(bytes))).toBe(true);
      const changed = outcome === 'on advance' ? once(view, 'change') : undefined;
      const done = acts[name].run(fs, handle);

      if (outcome === 'EBUSY') {
        await expectBusy(done, mounts[kind.client]);
        expectShown(old);
      } else {
        await done;
        if (outcome === 'at once' || outcome === 'same') expectShown(after);
        else if (outcome === 'swapped') await expect.poll(() => shown().equals(padded(after))).toBe(true);
        else {
          await changed;
          expectShown(old);
          if (kind.mode === 'rw') await expectLost(view, handle, after);
          await view.advance();
          expectShown(after);
        }
      }
      const content = outcome === 'EBUSY' ? old : after;
      expect((await contentOf(handle)).equals(content)).toBe(true);
      if (kind.mode === 'rw') await expectStored(view, handle, content, acts[name].storeAt ?? from);
      await close();
    },
  );
});

describe('beside a view that keeps the old pages', () => {
  const keepers = [
    { client: 'on-demand', follow: 'manual', mode: 'r' },
    { client: 'pinned', follow: 'live', mode: 'r' },
  ] as const;

  test.each(keepers)('($client, $follow) no store of a writer is lost', async (kind) => {
    for (const name of ['punch', 'zero', 'replace'] as const) {
      const { handle, view, close } = await arrange(acts[name], kind);
      const writer = await mounts['on-demand'].map(path, { mode: 'rw' });
      for (let round = 0; round < 50; round++) {
        await acts[name].run(fs, handle);
        writer.bytes[from] = round;
        expect((await contentOf(handle))[from]).toBe(round);
        if (view.follow === 'manual') await view.advance();
      }
      writer.close();
      await close();
    }
  });
});

/** The file as it is before the operation, open, and the view on it. */
async function arrange({ before }: Act, { client, follow, mode }: Kind) {
  await fs.promises.writeFile(path, Buffer.alloc(filePages * page, 1));
  const handle: FileHandle = await fs.promises.open(path, 'r+');
  await before?.(handle);
  const old = await contentOf(handle);
  const view = await mounts[client].map(path, { follow, mode, reserve: viewPages * page });
  const close = async (): Promise<void> => {
    view.close();
    await handle.close();
    for (const name of fs.readdirSync('/')) await fs.promises.rm(`/${name}`);
    await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
    expect(await fs.check()).toEqual([]);
  };
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail') await close().catch(() => undefined);
  });
  return { old, handle, view, close };
}

async function contentOf(handle: FileHandle): Promise<Buffer> {
  const content = Buffer.alloc(viewPages * page);
  const { bytesRead } = await handle.read(content, 0, content.length, 0);
  return content.subarray(0, bytesRead);
}

async function expectBusy(done: Promise<unknown>, { session }: ClusterFs): Promise<void> {
  const error = await done.then(
    () => new Error('it was done'),
    (reason: Error & { path?: string }) => reason,
  );
  expect(error).toMatchObject({ code: 'EBUSY', path });
  expect(error.message).toContain(`held by session ${session.id} (pid ${process.pid})`);
}

/** What a view stores that is behind the file goes to the version that it shows. */
async function expectLost(view: View, handle: FileHandle, content: Buffer): Promise<void> {
  new Uint8Array(view.buffer)[from + 5] = 0x77;
  expect((await contentOf(handle)).equals(content)).toBe(true);
}

/** A store through the view is in the file, once the view has its length. */
async function expectStored(view: View, handle: FileHandle, content: Buffer, at: number): Promise<void> {
  if (view.follow === 'manual') await view.advance();
  await expect.poll(() => view.size).toBe(content.length);
  const stored = Buffer.from(content);
  stored[at] = 0x77;
  view.bytes[at] = 0x77;
  expect((await contentOf(handle)).equals(stored)).toBe(true);
}
