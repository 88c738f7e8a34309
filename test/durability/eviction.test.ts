/** Files larger than memory: slower, never wrong, and memory stays below its limit. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterFs } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../chaos/children.ts';
import {
  mountForTest,
  type NodeOptions,
  type NodeProcess,
  programPath,
  startNodeProcess,
} from '../chaos/node-process.ts';

const MiB = 2 ** 20;
const memory = 8 * MiB;
/** How long processes use more than memory: so many operations of each, or so many seconds. */
const operations = 600;
const seconds = Number(process.env.CLUSTERFS_PAGING_SECONDS ?? 0);

interface StoreStatus {
  readonly absentBytes: number;
  readonly residentBytes: number;
  readonly evictedBytes: number;
  readonly fetchedBytes: number;
  readonly pinnedFiles: number;
}

async function start(options: NodeOptions = {}): Promise<{ node: NodeProcess; fs: ClusterFs }> {
  const store = mkdtempSync(join(tmpdir(), 'clusterfs-store-'));
  onTestFinished(() => rmSync(store, { recursive: true, force: true }));
  const node = await startNodeProcess({ store, memory, ...options });
  return { node, fs: await mountForTest(node) };
}

const storeOf = async (fs: ClusterFs): Promise<StoreStatus> =>
  (await fs.status()).store as unknown as StoreStatus;

const memoryOfData = ({ runDirectory }: NodeProcess): number =>
  statSync(join(runDirectory, 'data')).blocks * 512;

/** All that the process of the node has in memory; it does not map the files. */
const residentBytes = ({ pid }: NodeProcess): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

/** What a program says. Its input ends when `until` comes. */
async function outputOf(program: string, args: readonly string[], until?: Promise<unknown>): Promise<string> {
  const child = spawn(process.execPath, [programPath(`../durability/${program}`), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  void until?.then(() => child.stdin.end());
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  await once(child, 'close');
  return out;
}

test(
  'four processes on four times the memory: every word right, memory bounded',
  async () => {
    const { node, fs } = await start();
    const names = ['/a', '/b', '/c', '/d'];
    for (const name of names) await fs.promises.writeFile(name, Buffer.alloc(memory));
    let most = 0;
    let mostOfNode = 0;
    const watch = setInterval(() => {
      most = Math.max(most, memoryOfData(node));
      mostOfNode = Math.max(mostOfNode, residentBytes(node));
    }, 20);
    onTestFinished(() => clearInterval(watch));
    const howMany = seconds > 0 ? 'Infinity' : String(operations);
    const until = seconds > 0 ? once(AbortSignal.timeout(seconds * 1000), 'abort') : undefined;
    const wrong = await Promise.all(
      names.map((name, i) =>
        outputOf('page-worker.mjs', [node.url, name, i % 2 === 0 ? 'view' : 'api', howMany], until),
      ),
    );
    expect(wrong).toEqual(names.map(() => '0\n'));
    expect((await storeOf(fs)).evictedBytes).toBeGreaterThan(4 * memory);
    // A fault that finds nothing to evict goes beyond the limit by what it brings in.
    expect(most).toBeLessThanOrEqual(memory + 2 * MiB);
    // It grows for half a minute, with what V8 has not collected yet, and then no more.
    expect(mostOfNode).toBeLessThanOrEqual(256 * MiB);
    expect(await fs.check()).toEqual([]);
    expect(node.errors).toEqual([]);
  },
  60_000 + seconds * 2000,
);

test('a file that is evicted comes back as it was, under its views', async () => {
  const { fs } = await start();
  const content = randomBytes(3 * MiB + 100);
  await fs.promises.writeFile('/file', content);
  const reader = await fs.map('/file');
  const writer = await fs.map('/file', { mode: 'rw' });
  for (let round = 0; round < 10; round++) {
    const at = round * 300_000;
    writer.bytes[at] = round;
    content[at] = round;
    expect(await fs.evict('/file')).toBeGreaterThan(3 * MiB);
    expect((await storeOf(fs)).absentBytes).toBeGreaterThan(3 * MiB);
    expect(Buffer.from(round % 2 === 0 ? reader.bytes : writer.bytes).equals(content)).toBe(true);
    expect(fs.readFileSync('/file').equals(content)).toBe(true);
  }
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('who evicts a file is told how much of it went, and not what went of others', async () => {
  const { fs } = await start();
  for (const path of ['/one', '/other']) await fs.promises.writeFile(path, Buffer.alloc(3 * MiB, 1));
  await fs.sync();
  expect(await Promise.all(['/one', '/other'].map((path) => fs.evict(path)))).toEqual([3 * MiB, 3 * MiB]);
});

test('reads go on while their file is evicted again and again', async () => {
  const { fs } = await start();
  const content = randomBytes(2 * MiB);
  await fs.promises.writeFile('/file', content);
  let reads = 0;
  let reading = true;
  const reader = (async () => {
    for (; reading; reads++) {
      const whole = reads % 2 === 0 ? fs.readFileSync('/file') : await fs.promises.readFile('/file');
      if (!whole.equals(content)) throw new Error(`read ${reads} is wrong`);
    }
  })();
  const evictor = await mountForTest({ url: fs.url });
  const evictions = (async () => {
    for (let i = 0; i < 30; i++) await evictor.evict('/file');
    reading = false;
  })();
  await Promise.all([reader, evictions]);
  expect(reads).toBeGreaterThan(0);
}, 30_000);

test.each(['a view', 'a handle'])('%s stores on while its file is evicted: nothing is lost', async (how) => {
  const { node, fs } = await start();
  const size = 2 * MiB;
  const wordBytes = 4;
  await fs.promises.writeFile('/file', Buffer.alloc(size));
  const handle = await fs.promises.open('/file', 'r+');
  const view = how === 'a view' ? await fs.map('/file', { mode: 'rw' }) : undefined;
  const words = view === undefined ? undefined : new Uint32Array(view.buffer);
  const stored = new Uint32Array(size / wordBytes);
  let evicted = 0;
  for (let round = 1; round <= 30; round++) {
    let isOver = false;
    const eviction = fs.evict('/file').then((bytes) => {
      evicted += bytes;
      isOver = true;
    });
    // Now and then, and another page each time: what is stored into all the time cannot go.
    for (let turn = 0; !isOver; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (turn % 16 !== 0) continue;
      const at = (round * 1_000_003 + turn * 12_347) % stored.length;
      stored[at] = round;
      if (words !== undefined) words[at] = round;
      else await handle.write(Buffer.from(Uint32Array.of(round).buffer), 0, wordBytes, at * wordBytes);
    }
    await eviction;
    const found = words === undefined ? fs.readFileSync('/file') : Buffer.from(words.buffer);
    expect(found.equals(Buffer.from(stored.buffer)), `round ${round}`).toBe(true);
  }
  await handle.close();
  expect(evicted).toBeGreaterThan(size);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
});

test('what is evicted while others have it written and stored is what was written last', async () => {
  const { node, fs } = await start();
  const size = 2 * MiB;
  // More than the redo log takes: between its reading and its commit the data is flushed.
  const pieceSize = 128 * 1024;
  const expected = Buffer.alloc(size);
  await fs.promises.writeFile('/file', expected);
  const handle = await fs.promises.open('/file', 'r+');
  const other = await mountForTest({ url: fs.url });
  let isOver = false;
  const evictions = (async () => {
    while (!isOver) await other.evict('/file');
  })();
  const syncs: Promise<void>[] = [];
  const piece = Buffer.alloc(pieceSize);
  for (let version = 1; version <= 200; version++) {
    const at = ((version * 7) % (size / pieceSize)) * pieceSize;
    await handle.write(expected.fill(version, at, at + pieceSize), at, pieceSize, at);
    syncs.push(handle.sync());
    for (let turn = 0; turn < 4; turn++) {
      await handle.read(piece, 0, pieceSize, at);
      expect(piece.equals(expected.subarray(at, at + pieceSize)), `version ${version}`).toBe(true);
    }
  }
  isOver = true;
  await Promise.all([evictions, ...syncs]);
  expect(fs.readFileSync('/file').equals(expected)).toBe(true);
  await handle.close();
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
});

test('what is read again and again stays while more than memory is written past it', async () => {
  const { fs } = await start();
  const names = Array.from({ length: 32 }, (_, i) => `/warm-${i}`);
  for (const name of names) await fs.promises.writeFile(name, Buffer.alloc(4096, name));
  const fetched = async (): Promise<number> => (await storeOf(fs)).fetchedBytes;
  const piece = randomBytes(MiB);
  const past = await fs.promises.open('/past', 'w');
  const writePast = async (from: number, mebibytes: number): Promise<void> => {
    for (let i = from; i < from + mebibytes; i++) {
      await past.write(piece, 0, MiB, i * MiB);
      const wrong = names.filter((name) => !fs.readFileSync(name).equals(Buffer.alloc(4096, name)));
      expect(wrong).toEqual([]);
    }
  };
  // They leave memory once, and are wanted again.
  await writePast(0, 12);
  const before = await fetched();
  await writePast(12, 32);
  await past.close();
  expect((await storeOf(fs)).evictedBytes).toBeGreaterThan(24 * MiB);
  // In the order in which they came they would go with every 8 MiB: at least three times each.
  expect((await fetched()) - before).toBeLessThan(names.length * 4096);
});

test('what writers set aside takes no memory from each other', async () => {
  const { node } = await start();
  const mounts = await Promise.all(Array.from({ length: 6 }, () => mountForTest(node)));
  const contentOf = (name: string): Buffer => Buffer.alloc(20_000, name);
  const write = async (fs: ClusterFs, writer: number): Promise<void> => {
    for (let i = 0; i < 400; i += 10) {
      const names = Array.from({ length: 10 }, (_, k) => `/${writer}-${i + k}`);
      await Promise.all(names.map((name) => fs.promises.writeFile(name, contentOf(name))));
    }
  };
  await Promise.all(mounts.map(write));
  const [fs] = mounts as [ClusterFs];
  for (const name of fs.readdirSync('/')) {
    const bytes = await fs.promises.readFile(`/${name}`);
    expect(bytes.equals(contentOf(`/${name}`)), name).toBe(true);
  }
  expect(fs.readdirSync('/')).toHaveLength(2400);
  expect(node.errors).toEqual([]);
}, 60_000);

test('a file larger than memory is written and copied whole', { timeout: 120_000 }, async () => {
  const { fs, node } = await start({ memory: 32 * MiB, capacity: 512 * MiB });
  const content = Buffer.alloc(80 * MiB);
  for (let at = 0; at < content.length; at += 4096) content.writeUInt32LE(1 + at, at);
  const expectContent = async (path: string): Promise<void> => {
    const found = await fs.promises.readFile(path);
    expect(found.length).toBe(content.length);
    expect(found.equals(content)).toBe(true);
  };
  await fs.promises.writeFile('/large', content);
  await expectContent('/large');
  const view = await fs.map('/large');
  content[5] = 5;
  await fs.promises.writeFile('/large', content, { mode: 0o600 });
  await expectContent('/large');
  expect([view.bytes[5], view.bytes[content.length - 4096]]).toEqual([5, content.at(-4096)]);
  view.close();
  // One step is one step.
  await expect(fs.replace('/large', Buffer.alloc(40 * MiB))).rejects.toMatchObject({ code: 'ENOSPC' });
  await fs.promises.punchHole('/large', 20 * MiB, 10 * MiB);
  await fs.promises.truncate('/large', 90 * MiB);
  await fs.promises.copyFile('/large', '/copy');
  const sparse = Buffer.alloc(90 * MiB);
  content.copy(sparse);
  sparse.fill(0, 20 * MiB, 30 * MiB);
  expect((await fs.promises.readFile('/copy')).equals(sparse)).toBe(true);
  expect(fs.statSync('/copy').blocks).toBe((70 * MiB) / 512);
  await fs.promises.appendFile('/copy', 'more');
  await fs.promises.copyFile('/large', '/copy');
  expect(fs.statSync('/copy').size).toBe(90 * MiB);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
});

test('what is pinned stays, and what cannot give way is ENOSPC for who wants more', async () => {
  const { fs } = await start();
  await fs.promises.writeFile('/pinned', Buffer.alloc(6 * MiB, 1));
  await fs.pin('/pinned');
  expect((await storeOf(fs)).pinnedFiles).toBe(1);
  expect(await fs.evict('/pinned')).toBe(0);
  await expect(fs.promises.writeFile('/large', Buffer.alloc(4 * MiB, 2))).rejects.toMatchObject({
    code: 'ENOSPC',
  });
  await fs.unpin('/pinned');
  await fs.promises.writeFile('/large', Buffer.alloc(4 * MiB, 2));
  expect(fs.readFileSync('/pinned').equals(Buffer.alloc(6 * MiB, 1))).toBe(true);
  await fs.promises.writeFile('/many', Buffer.alloc(7 * MiB, 3));
  await fs.prefetch('/large');
  expect((await storeOf(fs)).residentBytes).toBeLessThanOrEqual(memory);
}, 30_000);

test('a pin ends with its file: the next one of its number is not pinned', async () => {
  const { fs } = await start();
  await fs.promises.writeFile('/pinned', Buffer.alloc(MiB, 1));
  const { ino } = fs.statSync('/pinned');
  await fs.pin('/pinned');
  await fs.promises.rm('/pinned');
  expect((await storeOf(fs)).pinnedFiles).toBe(0);
  await fs.promises.writeFile('/next', Buffer.alloc(MiB, 2));
  expect(fs.statSync('/next').ino).toBe(ino);
  expect(await fs.evict('/next')).toBe(MiB);
});

test('a killed node finds what is in memory and what is not', async () => {
  const { node, fs } = await start();
  const content = randomBytes(4 * MiB);
  await fs.promises.writeFile('/half', content);
  await fs.evict('/half');
  const view = await fs.map('/half', { mode: 'rw' });
  view.bytes[5] = 55;
  content[5] = 55;
  await node.kill();
  await node.start();
  expect(node.recovered).toBe(true);
  // A synchronous read cannot wait until the mount has found the node that came back.
  await fs.status();
  expect(fs.readFileSync('/half').equals(content)).toBe(true);
  expect(Buffer.from(view.bytes).equals(content)).toBe(true);
  expect(await fs.check()).toEqual([]);
}, 30_000);

test('while a client of before is not back, a touch does not wait for room that cannot be made', async () => {
  const { node, fs } = await start();
  await fs.promises.writeFile('/touched', Buffer.alloc(7.4 * MiB, 1));
  await fs.evict('/touched');
  const clients = ['/touched', '/touched'].map((path) =>
    startChild('../durability/late-toucher.mjs', [node.url, path]),
  );
  const [toucher, stopped] = clients as [Child, Child];
  await Promise.all(clients.map((client) => client.hear('mapped')));
  await fs.promises.writeFile('/full', Buffer.alloc(7.4 * MiB, 2));
  // What is set aside for small writes is kept back when the node dies, until all are back.
  for (let i = 0; i < 20; i++) await fs.promises.writeFile(`/small-${i}`, 'small');
  stopped.process.kill('SIGSTOP');
  await node.kill();
  await node.start();
  expect((await fs.status()).quarantinedBytes).toBeGreaterThan(0);
  const ends: string[] = [];
  toucher.send('touch');
  await Promise.all([
    toucher.hear('touched').then(() => ends.push('touched')),
    // It waits for some time for room, as whoever wants some.
    fs.promises.writeFile('/more', Buffer.alloc(2 * MiB)).catch(({ code }) => ends.push(code)),
  ]);
  expect(ends).toEqual(['touched', 'ENOSPC']);
  stopped.process.kill('SIGCONT');
  await expect.poll(async () => (await fs.status()).unresolvedSessions, { timeout: 5000 }).toEqual([]);
  await fs.promises.writeFile('/more', Buffer.alloc(2 * MiB));
}, 30_000);

test('stores wait for a node that was killed while it evicted, and none is lost', async () => {
  const { node, fs } = await start();
  await fs.promises.writeFile('/counted', Buffer.alloc(memory / 2));
  const worker = spawn(
    process.execPath,
    [programPath('../durability/page-worker.mjs'), node.url, '/counted', 'view'],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  let out = '';
  worker.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  const closed = once(worker, 'close');
  onTestFinished(() => void worker.kill('SIGKILL'));
  await expect.poll(async () => (await fs.holders('/counted')).length, { timeout: 20_000 }).toBe(1);
  for (let death = 0; death < 4; death++) {
    let alive = true;
    const evictions = (async () => {
      while (alive) await fs.evict('/counted');
    })().catch((error: { code: string }) => error.code);
    await expect.poll(async () => (await storeOf(fs)).evictedBytes, { timeout: 30_000 }).toBeGreaterThan(0);
    alive = false;
    await node.kill();
    expect([undefined, 'ECONNRESET']).toContain(await evictions);
    await node.start();
  }
  worker.stdin.end();
  await closed;
  expect(out).toBe('0\n');
  expect(await fs.check()).toEqual([]);
}, 120_000);
