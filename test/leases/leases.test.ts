/** Every cell of the table in docs/leases.md: one operation under one kind of view. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ClusterFs, mount, type View } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NodeProcess, startNode } from '../setups/node-process.ts';
import { acts, arrange, contentOf, type FileHandle, filePages, from, page, path, viewPages } from './acts.ts';
import { type CaseName, cases, type Kind, kinds, type Outcome } from './cases.ts';

interface Scene {
  readonly node: NodeProcess;
  readonly fs: ClusterFs;
  readonly mounts: Record<Kind['client'], ClusterFs>;
}
const scenes = new Map<'memory' | 'store', Scene>();
const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
const sceneOf = (name: 'memory' | 'store'): Scene => scenes.get(name) as Scene;

beforeAll(async () => {
  for (const [name, options] of [['memory', []] as const, ['store', ['--store', store]] as const]) {
    const node = await startNode({ options });
    const mounts = {
      'on-demand': await mount(node.url),
      pinned: await mount(node.url, { mode: 'pinned' }),
    };
    scenes.set(name, { node, fs: await mount(node.url), mounts });
  }
});

afterAll(async () => {
  for (const { node, fs, mounts } of scenes.values()) {
    for (const each of [...Object.values(mounts), fs]) await each.unmount();
    await node.stop();
  }
  rmSync(store, { recursive: true, force: true });
});

test('one client has a userfaultfd, the other has none', () => {
  const { mounts } = sceneOf('memory');
  expect(mounts['on-demand'].session.onDemand).toBe(true);
  expect(mounts.pinned.session.onDemand).toBe(false);
});

/** With a store the file is not in memory, where it need not be: a touch brings it back. */
const everyCase = (Object.keys(cases) as CaseName[]).flatMap((name) => [
  ...(name === 'evict' ? [] : [{ name, in: 'memory' } as const]),
  { name, in: 'store' } as const,
]);

describe.each(everyCase)('$name, in $in', ({ name, in: where }) => {
  test.each(kinds.map((kind, i) => ({ ...kind, outcome: cases[name].outcomes[i] as Outcome })))(
    'under a view that is $client, $follow, $mode: $outcome',
    async ({ outcome, ...kind }) => {
      const { fs, mounts } = sceneOf(where);
      const given = { fs, holder: mounts[kind.client], isEvicted: where === 'store' && name !== 'evict' };
      const { old, handle, view, close } = await arrange(given, acts[name], kind);
      const after = acts[name].after(Buffer.from(old));
      const shown = () => Buffer.from(new Uint8Array(view.buffer));
      const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(viewPages * page - bytes.length)]);
      const expectShown = (bytes: Buffer) => expect(shown().equals(padded(bytes))).toBe(true);
      const changed = outcome === 'on advance' ? once(view, 'change') : undefined;
      const done = acts[name].run(fs, handle);

      if (outcome === 'recall') {
        await expectBusy(done, mounts[kind.client]);
        expectShown(old);
      } else {
        const did = await done;
        if (name === 'evict') expect(did).toBe(outcome === 'stays' ? 0 : filePages * page);
        if (outcome === 'at once' || outcome === 'same' || outcome === 'stays') expectShown(after);
        else if (outcome === 'swapped') await expect.poll(() => shown().equals(padded(after))).toBe(true);
        else {
          await changed;
          expectShown(old);
          if (kind.mode === 'rw') await expectLost(view, handle, after);
          await view.advance();
          expectShown(after);
        }
      }
      const content = outcome === 'recall' ? old : after;
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
    const { fs, mounts } = sceneOf('memory');
    for (const name of ['punch', 'zero', 'replace'] as const) {
      const { handle, view, close } = await arrange({ fs, holder: mounts[kind.client] }, acts[name], kind);
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

async function expectBusy(done: Promise<unknown>, { session }: ClusterFs): Promise<void> {
  const error = await done.then(
    () => new Error('it was done'),
    (reason: Error & { path?: string }) => reason,
  );
  expect(error).toMatchObject({ code: 'EBUSY', path });
  expect(error.message).toContain(`held by session ${session.id} (pid ${process.pid})`);
  expect(error.message).toContain('nothing there listens for a recall');
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
