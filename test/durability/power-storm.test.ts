/**
 * Losses of power at random moments, again and again on one store, while processes write and sync versions of
 * files: each file is wholly at one version, which is no older than the last that was told to be synced.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { startChild } from '../chaos/children.ts';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { cutPower, never } from './power.ts';
import { contentOf, judge, type Known } from './storm-content.mjs';

/** Half of them with a write-back of a few milliseconds. */
const rounds = Number(process.env.CLUSTERFS_STORM_ROUNDS ?? 12);
const directories = ['/a', '/b', '/c'];
const filesEach = 6;
/** More than a writer can have made in a round. */
const versionsOfRound = 1_000_000;

type Manifest = Map<string, Known>;

describe.each([
  ['what is synced', never],
  ['what is synced, or written back at once', 3],
])('losses of power: %s', (_, writeBackMs) => {
  const count = Math.ceil(rounds / 2);
  test(`${count} of them, under load`, { timeout: 30_000 + count * 10_000 }, async () => {
    const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
    onTestFinished(() => rmSync(store, { recursive: true, force: true }));
    const node = await startNodeProcess({ store, writeBackMs, memory: 32 * 2 ** 20 });
    const manifest: Manifest = new Map(
      directories.flatMap((directory) =>
        Array.from(
          { length: filesEach },
          (_, i) => [`${directory}/${i}`, { synced: 0, versions: [] }] as const,
        ),
      ),
    );
    for (let round = 1; round <= count; round++) {
      await writeUntilCut(node, manifest, round);
      await node.start();
      const fs = await mountForTest(node);
      expect(await verify(fs, manifest), `round ${round}`).toEqual([]);
      expect(await fs.check()).toEqual([]);
      expect(node.errors).toEqual([]);
      await fs.unmount();
    }
  });
});

/** Lets the writers work until they have synced a random number of times, and cuts the power just then. */
async function writeUntilCut(node: NodeProcess, manifest: Manifest, round: number): Promise<void> {
  const first = round * versionsOfRound;
  const writers = directories.map((directory) =>
    startChild('../durability/storm-writer.mjs', [node.url, directory, filesEach, first]),
  );
  // Also what a writer told before it was killed is heard: until its channel ends.
  const heard = writers.map((writer) => once(writer.process, 'disconnect'));
  let left = 5 + Math.floor(Math.random() * 60);
  await new Promise<void>((isTime) => {
    for (const writer of writers) {
      writer.process.on('message', (told: Told) => {
        note(manifest, told);
        if (told.kind === 'synced' && --left === 0) isTime();
      });
      writer.process.once('exit', () => isTime());
    }
  });
  expect(left, 'no writer has ended by itself').toBeLessThanOrEqual(0);
  await cutPower(node);
  await Promise.all(writers.map((writer) => writer.kill()));
  await Promise.all(heard);
}

interface Told {
  readonly kind: 'begun' | 'synced';
  readonly path: string;
  readonly version: number;
  readonly size: number;
}

function note(manifest: Manifest, { kind, path, version, size }: Told): void {
  const { synced, versions } = manifest.get(path) as Known;
  if (kind === 'begun') manifest.set(path, { synced, versions: [...versions, { version, size }] });
  else manifest.set(path, { synced: version, versions: versions.filter((each) => each.version >= version) });
}

/** What is wrong. What is there now is durable, and the next loss of power must leave it so. */
async function verify(fs: ClusterFs, manifest: Manifest): Promise<string[]> {
  const findings: string[] = [];
  for (const [path, known] of manifest) {
    const bytes = fs.existsSync(path) ? await fs.promises.readFile(path) : undefined;
    const found = judge(path, bytes, known);
    if (typeof found === 'string') findings.push(found);
    else {
      const versions = known.versions.filter(({ version }) => version === found);
      manifest.set(path, { synced: found, versions });
    }
  }
  return findings;
}

test('the judge takes no mixture, nothing too old, and nothing that was never written', () => {
  const path = '/a/1';
  const [old, synced, newer] = [3, 5, 9].map((version) => ({ version, size: 3 * 4096 }));
  if (old === undefined || synced === undefined || newer === undefined) throw new Error('three versions');
  const longer = { version: 12, size: 4 * 4096 };
  const known = { synced: 5, versions: [synced, newer, longer] };
  for (const each of [synced, newer, longer])
    expect(judge(path, contentOf(path, each), known)).toBe(each.version);
  const mixed = contentOf(path, newer);
  contentOf(path, synced).copy(mixed, 4096, 4096, 8192);
  const displaced = contentOf(path, newer);
  displaced.copyWithin(4096, 0, 4096);
  const wrong = {
    'too old': contentOf(path, old),
    'a mixture': mixed,
    'a page in the place of another': displaced,
    'one with the size of another': contentOf(path, { ...newer, size: longer.size }),
    cut: contentOf(path, newer).subarray(0, 5000),
    'of another file': contentOf('/a/2', newer),
    'never written': contentOf(path, { version: 10, size: 3 * 4096 }),
    'zeros at the end': Buffer.concat([contentOf(path, newer).subarray(0, 8192), Buffer.alloc(4096)]),
    empty: Buffer.alloc(0),
    gone: undefined,
  };
  for (const [what, bytes] of Object.entries(wrong))
    expect(judge(path, bytes, known), what).toBeTypeOf('string');
  const neverSynced = { synced: 0, versions: [newer] };
  for (const bytes of [undefined, Buffer.alloc(0)]) expect(judge(path, bytes, neverSynced)).toBe(0);
  const small = [{ version: 1, size: 1 }];
  expect(judge(path, contentOf(path, { version: 2, size: 1 }), { synced: 1, versions: small })).toBeTypeOf(
    'string',
  );
});
