/**
 * Files that move, grow and are packed under writers and readers who never stop: no store is lost, no wrong
 * byte is seen, no array changes its address.
 */
import { type ClusterFs, mount, type View } from 'cluster-fs';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from './children.ts';
import {
  foreignWord,
  grownWordOf,
  initialContent,
  lostIncrements,
  Observer,
  wordsPerPage,
  writerCount,
} from './counters.mjs';
import { startNodeProcess } from './node-process.ts';

interface Report {
  readonly role: 'writer' | 'reader';
  readonly index: number;
  readonly counts: readonly number[];
  readonly findings: readonly string[];
  readonly passes: number;
  readonly remaps: number;
  readonly remapEvents: number;
  readonly sameAddress: boolean;
}

const MiB = 2 ** 20;
const changes = 1000;
const readerCount = 3;

describe('under three writers and three readers', () => {
  test.each(['yielding', 'busy'] as const)(
    `${changes} moves, grows and defragmentations lose nothing (main threads: %s)`,
    async (style) => {
      const node = await startNodeProcess({ memory: 48 * MiB });
      const fs = await mount(node.url);
      onTestFinished(() => fs.unmount());
      await fs.promises.writeFile('/counters', initialContent());
      await fs.promises.writeFile('/control', Buffer.alloc(4096));
      const control = await fs.map('/control', { mode: 'rw' });

      const clients = await startClients(style, node.url);
      const before = await fs.status();
      const done = await rearrange(fs);
      const reports = await stopClients(clients, control);

      expect(done.moves + done.grows + done.defrags).toBe(changes);
      await expectNothingLost(fs, reports);
      for (const report of reports) expectGoodRun(report, style);
      await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
      expect(await fs.check()).toEqual([]);
      expect((await fs.status()).sessions).toHaveLength((before.sessions as unknown[]).length);
      await leave(clients);
      expect(node.errors).toEqual([]);
    },
    240_000,
  );
});

async function startClients(style: string, url: string): Promise<Child[]> {
  const clients = [
    ...Array.from({ length: writerCount }, (_, i) =>
      startChild('torture-client.mjs', ['writer', i, style, url]),
    ),
    ...Array.from({ length: readerCount }, (_, i) =>
      startChild('torture-client.mjs', ['reader', i, style, url]),
    ),
  ];
  await Promise.all(clients.map((client) => client.hear('ready')));
  return clients;
}

async function stopClients(clients: readonly Child[], control: View): Promise<Report[]> {
  Atomics.store(new Int32Array(control.buffer), 0, 1);
  return Promise.all(clients.map((client) => client.hear<Report>('report')));
}

async function leave(clients: readonly Child[]): Promise<void> {
  for (const client of clients) client.send('leave');
  await Promise.all(clients.map((client) => client.ended()));
}

/**
 * A thousand changes of where the counters lie, with other files coming and going in the pages that they
 * leave.
 */
async function rearrange(fs: ClusterFs): Promise<{ moves: number; grows: number; defrags: number }> {
  const done = { moves: 0, grows: 0, defrags: 0 };
  for (let i = 0; i < changes; i++) {
    if (i % 5 === 0) await leaveForeignBytes(fs, i);
    if (i % 50 === 49) {
      await fs.defrag();
      done.defrags++;
    } else if (i % 25 === 10) {
      await grow(fs, done.grows++);
    } else {
      await fs.move('/counters');
      done.moves++;
    }
  }
  return done;
}

async function leaveForeignBytes(fs: ClusterFs, i: number): Promise<void> {
  const pages = 1 + ((i * 7) % 300);
  await fs.promises.writeFile(`/foreign-${i % 4}`, new Uint32Array(pages * wordsPerPage).fill(foreignWord));
  if (i % 3 === 0) await fs.promises.rm(`/foreign-${(i + 1) % 4}`, { force: true });
}

async function grow(fs: ClusterFs, nth: number): Promise<void> {
  const { size } = await fs.promises.stat('/counters');
  const page = size / (wordsPerPage * 4);
  if (nth % 2 === 0) await fs.promises.truncate('/counters', size + wordsPerPage * 4);
  else
    await fs.promises.appendFile(
      '/counters',
      Buffer.from(new Uint32Array(wordsPerPage).fill(grownWordOf(page)).buffer),
    );
}

async function expectNothingLost(fs: ClusterFs, reports: readonly Report[]): Promise<void> {
  const bytes = await fs.promises.readFile('/counters');
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const final = new Observer();
  final.look(words);
  expect(final.findings).toEqual([]);
  for (const { role, index, counts } of reports) {
    if (role !== 'writer') continue;
    expect(lostIncrements(words, index, Uint32Array.from(counts)).slice(0, 10)).toEqual([]);
    expect(Math.min(...counts)).toBeGreaterThan(0);
  }
}

function expectGoodRun(report: Report, style: string): void {
  expect(report.findings).toEqual([]);
  expect(report.sameAddress).toBe(true);
  expect(report.remaps).toBeGreaterThan(changes / 2);
  if (report.role === 'reader') expect(report.passes).toBeGreaterThan(10);
  if (style === 'busy') expect(report.remapEvents).toBe(0);
}
