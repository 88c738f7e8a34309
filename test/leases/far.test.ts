/** Every cell of the table of copies in docs/leases.md: views at a node that is not the home of the file. */
import { once } from 'node:events';
import { type ClusterFs, mount } from 'cluster-fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NodeProcess, startNode } from '../setups/node-process.ts';
import { acts, arrange, contentOf, page, viewPages } from './acts.ts';
import { type CaseName, cases, farKinds, farOutcome, type Kind } from './cases.ts';

const nodes: NodeProcess[] = [];
const mounts: ClusterFs[] = [];
let fs: ClusterFs;
let holders: Record<Kind['client'], ClusterFs>;

beforeAll(async () => {
  const home = await startNode({ options: ['--listen', 'tcp://127.0.0.1:0'] });
  const node = await startNode({ options: ['--join', home.peerUrl ?? ''] });
  nodes.push(node, home);
  fs = await mount(home.url);
  holders = { 'on-demand': await mount(node.url), pinned: await mount(node.url, { mode: 'pinned' }) };
  mounts.push(fs, ...Object.values(holders));
});

afterAll(async () => {
  for (const each of mounts) await each.unmount();
  for (const node of nodes) await node.stop();
});

describe.each((Object.keys(cases) as CaseName[]).filter((name) => name !== 'evict'))('%s', (name) => {
  test.each(farKinds.map((kind) => ({ ...kind, outcome: farOutcome(name, kind) })))(
    'under a view that is $client, $follow, $mode: $outcome',
    async ({ outcome, ...kind }) => {
      const { old, handle, view, close } = await arrange(
        { fs, holder: holders[kind.client] },
        acts[name],
        kind,
      );
      const after = acts[name].after(Buffer.from(old));
      const shown = () => Buffer.from(new Uint8Array(view.buffer));
      const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(viewPages * page - bytes.length)]);
      const isShown = (bytes: Buffer) => shown().equals(padded(bytes));
      expect(isShown(old)).toBe(true);
      const changed = outcome === 'on advance' ? once(view, 'change') : undefined;
      await acts[name].run(fs, handle);
      if (outcome === 'swapped') await expect.poll(() => isShown(after)).toBe(true);
      else if (outcome === 'on advance') {
        await changed;
        expect(isShown(old)).toBe(true);
        await view.advance();
      }
      expect(isShown(after)).toBe(true);
      if (kind.follow === 'manual') await view.advance();
      await expect.poll(() => view.size).toBe(after.length);
      expect((await contentOf(handle)).equals(after)).toBe(true);
      await close();
      const far = holders[kind.client];
      await expect.poll(async () => (await far.status()).quarantinedBytes).toBe(0);
      expect(await far.check()).toEqual([]);
    },
  );
});
