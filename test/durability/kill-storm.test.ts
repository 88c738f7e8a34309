/**
 * Clients, the node, both, or all with the power are killed at random moments, again and again on one store,
 * while processes write, rename, remove and sync. What was answered survives a kill, what was synced a loss
 * of power, and afterwards all goes on: files are removed, places are used again, everything can be synced.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { type Change, Manifest } from './kill-manifest.ts';
import { cutPower, never } from './power.ts';
import { contentOf } from './storm-content.mjs';

const rounds = Number(process.env.CLUSTERFS_KILL_ROUNDS ?? 8);
const directories = ['/a', '/b', '/c'];
const filesEach = 6;
/** More than a writer can have made in a round. */
const versionsOfRound = 1_000_000;

const victims = ['node', 'client', 'both', 'power'] as const;
type Victim = (typeof victims)[number];

test(`${rounds} kills under load`, { timeout: 30_000 + rounds * 15_000 }, async () => {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const manifest = new Manifest();
  let first = 0;
  for (const writeBackMs of [never, 3]) {
    const node = await startNodeProcess({ store, writeBackMs, memory: 32 * 2 ** 20 });
    for (let round = 1; round <= Math.ceil(rounds / 2); round++) {
      const victim = victims[round % victims.length] as Victim;
      first += versionsOfRound;
      const where = `round ${round}, ${victim}, write-back ${writeBackMs}`;
      expect(await killUnderLoad(node, { victim, manifest, first }), where).toEqual([]);
      const fs = await mountForTest(node);
      const wrong = await manifest.verify(fs, victim === 'power' ? 'synced' : 'answered');
      expect(wrong, where).toEqual([]);
      await goOn(fs, manifest);
      expect(await fs.check(), where).toEqual([]);
      expect(node.errors, where).toEqual([]);
      await fs.unmount();
    }
    await node.stop();
  }
});

interface Told extends Change {
  readonly kind: 'begun' | 'answered' | 'synced' | 'failed';
  readonly text?: string;
}

class Writer {
  readonly child: Child;
  readonly ended: Promise<unknown>;
  readonly failures: string[] = [];
  #syncs = 0;
  #wake: () => void = () => undefined;

  constructor(url: string, directory: string, { manifest, first }: { manifest: Manifest; first: number }) {
    this.child = startChild('../durability/kill-writer.mjs', [url, directory, filesEach, first]);
    // Also what it told before it was killed is heard: until its channel ends.
    this.ended = once(this.child.process, 'disconnect');
    this.child.process.on('message', (told: Told) => {
      if (told.kind === 'failed') this.failures.push(told.text ?? '');
      else manifest.note(told.kind, told);
      if (told.kind === 'synced') this.#syncs++;
      this.#wake();
    });
  }

  /** Resolves when it has synced so often from now on, or has ended. */
  async syncs(count: number): Promise<void> {
    const enough = this.#syncs + count;
    const isAlive = (): boolean => this.child.process.exitCode === null && this.child.process.connected;
    const exit = this.ended.then(() => this.#wake());
    while (this.#syncs < enough && isAlive())
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    if (this.#syncs < enough) await exit;
  }

  async kill(): Promise<void> {
    await this.child.kill();
    await this.ended;
  }
}

/** Kills somebody at a random moment, and lets the others go on; what failed that must not. */
async function killUnderLoad(
  node: NodeProcess,
  { victim, ...rest }: { victim: Victim; manifest: Manifest; first: number },
): Promise<string[]> {
  const writers = directories.map((directory) => new Writer(node.url, directory, rest));
  const [one, ...others] = writers as [Writer, ...Writer[]];
  await one.syncs(2 + Math.floor(Math.random() * 20));
  if (victim === 'power') {
    await cutPower(node);
    await Promise.all(writers.map((writer) => writer.kill()));
  } else {
    const clients = victim === 'node' ? [] : [one.kill()];
    await Promise.all([...clients, victim === 'client' ? undefined : node.kill()]);
    if (victim !== 'client') await node.start();
    await Promise.all((victim === 'node' ? writers : others).map((writer) => writer.syncs(3)));
    await Promise.all(writers.map((writer) => writer.kill()));
  }
  if (!node.isAlive) await node.start();
  return writers.flatMap(({ failures }) => failures);
}

/** Some files go and others come, in places that are free now. */
async function goOn(fs: ClusterFs, manifest: Manifest): Promise<void> {
  const paths = manifest.paths().filter((path) => fs.existsSync(path));
  const removed = paths.filter((_, i) => i % 3 === 0);
  for (const path of removed) await fs.promises.unlink(path);
  await fs.sync();
  for (const path of removed) manifest.forget(path);
  await fs.promises.writeFile('/large', Buffer.alloc(2 ** 20, 'large'));
  await fs.sync();
}

test('the manifest takes no lost answer, no mixture, and nothing too old', async () => {
  const fs = await mountForTest(await startNodeProcess());
  const version = (path: string, n: number, how: Change['how'] = 'put'): Change => {
    return { path, version: n, size: how === 'remove' ? 0 : 10_000, how };
  };
  /** What is found when the file has the content of one version, or of two; or is not there. */
  const verdicts = async (changes: readonly Change[], has: readonly number[]): Promise<boolean[]> => {
    const [{ path }] = changes as [Change];
    const parts = has.map((n) => contentOf(path, version(path, n)).subarray(0, 10_000 / has.length));
    const verdictSince = async (since: 'answered' | 'synced'): Promise<boolean> => {
      const manifest = new Manifest();
      for (const [i, change] of changes.entries()) {
        manifest.note('begun', change);
        if (i < changes.length - 1) manifest.note('answered', change);
        if (i === 0) manifest.note('synced', change);
      }
      if (has.length > 0) await fs.promises.writeFile(path, Buffer.concat(parts));
      else await fs.promises.rm(path, { force: true });
      return (await manifest.verify(fs, since)).length === 0;
    };
    return [await verdictSince('answered'), await verdictSince('synced')];
  };
  const puts = [1, 2, 3].map((n) => version('/put', n));
  expect(await verdicts(puts, [3])).toEqual([true, true]);
  expect(await verdicts(puts, [2])).toEqual([true, true]);
  expect(await verdicts(puts, [1])).toEqual([false, true]);
  expect(await verdicts(puts, [2, 3])).toEqual([false, false]);
  expect(await verdicts(puts, [])).toEqual([false, false]);
  expect(await verdicts(puts, [4])).toEqual([false, false]);
  const inPlace = [version('/in-place', 1), version('/in-place', 2, 'in place')];
  expect(await verdicts(inPlace, [1, 2])).toEqual([true, false]);
  const removed = [version('/gone', 1), version('/gone', 2, 'remove'), version('/gone', 3)];
  expect(await verdicts(removed, [])).toEqual([true, true]);
  expect(await verdicts(removed, [1])).toEqual([false, true]);
});
