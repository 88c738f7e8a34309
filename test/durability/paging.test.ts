/**
 * Pages that are not in memory come when they are touched, read or moved; and what cannot come is told to
 * whoever asks for it, and to nobody else.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { mountForTest, type NodeProcess, programPath, startNodeProcess } from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const pageSize = 4096;
const size = 2 * MiB + 1000;

interface StoreStatus {
  readonly absentBytes: number;
  readonly faults: number;
  readonly fetchedBytes: number;
  readonly damage: readonly { readonly ino: number; readonly path: string; readonly bytes: number }[];
}

const storeOf = async (fs: ClusterFs): Promise<StoreStatus> =>
  (await fs.status()).store as unknown as StoreStatus;

/** A store with files of random bytes, and a node on it that has nothing in memory. */
async function afterLoss(names: readonly string[]): Promise<{
  node: NodeProcess;
  store: string;
  content: ReadonlyMap<string, Buffer>;
}> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, memory: 32 * MiB });
  const fs = await mountForTest(node);
  const content = new Map(names.map((name) => [name, randomBytes(size)]));
  for (const [name, bytes] of content) await fs.promises.writeFile(name, bytes);
  await fs.sync();
  await fs.unmount();
  await node.kill();
  rmSync(node.runDirectory, { recursive: true });
  return { node, store, content };
}

test('views, reads, moves and stores find what is stored, and each page is read once', async () => {
  const names = ['/view', '/now', '/later', '/stream', '/moved', '/patched', '/cut'] as const;
  const { node, content } = await afterLoss(names);
  const bytesOf = (name: (typeof names)[number]): Buffer => content.get(name) as Buffer;
  await node.start();
  const fs = await mountForTest(node);
  const pages = Math.ceil(size / pageSize);
  expect(await storeOf(fs)).toMatchObject({ absentBytes: names.length * pages * pageSize, fetchedBytes: 0 });

  const view = await fs.map('/view');
  expect(Buffer.from(view.bytes).equals(bytesOf('/view'))).toBe(true);
  expect((await storeOf(fs)).faults).toBeGreaterThan(0);
  expect(fs.readFileSync('/now').equals(bytesOf('/now'))).toBe(true);
  expect((await fs.promises.readFile('/later')).equals(bytesOf('/later'))).toBe(true);
  const parts: Buffer[] = [];
  for await (const part of fs.createReadStream('/stream')) parts.push(part as Buffer);
  expect(Buffer.concat(parts).equals(bytesOf('/stream'))).toBe(true);
  await fs.move('/moved');
  expect(fs.readFileSync('/moved').equals(bytesOf('/moved'))).toBe(true);

  // A part of a page, by API and by view: the rest of it is as it was stored.
  const patched = Buffer.from(bytesOf('/patched'));
  const handle = await fs.promises.open('/patched', 'r+');
  await handle.write(Buffer.from('by API'), 0, 6, 10 * pageSize + 5);
  patched.write('by API', 10 * pageSize + 5);
  await handle.close();
  const writable = await fs.map('/patched', { mode: 'rw' });
  writable.bytes.set(Buffer.from('by view'), 300 * pageSize + 9);
  patched.write('by view', 300 * pageSize + 9);
  expect(Buffer.from(writable.bytes).equals(patched)).toBe(true);

  await fs.promises.truncate('/cut', MiB + 100);
  await fs.promises.truncate('/cut', 2 * MiB);
  const cut = Buffer.concat([bytesOf('/cut').subarray(0, MiB + 100), Buffer.alloc(MiB - 100)]);
  expect((await fs.promises.readFile('/cut')).equals(cut)).toBe(true);

  const { absentBytes, fetchedBytes } = await storeOf(fs);
  expect(absentBytes).toBe(0);
  expect(fetchedBytes).toBeLessThanOrEqual(names.length * pages * pageSize);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}, 30_000);

test('many processes that touch the same absent pages all see them', async () => {
  const { node, content } = await afterLoss(['/shared']);
  await node.start();
  const fs = await mountForTest(node);
  const sums = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const reader = spawn(process.execPath, [programPath('../durability/toucher.mjs'), node.url, '/shared']);
      let out = '';
      reader.stdout.on('data', (chunk: Buffer) => {
        out += chunk.toString();
      });
      await once(reader, 'close');
      return out;
    }),
  );
  const sum = (content.get('/shared') as Buffer).reduce((total, byte) => total + byte, 0);
  expect(sums).toEqual(Array(4).fill(`${sum}\n`));
  const { fetchedBytes } = await storeOf(fs);
  expect(fetchedBytes).toBe(Math.ceil(size / pageSize) * pageSize);
}, 30_000);

test('damage is EIO for what it hit, SIGBUS for who touches it, and nothing for others', async () => {
  const { node, store, content } = await afterLoss(['/hit', '/whole']);
  const bytes = content.get('/hit') as Buffer;
  const damagedPage = 100;
  const data = readFileSync(join(store, 'data'));
  const at = data.indexOf(bytes.subarray(damagedPage * pageSize, (damagedPage + 1) * pageSize));
  data.writeUInt8(data.readUInt8(at + 17) ^ 1, at + 17);
  writeFileSync(join(store, 'data'), data);
  await node.start();
  const fs = await mountForTest(node);

  const damaged = { code: 'EIO' };
  // Not what it resolves to: to print all of a file that is read after all takes half a minute.
  const reading = async () => void (await fs.promises.readFile('/hit'));
  await expect(reading()).rejects.toMatchObject(damaged);
  expect(() => fs.readFileSync('/hit')).toThrow(expect.objectContaining(damaged));
  const handle = await fs.promises.open('/hit');
  const before = Buffer.alloc(damagedPage * pageSize);
  await handle.read(before, 0, before.length, 0);
  expect(before.equals(bytes.subarray(0, before.length))).toBe(true);
  await expect(handle.read(Buffer.alloc(10), 0, 10, damagedPage * pageSize + 4090)).rejects.toMatchObject(
    damaged,
  );
  const { ino } = await handle.stat();
  await handle.close();
  expect((await storeOf(fs)).damage).toEqual([{ ino, path: '/hit', bytes: pageSize }]);

  const toucher = spawn(process.execPath, [programPath('../durability/toucher.mjs'), node.url, '/hit']);
  let stderr = '';
  toucher.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [, signal] = (await once(toucher, 'close')) as [number | null, string | null];
  expect(signal).toBe('SIGBUS');
  expect(stderr).toContain(`behind view of /hit at offset ${damagedPage * pageSize}`);

  expect((await fs.promises.readFile('/whole')).equals(content.get('/whole') as Buffer)).toBe(true);
  // New content heals it.
  await fs.promises.writeFile('/hit', bytes);
  expect(fs.readFileSync('/hit').equals(bytes)).toBe(true);
  await fs.sync('/hit');
  expect((await storeOf(fs)).damage).toEqual([]);
  expect(await fs.check()).toEqual([]);
}, 30_000);
