/** A node that is killed and started again is there twice, until the lease of its earlier life is over. */
import { expect, onTestFinished, test } from 'vitest';
import { startHome } from './stranger.ts';

/** A few leases, and time for a slow machine. */
const timeout = 60_000;

test('a node that was started again is reached when its earlier life is over', { timeout }, async () => {
  const { fs, enter } = await startHome();
  const nodes = async () => {
    const { cluster } = (await fs.status()) as unknown as { cluster: { nodes: { url: string | null }[] } };
    return cluster.nodes.length;
  };
  const url = 'tcp://127.0.0.1:1';
  const first = await enter(2);
  await first.link.request('keep', { url, memoryBytes: 0, capacityBytes: 0, isStored: false });
  first.link.close();

  const second = await enter(2, undefined, 2);
  const pinging = setInterval(() => second.ping(), 500);
  onTestFinished(() => clearInterval(pinging));
  await second.link.request('keep', { url, memoryBytes: 0, capacityBytes: 0, isStored: false });
  expect(await nodes()).toBe(2);
  await expect.poll(nodes, { timeout }).toBe(1);
  await second.link.request('follow', { feed: undefined, sequence: 0 });
  await second.hears('keepers');
  expect(second.keepers).toMatchObject([{ url }]);
});
