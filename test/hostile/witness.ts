/** An honest client that works while others misbehave: nothing that they do may show here. */
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, onTestFinished } from 'vitest';
import { type NodeOptions, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
/** An honest client never waits longer, whatever others send. */
const patienceMs = 3000;
/** What garbage collection may leave behind. */
const memorySlackBytes = 96 * MiB;

export interface Scene {
  readonly node: NodeProcess;
  readonly fs: ClusterFs;
  /**
   * Ends the honest client's work and looks: it met no error and no long wait, the node has all it had and
   * nothing more, and every invariant holds.
   */
  expectUndisturbed(): Promise<void>;
}

export async function startScene(options: NodeOptions = {}): Promise<Scene> {
  const node = await startNodeProcess(options);
  const fs = await mount(node.url, { label: 'witness' });
  onTestFinished(() => fs.unmount());
  await fs.promises.mkdir('/witness');
  const work = startWork(fs);
  await work.rounds(2);
  const before = { descriptors: node.descriptors().length, rssBytes: node.rssBytes() };
  return {
    node,
    fs,
    expectUndisturbed: async () => {
      expect(node.isAlive, node.errors.join('\n')).toBe(true);
      await work.rounds(2);
      await work.stop();
      expect(node.errors.filter((error) => !isFaultOfPeer(error))).toEqual([]);
      await expect.poll(() => node.descriptors().length, { timeout: 3000 }).toBe(before.descriptors);
      await expect.poll(async () => ((await fs.status()).sessions as unknown[]).length).toBe(1);
      expect(await fs.check()).toEqual([]);
      await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
      expect(node.rssBytes()).toBeLessThan(before.rssBytes + memorySlackBytes);
    },
  };
}

/** The node tells its operator when a client gives back what it never had. */
const isFaultOfPeer = (error: string): boolean => error.includes('not reserved by their session');

function startWork(fs: ClusterFs) {
  let stopped = false;
  let done = 0;
  const loop = async (): Promise<void> => {
    for (let round = 0; !stopped; round++) {
      const started = performance.now();
      await oneRound(fs, round);
      expect(performance.now() - started).toBeLessThan(patienceMs);
      done++;
    }
  };
  const finished = loop();
  // Who asks for rounds or stops hears of a failure; until then it is nobody's.
  finished.catch(() => undefined);
  return {
    rounds: (more: number) => {
      const enough = done + more;
      return Promise.race([
        finished,
        expect.poll(() => done, { timeout: 10_000, interval: 5 }).toBeGreaterThanOrEqual(enough),
      ]);
    },
    stop: () => {
      stopped = true;
      return finished;
    },
  };
}

async function oneRound(fs: ClusterFs, round: number): Promise<void> {
  const path = `/witness/${round % 3}`;
  const content = Buffer.alloc(30_000 + (round % 5) * 4096, round);
  await fs.promises.writeFile(path, content);
  const view = await fs.map(path);
  await fs.move(path);
  expect(Buffer.compare(view.bytes, content)).toBe(0);
  view.close();
  expect(Buffer.compare(await fs.promises.readFile(path), content)).toBe(0);
  await fs.promises.appendFile(path, 'x');
  expect((await fs.promises.stat(path)).size).toBe(content.length + 1);
}
