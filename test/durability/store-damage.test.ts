/** A store that is damaged, or full: a clear error, and nothing is lost that was there. */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { cutPower, never, storeReport } from './power.ts';

const MiB = 2 ** 20;
const isRoot = process.getuid?.() === 0;
const content = randomBytes(100 * 4096);

const damages: readonly [string, string, string, (file: string) => void][] = [
  ['data is deleted', 'data', 'EIO', (file) => rmSync(file)],
  ['data is emptied', 'data', 'EIO', (file) => truncateSync(file)],
  ['data is something else', 'data', 'EINVAL', (file) => writeFileSync(file, content)],
  ['a bit of the header of data is flipped', 'data', 'EIO', (file) => flip(file, 33)],
  ['metadata.db is garbage', 'metadata.db', 'EIO', (file) => writeFileSync(file, content)],
  ['metadata.db is garbage behind its header', 'metadata.db', 'EIO', (file) => spoil(file, 100)],
  ['metadata.db is garbage in its middle', 'metadata.db', 'EIO', (file) => spoil(file, 1024)],
  ['metadata.db is deleted', 'data', 'EINVAL', (file) => rmSync(join(dirname(file), 'metadata.db'))],
  ['metadata.db is cut', 'metadata.db', 'EIO', (file) => truncateSync(file, 3000)],
];

test('damage that a start can see: the node says so, does not start, and spoils nothing', async () => {
  const { node, store } = await makeStored();
  const whole = temporary();
  const copy = (from: string, to: string): void => {
    rmSync(to, { recursive: true });
    cpSync(from, to, { recursive: true });
  };
  copy(store, whole);
  for (const [what, name, code, damage] of damages) {
    const file = join(store, name);
    damage(file);
    const message = expect.stringContaining(file) as string;
    await expect(node.start(), what).rejects.toMatchObject({ code, message });
    copy(whole, store);
  }
  await node.start();
  const fs = await mountForTest(node);
  await expectContents(fs, [
    ['/first', content],
    ['/second', content],
  ]);
}, 30_000);

test('the command says it in one line', async () => {
  const { store } = await makeStored();
  const [data, metadata] = ['data', 'metadata.db'].map((name) => join(store, name)) as [string, string];
  rmSync(data);
  expectNoNode(store, { code: 'EIO', path: data });
  writeFileSync(metadata, content);
  expectNoNode(store, { code: 'EIO', path: metadata });
  const file = join(temporary(), 'file');
  writeFileSync(file, '');
  expectNoNode(join(file, 'below'), { code: 'ENOTDIR', path: join(file, 'below') });
});

test('data is cut: what lay before the cut is whole, the rest is EIO until it is written anew', async () => {
  const { node, store } = await makeStored();
  truncateSync(join(store, 'data'), statSync(join(store, 'data')).size - 4096 - 10);
  await node.start();
  const fs = await mountForTest(node);
  const why = expect.stringContaining(join(store, 'data'));
  const damaged = { code: 'EIO', path: '/second', why };
  await expect(fs.promises.readFile('/second')).rejects.toMatchObject(damaged);
  expect((await fs.promises.readFile('/first')).equals(content)).toBe(true);
  await fs.promises.writeFile('/second', content);
  await fs.sync();
  await fs.unmount();
  await cutPower(node);
  await node.start();
  const again = await mountForTest(node);
  await expectContents(again, [
    ['/first', content],
    ['/second', content],
  ]);
}, 30_000);

test('damage ends with its file: nothing is said of the next one of its number', async () => {
  const { node, store } = await makeStored();
  truncateSync(join(store, 'data'), statSync(join(store, 'data')).size - 4096 - 10);
  await node.start();
  const fs = await mountForTest(node);
  await expect(fs.promises.readFile('/second')).rejects.toMatchObject({ code: 'EIO' });
  expect((await storeReport(fs)).damage).toHaveLength(1);
  const { ino } = fs.statSync('/second');
  await fs.promises.rm('/second');
  await fs.promises.writeFile('/next', content);
  expect(fs.statSync('/next').ino).toBe(ino);
  expect(await fs.evict('/next')).toBe(content.length);
  expect((await storeReport(fs)).damage).toEqual([]);
});

describe.skipIf(!isRoot)('a file system of its own (needs root, to mount one)', () => {
  test('that is read-only: the node says so and does not start', async () => {
    const { node, store } = await makeStored(mountTmpfs('8m'));
    execFileSync('mount', ['-o', 'remount,ro', store]);
    const message = expect.stringContaining(store) as string;
    await expect(node.start()).rejects.toMatchObject({ code: 'EROFS', message });
    execFileSync('mount', ['-o', 'remount,rw', store]);
    await node.start();
    const fs = await mountForTest(node);
    expect((await fs.promises.readFile('/first')).equals(content)).toBe(true);
  }, 30_000);

  test('that is full: a sync is ENOSPC, all is readable, and with space it works', async () => {
    const { node, fs, store, small, large } = await fillStore();
    execFileSync('mount', ['-o', 'remount,size=24m', store]);
    const handle = await fs.promises.open('/large');
    await handle.sync();
    await handle.close();
    await fs.sync();
    expect(await storeReport(fs)).toMatchObject({ dirtyFiles: 0, failure: null });
    await fs.unmount();
    await cutPower(node);
    await node.start();
    const again = await mountForTest(node);
    await expectContents(again, [...small, ['/large', large]]);
    expect(await again.check()).toEqual([]);
    expect(node.errors).toEqual([]);
  }, 30_000);

  test('that is full keeps room for what fits, however often a sync has failed', async () => {
    const { node, fs, store, small } = await fillStore();
    const used = (): number => statSync(join(store, 'data')).blocks * 512;
    const before = used();
    for (let i = 0; i < 10; i++) await expect(fs.sync()).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(used()).toBeLessThanOrEqual(before);
    await fs.promises.unlink('/large');
    await fs.promises.writeFile('/small-0', Buffer.alloc(MiB, 'new'));
    small.set('/small-0', Buffer.alloc(MiB, 'new'));
    await fs.sync();
    await fs.unmount();
    await cutPower(node);
    await node.start();
    const again = await mountForTest(node);
    expect(again.existsSync('/large')).toBe(false);
    await expectContents(again, [...small]);
    expect(await again.check()).toEqual([]);
  }, 30_000);

  test('that is full when the node is stopped: what is not stored is there for the next', async () => {
    const { node, fs, small, large, store } = await fillStore();
    await fs.unmount();
    // It says so, and leaves what it cannot store in memory.
    await node.stop();
    expect(node.errors.join('')).toContain('ENOSPC');
    execFileSync('mount', ['-o', 'remount,size=24m', store]);
    await node.start();
    const again = await mountForTest(node);
    await expectContents(again, [...small, ['/large', large]]);
    await again.sync();
  }, 30_000);
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function mountTmpfs(size: string): string {
  const directory = join(temporary(), 'mounted');
  mkdirSync(directory);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'clusterfs-test', directory]);
  onTestFinished(() => {
    execFileSync('umount', ['--lazy', directory]);
  });
  return directory;
}

/** A stopped node whose store has two files, the second behind the first. */
async function makeStored(store = temporary()): Promise<{ node: NodeProcess; store: string }> {
  const node = await startNodeProcess({ store, writeBackMs: never });
  const fs = await mountForTest(node);
  for (const path of ['/first', '/second']) {
    await fs.promises.writeFile(path, content);
    await fs.sync();
  }
  await fs.unmount();
  await node.stop();
  return { node, store };
}

/** A node whose store has no space for a file: a sync of it has failed, and with it that of smaller ones. */
async function fillStore() {
  const store = mountTmpfs('12m');
  const node = await startNodeProcess({ store, writeBackMs: never });
  const fs = await mountForTest(node);
  const small = new Map<string, Buffer>();
  for (let i = 0; i < 3; i++) {
    const bytes = randomBytes(MiB);
    small.set(`/small-${i}`, bytes);
    await fs.promises.writeFile(`/small-${i}`, bytes);
  }
  await fs.sync();
  // Content that is dirty again, and fits beside what is stored.
  small.set('/small-1', randomBytes(MiB));
  await fs.promises.writeFile('/small-1', small.get('/small-1') as Buffer);
  const large = randomBytes(14 * MiB);
  await fs.promises.writeFile('/large', large);
  const handle = await fs.promises.open('/large');
  await expect(handle.sync()).rejects.toMatchObject({ code: 'ENOSPC', path: join(store, 'data') });
  await handle.close();
  const data = expect.stringContaining(join(store, 'data'));
  await expect(fs.sync('/large')).rejects.toMatchObject({ code: 'ENOSPC', path: '/large', why: data });
  await expect(fs.sync()).rejects.toMatchObject({ code: 'ENOSPC' });
  expect((await storeReport(fs)).failure).toMatch(/ENOSPC/);
  await expectContents(fs, [...small, ['/large', large]]);
  return { node, fs, store, small, large };
}

async function expectContents(fs: ClusterFs, files: readonly (readonly [string, Buffer])[]): Promise<void> {
  for (const [path, bytes] of files)
    expect((await fs.promises.readFile(path)).equals(bytes), path).toBe(true);
}

interface Refusal {
  readonly code: string;
  readonly path: string;
}

const nodePackage = createRequire(import.meta.url).resolve('@cluster-fs/node/package.json');
const program = join(dirname(nodePackage), 'bin/clusterfs.js');

/** `clusterfs serve` ends with one line that says what and where. */
function expectNoNode(store: string, { code, path }: Refusal): void {
  const listen = `unix:${temporary()}/node.sock`;
  const args = [program, 'serve', '--listen', listen, '--memory', '64MiB', '--store', store];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
  expect(status).toBe(1);
  expect(stderr.split('\n')).toEqual([expect.stringMatching(new RegExp(`${code}: .*${path}`)), '']);
}

/** Garbage from an offset on, over all that is there. */
function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(file, bytes);
}

function spoil(file: string, from: number): void {
  const bytes = readFileSync(file);
  randomBytes(bytes.length - from).copy(bytes, from);
  writeFileSync(file, bytes);
}
