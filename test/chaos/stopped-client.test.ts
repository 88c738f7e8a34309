/**
 * SIGSTOP of a client while its file is replaced, cut and moved: nobody else waits long for it, and when it
 * goes on it sees its own file, never what has become of the pages that it had.
 */
import { type ClusterFs, mount } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from './children.ts';
import { startNodeProcess } from './node-process.ts';
import { openRawSession } from './raw-session.mjs';

const MiB = 2 ** 20;
const words = (word: number, bytes: number) => new Uint8Array(new Uint32Array(bytes / 4).fill(word).buffer);
const ownWord = (version: number) => (0x11000000 | version) >>> 0;
const foreign = 0xdeadbeef;
/** A change waits a second for a client that does not answer; a move may wait twice. */
const patienceMs = 4000;

interface Seen {
  readonly findings: readonly string[];
  readonly sizes: readonly number[];
  readonly first: readonly number[];
}

describe('a client stopped', () => {
  test('while its file is replaced sees the old content or the newest', async () => {
    const { fs, onlooker } = await start();
    onlooker.process.kill('SIGSTOP');
    for (let version = 2; version <= 6; version++) {
      await quickly(fs.promises.writeFile('/file', words(ownWord(version), MiB)));
      await reuseFreedPages(fs);
    }
    onlooker.process.kill('SIGCONT');
    await expect.poll(async () => (await ask(onlooker)).first).toEqual([ownWord(6), ownWord(6)]);
    await expectCleanEnd(fs, onlooker);
  });

  test('while its file is cut and grown sees zeros where there is nothing', async () => {
    const { fs, onlooker } = await start();
    onlooker.process.kill('SIGSTOP');
    await quickly(fs.promises.truncate('/file', MiB / 2));
    await reuseFreedPages(fs);
    await quickly(fs.promises.truncate('/file', 0));
    await reuseFreedPages(fs);
    await quickly(fs.promises.appendFile('/file', words(ownWord(9), MiB / 4)));
    onlooker.process.kill('SIGCONT');
    await expect.poll(async () => (await ask(onlooker)).sizes).toEqual([MiB / 4, MiB / 4]);
    expect((await ask(onlooker)).first).toEqual([ownWord(9), ownWord(9)]);
    await expectCleanEnd(fs, onlooker);
  });

  test('while its file is moved keeps its pages, and the next move says who is in the way', async () => {
    const { fs, onlooker } = await start();
    onlooker.process.kill('SIGSTOP');
    const outcomes: string[] = [];
    const move = () =>
      fs.move('/file').then(
        () => 'moved',
        (error: Error) => error.message,
      );
    for (let i = 0; i < 3; i++) {
      outcomes.push(await quickly(move()));
      await reuseFreedPages(fs);
    }
    await quickly(fs.defrag());
    expect(outcomes.slice(1)).toEqual([
      expect.stringMatching(new RegExp(`EBUSY.*pid ${onlooker.pid}`)),
      expect.stringMatching(new RegExp(`EBUSY.*pid ${onlooker.pid}`)),
    ]);
    onlooker.process.kill('SIGCONT');
    await expect.poll(move).toBe('moved');
    await expectCleanEnd(fs, onlooker);
  });

  test('in the middle of many changes sees only its file', async () => {
    const { fs, onlooker } = await start();
    for (let i = 0; i < 60; i++) {
      if (i % 10 === 3) onlooker.process.kill('SIGSTOP');
      if (i % 10 === 7) onlooker.process.kill('SIGCONT');
      await quickly(fs.promises.writeFile('/file', words(ownWord(i), MiB - (i % 5) * 4096)));
      if (i % 4 === 0) await quickly(fs.promises.truncate('/file', MiB / 2));
      if (i % 6 === 0) await reuseFreedPages(fs);
    }
    await expectCleanEnd(fs, onlooker);
  });

  test('while its file is removed reads on, and the pages stay taken', async () => {
    const { fs, onlooker } = await start();
    onlooker.process.kill('SIGSTOP');
    await quickly(fs.promises.unlink('/file'));
    await quickly(fs.promises.writeFile('/file', words(foreign, MiB)));
    await reuseFreedPages(fs);
    onlooker.process.kill('SIGCONT');
    expect((await ask(onlooker)).first).toEqual([ownWord(1), ownWord(1)]);
    await expectCleanEnd(fs, onlooker);
  });
}, 30_000);

test('a client that is stopped while its node dies keeps its pages until it is back', async () => {
  const { node, fs, onlooker } = await start();
  onlooker.process.kill('SIGSTOP');
  await node.kill();
  await node.start();
  await fs.promises.writeFile('/file', words(ownWord(5), MiB));
  await claimToBeAnother(node.socketPath);
  await reuseFreedPages(fs);
  await fs.promises.unlink('/file');
  await reuseFreedPages(fs);
  expect(((await fs.status()).unresolvedSessions as unknown[]).length).toBe(1);
  onlooker.process.kill('SIGCONT');
  await expect.poll(async () => (await fs.status()).unresolvedSessions, { timeout: 5000 }).toEqual([]);
  await expectCleanEnd(fs, onlooker);
}, 30_000);

test('a client that is stopped keeps the pages that its file had before its node died', async () => {
  const { node, fs, onlooker } = await start();
  onlooker.process.kill('SIGSTOP');
  await fs.promises.writeFile('/file', words(ownWord(5), MiB));
  await node.kill();
  await node.start();
  await reuseFreedPages(fs);
  expect((await fs.status()).quarantinedBytes).toBeGreaterThanOrEqual(MiB);
  onlooker.process.kill('SIGCONT');
  await expect.poll(async () => (await fs.status()).unresolvedSessions, { timeout: 5000 }).toEqual([]);
  await expect.poll(async () => (await ask(onlooker)).first).toEqual([ownWord(5), ownWord(5)]);
  await expectCleanEnd(fs, onlooker);
}, 30_000);

test('a client that was stopped when its node died may be killed: its pages are free then', async () => {
  const { node, fs, onlooker } = await start();
  onlooker.process.kill('SIGSTOP');
  await node.kill();
  await node.start();
  await fs.promises.writeFile('/file', words(ownWord(5), MiB));
  expect((await fs.status()).quarantinedBytes).toBeGreaterThan(0);
  await onlooker.kill();
  await expect.poll(async () => (await fs.status()).unresolvedSessions, { timeout: 2000 }).toEqual([]);
  await expectNothingQuarantined(fs);
}, 30_000);

test('a write that was given up stores into pages that nobody else has', async () => {
  const { fs, node } = await start();
  const writer = startChild('late-writer.mjs', [node.socketPath]);
  await writer.hear('begun');
  await quickly(fs.promises.writeFile('/file', words(ownWord(2), MiB)));
  await reuseFreedPages(fs);
  writer.send('store');
  expect(await writer.hear('ended')).toMatchObject({ code: 'ESTALE' });
  expect((await fs.promises.readFile('/file')).equals(words(ownWord(2), MiB))).toBe(true);
  for (let i = 0; i < 4; i++) {
    expect((await fs.promises.readFile(`/foreign-${i}`)).equals(words(foreign, MiB))).toBe(true);
  }
  await writer.kill();
  await expectNothingQuarantined(fs);
}, 30_000);

async function start() {
  const node = await startNodeProcess({ memory: 16 * MiB });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/file', words(ownWord(1), MiB));
  const onlooker = startChild('onlooker.mjs', [node.url]);
  await onlooker.hear('ready');
  return { node, fs, onlooker };
}

/** Says that it resumes every session that it can think of; none of them is its own. */
async function claimToBeAnother(socketPath: string): Promise<void> {
  const guesses = Array.from({ length: 30 }, (_, n) => [2 ** 32 + n, 2 * 2 ** 32 + n]).flat();
  const { connection, close } = await openRawSession(socketPath);
  await connection.request('resumed', { sessions: guesses });
  close();
}

/** Other files go through every free page of the segment. */
async function reuseFreedPages(fs: ClusterFs): Promise<void> {
  for (let i = 0; i < 4; i++) await quickly(fs.promises.writeFile(`/foreign-${i}`, words(foreign, MiB)));
}

async function quickly<T>(work: Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work;
  expect(performance.now() - started).toBeLessThan(patienceMs);
  return result;
}

async function ask(onlooker: Child): Promise<Seen> {
  onlooker.send('what do you see');
  return onlooker.hear<Seen>('seen');
}

async function expectCleanEnd(fs: ClusterFs, onlooker: Child): Promise<void> {
  onlooker.process.kill('SIGCONT');
  expect((await ask(onlooker)).findings).toEqual([]);
  await expectNothingQuarantined(fs);
}

async function expectNothingQuarantined(fs: ClusterFs): Promise<void> {
  await expect.poll(async () => (await fs.status()).quarantinedBytes, { timeout: 3000 }).toBe(0);
  expect(await fs.check()).toEqual([]);
}
