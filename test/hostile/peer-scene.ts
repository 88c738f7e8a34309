/** Two honest nodes that work while hostile ones talk to the home: nothing that they do may show. */
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished } from 'vitest';
import { mountForTest, type NodeOptions, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { freePort } from '../cluster/line.ts';

const MiB = 2 ** 20;
/** Who holds others up does so for a lease; three are the bound. */
const patienceMs = 15_000;
const memorySlackBytes = 96 * MiB;

export interface PeerScene {
  readonly peerPort: number;
  /** How many nodes were let in until now. */
  readonly joined: () => number;
  /** Ends the honest work and looks: all went well, and the nodes have what they had and nothing more. */
  expectUndisturbed(): Promise<void>;
}

interface Status {
  readonly sessions: readonly unknown[];
  readonly quarantinedBytes: number;
  readonly cluster: { readonly nodes: readonly { readonly name: string }[]; readonly stags: number };
}
const statusOf = async (fs: ClusterFs): Promise<Status> => (await fs.status()) as unknown as Status;

/** `prepare`: what is done before the nodes are looked at for the first time. */
export async function startPeerScene(
  prepare: (peerPort: number) => Promise<void>,
  options: Pick<NodeOptions, 'env' | 'token'> = {},
): Promise<PeerScene> {
  const peerPort = await freePort();
  const home = await startNodeProcess({ ...options, peerPort });
  const member = await startNodeProcess({ ...options, joinPort: peerPort });
  const nodes = [home, member];
  const mounts = [await mountForTest(home), await mountForTest(member)] as const;
  await mounts[0].promises.mkdir('/witness');
  const joined = await countJoined(home);
  await prepare(peerPort);
  await expectAlone(mounts[0], 2);
  const work = startWork(mounts);
  await work.rounds(3);
  const before = nodes.map(lookAt);
  return {
    peerPort,
    joined,
    expectUndisturbed: async () => {
      await work.rounds(3);
      await work.stop();
      expect(nodes.flatMap(({ errors }) => errors)).toEqual([]);
      // The client of the other node, as its home knows it, has come with its first request.
      await expectAlone(mounts[0], 3);
      for (const [i, node] of nodes.entries()) {
        expect(node.isAlive).toBe(true);
        const { descriptors, rssBytes } = before[i] as ReturnType<typeof lookAt>;
        await expect.poll(() => node.descriptors().length, { timeout: 5000 }).toBe(descriptors);
        expect(node.rssBytes()).toBeLessThan(rssBytes + memorySlackBytes);
        expect(await (mounts[i] as ClusterFs).check()).toEqual([]);
      }
    },
  };
}

async function countJoined(home: NodeProcess): Promise<() => number> {
  const events = (await mountForTest(home)).events();
  let count = 0;
  const hear = async (): Promise<void> => {
    for await (const { kind } of events) if (kind === 'node-join') count++;
  };
  // It ends with its mount.
  hear().catch(() => undefined);
  return () => count;
}

const lookAt = (node: NodeProcess) => ({ descriptors: node.descriptors().length, rssBytes: node.rssBytes() });

/** Of the hostile ones and their clients nothing is left when their leases are over. */
async function expectAlone(home: ClusterFs, sessions: number): Promise<void> {
  const names = async () => (await statusOf(home)).cluster.nodes.map(({ name }) => name);
  await expect.poll(names, { timeout: patienceMs }).toEqual(['member']);
  await expect.poll(async () => (await statusOf(home)).sessions.length, { timeout: 5000 }).toBe(sessions);
  await expect.poll(async () => (await statusOf(home)).quarantinedBytes, { timeout: 5000 }).toBe(0);
}

function startWork(mounts: readonly [ClusterFs, ClusterFs]) {
  let stopped = false;
  let done = 0;
  const loop = async (): Promise<void> => {
    for (let round = 0; !stopped; round++, done++) {
      const [one, other] = round % 2 === 0 ? mounts : ([mounts[1], mounts[0]] as const);
      const started = performance.now();
      const path = `/witness/${round % 3}`;
      const content = Buffer.alloc(90_000 + (round % 5) * 4096, round);
      await one.promises.writeFile(path, content);
      expect(Buffer.compare(await other.promises.readFile(path), content)).toBe(0);
      await other.promises.appendFile(path, 'x');
      expect(one.statSync(path).size).toBe(content.length + 1);
      expect(performance.now() - started).toBeLessThan(patienceMs);
    }
  };
  const finished = loop();
  // Who asks for rounds or stops hears of a failure; until then it is nobody's.
  finished.catch(() => undefined);
  onTestFinished(() => {
    stopped = true;
  });
  return {
    rounds: (more: number) => {
      const enough = done + more;
      const reached = expect.poll(() => done, { timeout: 4 * patienceMs, interval: 5 });
      return Promise.race([finished, reached.toBeGreaterThanOrEqual(enough)]);
    },
    stop: () => {
      stopped = true;
      return finished;
    },
  };
}
