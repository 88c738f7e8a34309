/**
 * The torture on several nodes: two on one host, and six processes on three hosts with a network between.
 *
 *   CLUSTERFS_TORTURE_CHANGES=1000 npm test -- test/cluster/torture
 */
import { describe, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { startNodeProcess } from '../chaos/node-process.ts';
import { hostsAreMissing, needsHosts, startHosts } from './hosts.ts';
import { freePort } from './line.ts';
import { torture } from './torture.ts';

const changes = Number(process.env.CLUSTERFS_TORTURE_CHANGES ?? 30);
const timeout = 60_000 + changes * 500;

describe.each(['yielding', 'busy'] as const)(
  `${changes} changes (main threads: %s)`,
  { timeout },
  (style) => {
    test('from two nodes lose nothing', async () => {
      const peerPort = await freePort();
      const home = await startNodeProcess({ peerPort, name: 'a' });
      const member = await startNodeProcess({ joinPort: peerPort, peerPort: await freePort(), name: 'b' });
      const chambers = [
        { name: 'a', node: home, startClient: startChild },
        { name: 'b', node: member, startClient: startChild },
      ] as const;
      await torture(chambers, { style, readers: 2, changes });
    });

    test.skipIf(hostsAreMissing)(`from three hosts lose nothing${needsHosts}`, async () => {
      const { home, member, other } = await startHosts({ keeps: true });
      await torture([home, member, other], { style, readers: 3, changes });
    });
  },
);
