/**
 * The node dies behind each call that changes its store or its segment, one after the other, while its
 * clients live on: what was asked for has come true or not, all that was answered before is there, and it can
 * all be synced, removed, and lose its power.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { FsModel } from './durable-model.ts';
import { cutPower, never } from './power.ts';
import { type Recorder, startRecorder } from './recorder.ts';

const page = 4096;
const MiB = 2 ** 20;
/** How far apart the later points are; 1: behind every call. */
const spacing = Number(process.env.CLUSTERFS_KILL_EVERY ?? 8);
const nearPoints = 8;

/**
 * Behind which call the node dies at the n-th try, 0 is the first: a commit is one call, and must not be
 * passed over; long operations go on to call others.
 */
const callOf = (n: number): number =>
  spacing === 1 || n < nearPoints ? n : nearPoints - 1 + (n - nearPoints + 1) * spacing;

interface Change {
  run(fs: ClusterFs, at: string): Promise<unknown>;
  model(model: FsModel, at: string): void;
}

const stored = Buffer.alloc(20 * page, 'stored;');
const dirty = Buffer.alloc(3 * page, 'dirty;');
const content = Buffer.alloc(21 * page, 'content;');

/** Each directory has `stored`, synced and changed in a page since, and `dirty`, which never was. */
async function prepare(fs: ClusterFs, at: string): Promise<void> {
  await fs.promises.mkdir(at);
  await fs.promises.writeFile(`${at}/stored`, stored);
  await fs.sync();
  await overwrite(fs, `${at}/stored`, 'changed');
  await fs.promises.writeFile(`${at}/dirty`, dirty);
}

function modelOf(at: string): FsModel {
  const model = new FsModel();
  model.put(`${at}/stored`, stored);
  model.write(`${at}/stored`, page, 'changed');
  model.put(`${at}/dirty`, dirty);
  return model;
}

async function overwrite(fs: ClusterFs, path: string, text: string): Promise<void> {
  const handle = await fs.promises.open(path, 'r+');
  await handle.write(Buffer.from(text), 0, text.length, page);
  await handle.close();
}

const changes: Readonly<Record<string, Change>> = {
  put: {
    run: (fs, at) => fs.promises.writeFile(`${at}/new`, content),
    model: (m, at) => m.put(`${at}/new`, content),
  },
  replace: {
    run: (fs, at) => fs.promises.writeFile(`${at}/stored`, content),
    model: (m, at) => m.put(`${at}/stored`, content),
  },
  truncate: {
    run: (fs, at) => fs.promises.truncate(`${at}/stored`, page + 3),
    model: (m, at) => m.truncate(`${at}/stored`, page + 3),
  },
  punch: {
    // Whole pages: parts of pages are zeroed in place, as by a write, and may be there in part.
    run: (fs, at) => fs.promises.punchHole(`${at}/stored`, 2 * page, 5 * page),
    model: (m, at) => m.write(`${at}/stored`, 2 * page, Buffer.alloc(5 * page)),
  },
  zero: {
    run: (fs, at) => fs.promises.zeroRange(`${at}/stored`, page, 3 * page),
    model: (m, at) => m.write(`${at}/stored`, page, Buffer.alloc(3 * page)),
  },
  grow: {
    run: (fs, at) => fs.promises.truncate(`${at}/dirty`, 5 * page + 3),
    model: (m, at) => m.truncate(`${at}/dirty`, 5 * page + 3),
  },
  move: { run: (fs, at) => fs.move(`${at}/stored`), model: () => undefined },
  evict: { run: (fs, at) => fs.evict(`${at}/stored`), model: () => undefined },
  'rename over': {
    run: (fs, at) => fs.promises.rename(`${at}/dirty`, `${at}/stored`),
    model: (m, at) => m.rename(`${at}/dirty`, `${at}/stored`),
  },
  unlink: {
    run: (fs, at) => fs.promises.unlink(`${at}/stored`),
    model: (m, at) => m.remove(`${at}/stored`),
  },
  'sync all': { run: (fs) => fs.sync(), model: () => undefined },
  'remove while it is synced': {
    run: (fs, at) => Promise.all([fs.sync(), fs.promises.unlink(`${at}/stored`)]),
    model: (m, at) => m.remove(`${at}/stored`),
  },
};

test.each(Object.keys(changes))('%s, and the node dies behind a call', { timeout: 120_000 }, async (name) => {
  const change = changes[name] as Change;
  const { node, recorder } = await start();
  const fs = await mountForTest(node);
  const synced = new Map<string, Files>();
  let deaths = 0;
  for (let isOver = false; !isOver; ) {
    const at = `/${synced.size}`;
    const call = callOf(synced.size);
    await prepare(fs, at);
    recorder.killBehind(call);
    const { isAnswered, isDead } = await outcomeOf(node, recorder, () => change.run(fs, at));
    if (isDead) {
      await node.start();
      deaths++;
    } else isOver = true;
    const after = modelOf(at);
    change.model(after, at);
    const where = `behind call ${call}, ${isAnswered ? 'answered' : 'not answered'}`;
    const found = await readAll(fs, at);
    expect(isAnswered ? [inModel(after)] : [inModel(after), inModel(modelOf(at))], where).toContainEqual(
      found,
    );
    await removeAndSync(fs, `${at}/dirty`);
    synced.set(at, await readAll(fs, at));
    expect(await fs.check(), where).toEqual([]);
    expect(node.errors, where).toEqual([]);
  }
  expect(deaths).toBeGreaterThan(0);
  const changed = new Set(recorder.calls().map(({ path }) => path));
  for (const file of ['store/metadata.db-wal', 'store/data', 'run/data'])
    expect(
      [...changed].some((path) => path.endsWith(file)),
      file,
    ).toBe(true);
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  for (const [at, files] of synced) expect(await readAll(again, at)).toEqual(files);
  expect(await again.check()).toEqual([]);
});

/** Who asked is answered, or hears that the node is gone. */
async function outcomeOf(
  node: NodeProcess,
  recorder: Recorder,
  run: () => Promise<unknown>,
): Promise<{ isAnswered: boolean; isDead: boolean }> {
  let isAnswered: boolean | undefined;
  const settled = run().then(
    () => {
      isAnswered = true;
    },
    () => {
      isAnswered = false;
    },
  );
  await expect
    .poll(() => isAnswered !== undefined || !node.isAlive, { interval: 1, timeout: 20_000 })
    .toBe(true);
  const isDead = !recorder.spared();
  if (isDead) await expect.poll(() => node.isAlive, { interval: 1, timeout: 20_000 }).toBe(false);
  else await settled;
  return { isAnswered: isAnswered === true, isDead };
}

/** Names and what they hold, in words. */
type Files = Readonly<Record<string, string>>;

const told = (bytes: Buffer): string =>
  `${bytes.length} bytes ${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}`;

/** Also while the mount has not found the new node yet: then it reads what the dead one has published. */
async function readAll(fs: ClusterFs, at: string): Promise<Files> {
  const files: Record<string, string> = {};
  for (const name of fs.readdirSync(at).sort()) {
    const bytes = await fs.promises.readFile(`${at}/${name}`).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    // The new node has come meanwhile, and it is gone there.
    if (bytes === undefined) return readAll(fs, at);
    files[name] = told(bytes);
  }
  return files;
}

const inModel = ({ names, contents }: FsModel): Files =>
  Object.fromEntries(
    [...names].map(([path, { id }]) => [
      path.slice(path.lastIndexOf('/') + 1),
      told(contents.get(id) as Buffer),
    ]),
  );

/** What the dead node left is removed, and its places are used again. */
async function removeAndSync(fs: ClusterFs, path: string): Promise<void> {
  await fs.sync();
  await fs.promises.rm(path, { force: true });
  await fs.sync();
}

async function start() {
  // Both the store and the segment: the node dies behind calls that change either.
  const home = mkdtempSync('/dev/shm/clusterfs-kill-');
  const recorder = startRecorder(home);
  onTestFinished(() => {
    recorder.close();
    rmSync(home, { recursive: true, force: true });
  });
  const { env } = recorder;
  const [store, runDirectory] = [join(home, 'store'), join(home, 'run')];
  const options = { store, env, memory: 32 * MiB, writeBackMs: never, runDirectory };
  return { node: await startNodeProcess(options), recorder };
}
