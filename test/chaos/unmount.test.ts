/**
 * Mounts that end in the middle of something: a copy that is under way, a node that is away. Nothing of them
 * touches what others get meanwhile, and nobody waits for them.
 */
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { type ClusterFs, mount } from 'cluster-fs';
import { expect, test } from 'vitest';
import { mountForTest, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const content = Buffer.alloc(16 * MiB, 7);

/** Turns of the event loop that a copy has before its mount ends. */
const turns = [0, 1, 3, 10, 30, 100, 300];

const copies: readonly (readonly [string, (fs: ClusterFs) => Promise<unknown>])[] = [
  ['a new file is written', (fs) => fs.promises.writeFile('/new', content)],
  ['bytes are written in place', overwrite],
  ['a file is read', (fs) => fs.promises.readFile('/large')],
];

for (const [name, begin] of copies) {
  test(`an unmount while ${name}`, async () => {
    const node = await startNodeProcess({ memory: 128 * MiB });
    const fs = await mountForTest(node);
    await fs.promises.writeFile('/large', content);
    const outcomes: unknown[] = [];
    for (const count of turns) {
      const leaving = await mount(node.url);
      const copy = begin(leaving).then(
        () => 'done',
        (error: unknown) => error,
      );
      for (let i = 0; i < count; i++) await setImmediate();
      await leaving.unmount();
      outcomes.push(await whileFilesAreOpen(copy));
    }
    for (const outcome of outcomes) if (outcome !== 'done') expect(outcome).toMatchObject({ code: 'EBADF' });
    expect(outcomes.some((outcome) => outcome !== 'done')).toBe(true);
    await expect.poll(async () => (await fs.status()).sessions).toHaveLength(1);
    expect(await fs.status()).toMatchObject({ quarantinedBytes: 0 });
    expect(content.equals(await fs.promises.readFile('/large'))).toBe(true);
    expect(await fs.check()).toEqual([]);
    expect(node.errors).toEqual([]);
  });
}

async function overwrite(fs: ClusterFs): Promise<void> {
  const file = await fs.promises.open('/large', 'r+');
  for (let at = 0; at < content.length; at += MiB) await file.write(content, at, MiB, at);
}

/** Waits for a copy; files that get the numbers of what its mount has closed stay empty meanwhile. */
async function whileFilesAreOpen<T>(copy: Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-numbers-'));
  const files = Array.from({ length: 40 }, (_, i) => openSync(join(directory, `${i}`), 'w+'));
  try {
    const outcome = await copy;
    expect(files.map((fd) => fstatSync(fd).size).filter((size) => size > 0)).toEqual([]);
    return outcome;
  } finally {
    for (const fd of files) closeSync(fd);
    rmSync(directory, { recursive: true });
  }
}
