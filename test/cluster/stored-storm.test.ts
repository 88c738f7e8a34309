/**
 * Three nodes with stores, files that are written, synced and moved between them, and losses of power at
 * random moments: of one node, or of all. What was synced is there afterwards, whole, wherever the file is.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { cutPower } from '../durability/power.ts';
import { randomOf } from '../random.mjs';
import { freePort } from './line.ts';

const rounds = Number(process.env.CLUSTERFS_CLUSTER_STORM_ROUNDS ?? 3);
const seed = Number(process.env.CLUSTERFS_SEED ?? Math.floor(Math.random() * 2 ** 32));
const MiB = 2 ** 20;
const fileCount = 6;
const fileBytes = 300_000;
const names = ['a', 'b', 'c'] as const;
/** A round is over soon after its lease. */
const patience = { timeout: 30_000, interval: 100 };

interface Versions {
  readonly path: string;
  /** What was asked for last, what was answered, and what of it was synced. */
  asked: number;
  answered: number;
  synced: number;
}

const contentOf = (version: number): Buffer => {
  const bytes = Buffer.alloc(fileBytes + (version % 7) * 1000, version & 0xff);
  bytes.writeUInt32LE(version, 0);
  return bytes;
};

async function startNodes(): Promise<NodeProcess[]> {
  const joinPort = await freePort();
  const nodes: NodeProcess[] = [];
  for (const name of names) {
    const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
    onTestFinished(() => rmSync(store, { recursive: true, force: true }));
    const ports = name === 'a' ? { peerPort: joinPort } : { joinPort, peerPort: await freePort() };
    nodes.push(
      await startNodeProcess({
        ...ports,
        name,
        store,
        memory: 16 * MiB,
        capacity: 64 * MiB,
        writeBackMs: 300,
      }),
    );
  }
  return nodes;
}

test(`what was synced outlives losses of power while files move (CLUSTERFS_SEED=${seed})`, {
  timeout: 60_000 + rounds * 40_000,
}, async () => {
  const random = randomOf(seed);
  const nodes = await startNodes();
  let mounts = await mountAll(nodes);
  onTestFinished(() => unmountAll(mounts));
  const files = Array.from({ length: fileCount }, (_, i): Versions => {
    return { path: `/file-${i}`, asked: 1, answered: 1, synced: 1 };
  });
  for (const { path } of files) await (mounts[0] as ClusterFs).promises.writeFile(path, contentOf(1));
  await mounts[0]?.sync();
  for (let round = 0; round < rounds; round++) {
    const end = new AbortController();
    const work = [
      ...files.map((file) => writeOn(file, () => random.pick(mounts), { random, signal: end.signal })),
      moveOn(files, () => random.pick(mounts), { random, signal: end.signal }),
    ];
    await pause(100 + random.below(1500));
    const victims = random.pick([[0], [1], [2], [1, 2], [0, 1, 2]]).map((i) => nodes[i] as NodeProcess);
    await Promise.all(victims.map(cutPower));
    end.abort();
    // What was asked and not answered may have happened.
    await unmountAll(mounts);
    await Promise.all(work);
    for (const victim of victims) await victim.start();
    mounts = await mountAll(nodes);
    for (const file of files) await judge(file, mounts, `round ${round}, ${victims.length} lost power`);
    for (const fs of mounts) expect(await fs.check()).toEqual([]);
  }
  expect(nodes.map(({ errors }) => errors.filter((error) => !isOfLoss(error)))).toEqual([[], [], []]);
});

/** What nodes say when another one is gone. */
const isOfLoss = (error: string): boolean =>
  /ECONNRESET|ETIMEDOUT|ECONNREFUSED|EIO: .*cannot be reached|ESTALE|ENONET|EPIPE/.test(error);

const mountAll = (nodes: readonly NodeProcess[]): Promise<ClusterFs[]> =>
  Promise.all(nodes.map(({ url }) => mount(url)));
const unmountAll = async (mounts: readonly ClusterFs[]): Promise<void> => {
  await Promise.all(mounts.map((fs) => fs.unmount()));
};

interface Working {
  readonly random: ReturnType<typeof randomOf>;
  readonly signal: AbortSignal;
}

/** Writes version after version until something fails, or is over. */
async function writeOn(file: Versions, at: () => ClusterFs, { random, signal }: Working): Promise<void> {
  while (!signal.aborted) {
    const version = ++file.asked;
    try {
      await at().promises.writeFile(file.path, contentOf(version));
      file.answered = version;
      if (random.below(3) > 0) continue;
      await at().sync(random.pick([file.path, undefined]));
      file.synced = version;
    } catch {
      return;
    }
  }
}

async function moveOn(
  files: readonly Versions[],
  at: () => ClusterFs,
  { random, signal }: Working,
): Promise<void> {
  while (!signal.aborted) {
    const moving = at().migrate(random.pick([...files]).path, random.pick([...names]), { signal });
    await moving.catch(() => undefined);
  }
}

/** All nodes have one whole version of the file: the one that was synced last, or a newer. */
async function judge(file: Versions, mounts: readonly ClusterFs[], when: string): Promise<void> {
  const first = mounts[0] as ClusterFs;
  const read = (fs: ClusterFs) => fs.promises.readFile(file.path).catch((error: Error) => error.message);
  for (const fs of mounts) await expect.poll(async () => typeof (await read(fs)), patience).toBe('object');
  const content = (await read(first)) as Buffer;
  const version = content.readUInt32LE(0);
  const what = `${file.path} after ${when}: version ${version} of ${file.synced}..${file.asked}`;
  expect(version, what).toBeGreaterThanOrEqual(file.synced);
  expect(version, what).toBeLessThanOrEqual(file.asked);
  expect(content.equals(contentOf(version)), `${what}, whole`).toBe(true);
  for (const fs of mounts) expect(content.equals((await read(fs)) as Buffer), what).toBe(true);
  file.synced = Math.min(version, file.synced);
  file.answered = version;
}
