/**
 * Nodes on three hosts with a network between them, all under load, while cables are pulled and nodes die or
 * stand still: who can reach the home goes on within a bound, nobody's late stores count, and in the end
 * everything is what the clerks have done.
 *
 *   CLUSTERFS_OUTAGE_SECONDS=30 CLUSTERFS_NETWORK_ROUNDS=500 npm test -- test/cluster/network
 */
import { describe, expect, test } from 'vitest';
import { hostsAreMissing, type NodeOnHost, needsHosts } from './hosts.ts';
import { type Clerk, type Office, openOffice, statusOf } from './office.ts';

/** At least; and as long as the others need to go on, which is longer than a lease. */
const outageMs = Number(process.env.CLUSTERFS_OUTAGE_SECONDS ?? 0) * 1000;
const rounds = Number(process.env.CLUSTERFS_NETWORK_ROUNDS ?? 8);
const kills = Number(process.env.CLUSTERFS_HOME_KILLS ?? 1);
/** How long a round may take whose node reaches the home: three leases. */
const boundMs = 15_000;
const timeout = 90_000 + 2 * outageMs + (rounds + kills) * 4000;

describe.skipIf(hostsAreMissing)(`three hosts${needsHosts}`, { timeout }, () => {
  test('on a network that is slow and loses packets lose nothing', async () => {
    const office = await openOffice();
    await office.goOn(office.clerks);
    await office.hosts.network.worsen({ delayMs: 3, jitterMs: 2, lossPercent: 1, seed: 42 });
    await office.goOn(office.clerks, rounds);
    await office.close();
  });

  test.each([
    ['whose cable is pulled', (host: NodeOnHost) => host.unplug(), (host: NodeOnHost) => host.plug()],
    ['that stands still', signal('SIGSTOP'), signal('SIGCONT')],
  ])('go on without a node %s, and with it when it is back', async (_, begin, end) => {
    const office = await openOffice();
    const [atHome, cutOff, atOther] = office.clerks as [Clerk, Clerk, Clerk];
    await office.goOn(office.clerks);
    begin(office.hosts.member);
    await goOnFor(office, [atHome, atOther]);
    expect(await nodesOf(office)).toEqual(['c']);
    end(office.hosts.member);
    await office.goOn(office.clerks);
    expect(await nodesOf(office)).toEqual(['b', 'c']);
    expectBounded([atHome, atOther]);
    await office.close({ mayLose: [cutOff] });
  });

  test('wait while the cable of the home is pulled, and go on when it is back', async () => {
    const office = await openOffice();
    const [atHome, atMember, atOther] = office.clerks as [Clerk, Clerk, Clerk];
    await office.goOn(office.clerks);
    office.hosts.home.unplug();
    await goOnFor(office, [atHome]);
    expect(await nodesOf(office)).toEqual([]);
    office.hosts.home.plug();
    await office.goOn(office.clerks);
    expectBounded([atHome]);
    await office.close({ mayLose: [atMember, atOther] });
  });

  test('go on without a node that is killed, and with it when it is started again', async () => {
    const office = await openOffice();
    const [atHome, killed, atOther] = office.clerks as [Clerk, Clerk, Clerk];
    const { node } = office.hosts.member;
    await office.goOn(office.clerks);
    await node.kill();
    await office.kill(killed);
    await office.goOn([atHome, atOther]);
    await node.start();
    const hired = await office.hire(office.hosts.member);
    await office.goOn([atHome, atOther, hired]);
    expectBounded([atHome, atOther, hired]);
    await office.close();
  });

  test('go on when the home is killed and started again', async () => {
    const office = await openOffice();
    const [, atMember, atOther] = office.clerks as [Clerk, Clerk, Clerk];
    await office.goOn(office.clerks);
    for (let i = 0; i < kills; i++) {
      await office.hosts.home.node.kill();
      await office.hosts.home.node.start();
      await office.goOn(office.clerks);
    }
    await office.close({ mayLose: [atMember, atOther] });
  });
});

function signal(name: NodeJS.Signals) {
  return ({ node }: NodeOnHost) => void process.kill(node.pid, name);
}

async function goOnFor(office: Office, clerks: readonly Clerk[]): Promise<void> {
  const endMs = performance.now() + outageMs;
  do await office.goOn(clerks);
  while (performance.now() < endMs);
}

const nodesOf = async ({ hosts }: Office): Promise<string[]> =>
  (await statusOf(hosts.home)).cluster.nodes.map(({ name }) => name).sort();

function expectBounded(clerks: readonly Clerk[]): void {
  for (const { last } of clerks) expect(last?.longestMs).toBeLessThan(boundMs);
}
