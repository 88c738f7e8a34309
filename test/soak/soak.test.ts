/**
 * Everything at once, for long: clients do random operations on directories of their own, in less memory than
 * their files take, while the node writes back, evicts and brings in. Each knows what its files must be.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { operations } from './operations.mjs';
import { type SoakNode, startSoakNode } from './soak-node.ts';

const clientCount = 4;
/** Of each client. */
const operationCount = Number(process.env.CLUSTERFS_SOAK_OPERATIONS ?? 500);
const seed = Number(process.env.CLUSTERFS_SOAK_SEED ?? Math.floor(Math.random() * 2 ** 32));
const memory = process.env.CLUSTERFS_SOAK_MEMORY ?? '8MiB';
/** An operation that is refused for want of memory takes two seconds. */
const timeout = 60_000 + operationCount * 200;

interface Worked {
  /** By operation, and by operation and error. */
  readonly counts: Readonly<Record<string, number>>;
  readonly paths: readonly string[];
}

describe(`seed ${seed}`, () => {
  test(`${operationCount} operations of each of ${clientCount} clients`, { timeout }, async () => {
    const node = await startNode();
    const clients = startClients(node, { operationCount });
    const worked = await allWorked(clients);
    for (const name of Object.keys(operations))
      expect(
        worked.some(({ counts }) => (counts[name] ?? 0) > 0),
        `some ${name} was answered`,
      ).toBe(true);
    expect(await evictedBytesOf(node)).toBeGreaterThan(0);
    await expectAllGood(node, clients);
  });

  test('the same with a node that is killed in the middle', { timeout }, async () => {
    const node = await startNode();
    const kills = 3;
    const clients = startClients(node, {
      operationCount,
      tellEvery: Math.ceil(operationCount / (kills + 1)),
      outlivesNodes: true,
    });
    for (let i = 0; i < kills; i++) {
      await clients[0]?.hear('at');
      await node.kill();
      await node.start();
    }
    await allWorked(clients);
    await expectAllGood(node, clients);
  });
});

describe('the soak notices', () => {
  const canaries: Record<string, (fs: ClusterFs, path: string) => Promise<unknown>> = {
    'a wrong byte': spoilByte,
    'a byte too many': (fs, path) => fs.promises.appendFile(path, 'x'),
    'a file that is lost': (fs, path) => fs.promises.unlink(path),
    'a file that is too much': (fs, path) => fs.promises.writeFile(`${path}.other`, ''),
    'a name that is too much': (fs, path) => fs.promises.link(path, '/another-name'),
  };
  test.each(Object.entries(canaries))('%s', async (_, spoil) => {
    const node = await startNode();
    const [client] = startClients(node, { count: 1, operationCount: 60 }) as [Child];
    const { paths } = await client.hear<Worked>('worked');
    const fs = await mountUntilEnd(node);
    expect(await judgmentOf(client)).toEqual([]);
    const victim = paths.find((path) => fs.statSync(path).size > 1) as string;
    await spoil(fs, victim);
    expect(await judgmentOf(client)).toContainEqual(expect.stringContaining(victim));
  });

  test('a change behind the back of a client that works', async () => {
    const node = await startNode();
    const fs = await mountUntilEnd(node);
    const [client] = startClients(node, { count: 1, operationCount: 1_000_000, tellEvery: 10 }) as [Child];
    await client.hear('at');
    const spoiling = spoilAll(fs, '/client-0', client);
    await expect(client.hear('worked')).rejects.toThrow(/bytes are wrong/);
    await spoiling;
  });
});

const startNode = (): Promise<SoakNode> => startSoakNode({ memory, capacity: '64MiB', 'write-back': '100' });

interface Work {
  /** Of clients. */
  readonly count?: number;
  readonly operationCount: number;
  readonly tellEvery?: number;
  readonly outlivesNodes?: boolean;
}

function startClients(
  { url }: SoakNode,
  { count = clientCount, operationCount, tellEvery = operationCount + 1, outlivesNodes = false }: Work,
): Child[] {
  return Array.from({ length: count }, (_, i) => {
    const options = { url, operationCount, tellEvery, outlivesNodes };
    const own = { directory: `/client-${i}`, seed: (seed + i) >>> 0 };
    return startChild('../soak/soak-client.mjs', [JSON.stringify({ ...options, ...own })]);
  });
}

const allWorked = (clients: readonly Child[]): Promise<Worked[]> =>
  Promise.all(clients.map((client) => client.hear<Worked>('worked')));

async function judgmentOf(client: Child): Promise<readonly string[]> {
  client.send('judge');
  return (await client.hear<{ findings: readonly string[] }>('judged')).findings;
}

async function mountUntilEnd(node: SoakNode): Promise<ClusterFs> {
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  return fs;
}

async function evictedBytesOf(node: SoakNode): Promise<number> {
  const fs = await mount(node.url);
  const { evictedBytes } = (await fs.status()).store as { evictedBytes: number };
  await fs.unmount();
  return evictedBytes;
}

/** Changes one byte in the middle. */
async function spoilByte(fs: ClusterFs, path: string): Promise<void> {
  const view = await fs.map(path, { mode: 'rw' });
  const at = Math.floor(view.bytes.length / 2);
  view.bytes[at] = (view.bytes[at] as number) ^ 1;
  view.close();
}

/** Spoils each file of a directory, again and again, as long as its client lives. */
async function spoilAll(fs: ClusterFs, directory: string, client: Child): Promise<void> {
  while (client.process.exitCode === null && client.process.signalCode === null) {
    for (const name of await fs.promises.readdir(directory)) {
      await spoilByte(fs, `${directory}/${name}`).catch((error: NodeJS.ErrnoException) => {
        // Removed, or renamed, since the directory was read.
        if (error.code !== 'ENOENT') throw error;
      });
    }
  }
}

/** In memory, in the store, and in memory again. */
async function expectAllGood(node: SoakNode, clients: readonly Child[]): Promise<void> {
  const expectContents = async (): Promise<void> => {
    for (const client of clients) expect(await judgmentOf(client)).toEqual([]);
    const fs = await mount(node.url);
    expect(await fs.check()).toEqual([]);
    await fs.unmount();
  };
  await expectContents();
  expect(await node.interrupt()).toBe(0);
  expect(node.fsck()).toMatchObject({ code: 0, output: expect.stringContaining('nothing was found') });
  await node.start();
  await expectContents();
  expect(await node.interrupt()).toBe(0);
  expect(node.errors()).toBe('');
}
