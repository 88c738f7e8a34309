/** Whatever happens on the disk, in whatever order: when it is quiet again, the cluster is the same. */
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type ClusterFs, mount } from 'cluster-fs';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeHome, type Served, serve } from './cli-process.ts';

let node: Served;
let fs: ClusterFs;
const disk = makeHome();

beforeAll(async () => {
  node = await serve(['--publish', `${disk}:/pub`, '--settle', '30']);
  fs = await mount(node.url, { label: 'the test' });
});

afterAll(async () => {
  await fs.unmount();
  expect(await node.run('check')).toMatchObject({ code: 0 });
  expect(await node.stop()).toMatchObject({ code: 0, stderr: '' });
});

type Change = (path: string, other: string, content: string) => void;

/** Each may find something else there than it wants; then nothing happens. */
const changes: Readonly<Record<string, Change>> = {
  write: (path, _, content) => writeFileSync(path, content),
  append: (path, _, content) => writeFileSync(path, content, { flag: 'a' }),
  mkdir: (path) => mkdirSync(path),
  mkdirs: (path, _, content) => {
    mkdirSync(join(path, 'a/b'), { recursive: true });
    writeFileSync(join(path, 'a/b/x'), content);
  },
  remove: (path) => rmSync(path, { recursive: true }),
  rename: (path, other) => renameSync(path, other),
  link: (path) => symlinkSync('a', path),
  chmod: (path, _, content) => chmodSync(path, content.length % 2 === 0 ? 0o700 : 0o755),
  replace: (path, _, content) => {
    writeFileSync(`${disk}.new`, content);
    renameSync(`${disk}.new`, path);
  },
};

const name = fc.constantFrom('a', 'b', 'c');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const change = fc.record({
  kind: fc.constantFrom(...Object.keys(changes)),
  path,
  other: path,
  content: fc.string({ maxLength: 5000 }),
  pauseMs: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat({ max: 60 })),
});

test('random changes', { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 10, maxLength: 40 }), async (list) => {
      for (const { kind, path, other, content, pauseMs } of list) {
        apply(() => changes[kind]?.(join(disk, path), join(disk, other), content));
        if (pauseMs > 0) await wait(pauseMs);
      }
      const wanted = treeOf(onDisk, disk);
      await expect.poll(() => treeOf(fs, '/pub'), { timeout: 10_000, interval: 20 }).toEqual(wanted);
    }),
    { numRuns: 25, interruptAfterTimeLimit: 90_000, endOnFailure: true },
  );
});

function apply(act: () => void): void {
  try {
    act();
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toMatch(
      /^E(NOENT|EXIST|ISDIR|NOTDIR|NOTEMPTY|INVAL|LOOP)$/,
    );
  }
}

const onDisk = { readdirSync, lstatSync, readFileSync, readlinkSync };

/** Path to what is there; a tree that changes while it is looked at is told as far as it goes. */
function treeOf(from: Pick<ClusterFs, keyof typeof onDisk>, root: string): Record<string, string> {
  const tree: Record<string, string> = {};
  const look = (path: string): void => {
    for (const name of from.readdirSync(join(root, path))) {
      const below = join(path, name);
      const full = join(root, below);
      const stats = from.lstatSync(full);
      const mode = (stats.mode & 0o777).toString(8);
      if (stats.isSymbolicLink()) tree[below] = `-> ${from.readlinkSync(full)}`;
      else if (stats.isFile()) tree[below] = `${mode} ${from.readFileSync(full, 'utf8')}`;
      else {
        tree[below] = mode;
        look(below);
      }
    }
  };
  try {
    look('');
  } catch (error) {
    tree.error = String(error);
  }
  return tree;
}
