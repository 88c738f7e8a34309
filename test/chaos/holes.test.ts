/**
 * A file that is punched, zeroed, allocated and moved under readers and writers of other processes: outside
 * of the range no byte is ever wrong and no store lost; inside are zeros, or what was stored after.
 */
import { type ClusterFs, mount, type View } from 'cluster-fs';
import { expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from './children.ts';
import {
  control,
  counterAt,
  findingsIn,
  foreignWord,
  generationOf,
  initialContent,
  isPunched,
  markOf,
  pages,
  wordsPerPage,
  writerCount,
} from './holed.mjs';
import { type NodeProcess, startNodeProcess } from './node-process.ts';

const MiB = 2 ** 20;
const pageBytes = wordsPerPage * 4;
const rounds = 400;

interface Report {
  readonly role: string;
  readonly index: number;
  readonly passes: number;
  readonly findings: readonly string[];
  readonly remaps: number;
}

test(`${rounds} punches under two writers and two readers lose and tear nothing`, async () => {
  const { node, fs, controls } = await start();
  const clients = await startClients(node, [
    ['writer', 0],
    ['writer', 1],
    ['reader', 0],
    ['reader', 1],
  ]);
  for (let round = 1; round <= rounds; round++) {
    const [first, last] = await change(fs, controls, round);
    if (round % 7 === 0) await fs.move('/holed');
    const words = wordsOf(await fs.promises.readFile('/holed'));
    expect(findingsIn(words)).toEqual([]);
    // A writer that looked at the number before may store once after.
    expect(staleWords(words, first, last, round)).toBeLessThanOrEqual(writerCount);
  }
  const reports = await stop(clients, controls);
  const words = wordsOf(await fs.promises.readFile('/holed'));
  for (const { role, index, passes } of reports) {
    if (role !== 'writer') continue;
    const counts = evenPages().map((page) => words[counterAt(page, index)]);
    expect(new Set(counts)).toEqual(new Set([passes]));
  }
  expect(fs.statSync('/holed').blocks).toBe(pages * 8);
  await leave(clients, node, fs);
}, 60_000);

test(`${rounds} punches under readers make holes, and writes fill them`, async () => {
  const { node, fs, controls } = await start();
  const clients = await startClients(node, [
    ['reader', 0],
    ['reader', 1],
  ]);
  const handle = await fs.promises.open('/holed', 'r+');
  let holes = 0;
  for (let round = 1; round <= rounds; round++) {
    const [first, last] = await change(fs, controls, round);
    if (round % 7 === 0) await fs.move('/holed');
    const words = wordsOf(await fs.promises.readFile('/holed'));
    expect(staleWords(words, first, last, round)).toBe(0);
    if (fs.statSync('/holed').blocks < pages * 8) holes++;
    for (let page = first; page < last; page++) {
      if (!isPunched(page)) continue;
      const bytes = Buffer.from(new Uint32Array(300).fill(markOf(page, 2 * round + 1)).buffer);
      await handle.write(bytes, 0, bytes.length, page * pageBytes + 4 * (round % 700));
    }
  }
  await handle.close();
  expect(holes).toBeGreaterThan(rounds / 4);
  await stop(clients, controls);
  await leave(clients, node, fs);
}, 60_000);

test('a hole that was made while a writer was away has pages when it is back', async () => {
  const { node, fs } = await start();
  const storer = startChild('storer.mjs', [node.url, '/holed']);
  await storer.hear('ready');
  storer.process.kill('SIGSTOP');
  await node.kill();
  await node.start();
  await fs.promises.punchHole('/holed', 0, 8 * pageBytes);
  expect(fs.statSync('/holed').blocks).toBe((pages - 8) * 8);
  storer.process.kill('SIGCONT');
  await storer.hear('back');
  storer.send({ at: pageBytes + 5, value: 0x77 });
  await storer.hear('stored');
  const expected = Buffer.alloc(8 * pageBytes);
  expected[pageBytes + 5] = 0x77;
  expect((await fs.promises.readFile('/holed')).subarray(0, 8 * pageBytes).equals(expected)).toBe(true);
  await leave([storer], node, fs);
}, 30_000);

async function start(): Promise<{ node: NodeProcess; fs: ClusterFs; controls: View }> {
  const node = await startNodeProcess({ memory: 16 * MiB });
  const fs = await mount(node.url);
  onTestFinished(() => fs.unmount());
  await fs.promises.writeFile('/holed', initialContent());
  await fs.promises.writeFile('/control', Buffer.alloc(pageBytes));
  return { node, fs, controls: await fs.map('/control', { mode: 'rw' }) };
}

async function startClients(
  node: NodeProcess,
  roles: readonly (readonly [string, number])[],
): Promise<Child[]> {
  const clients = roles.map(([role, index]) => startChild('hole-client.mjs', [role, index, node.url]));
  await Promise.all(clients.map((client) => client.hear('ready')));
  return clients;
}

/**
 * Empties some of the pages between, whole or in part, while another file's bytes lie in pages that were
 * just free. Resolves to the pages that are empty now: from the first, before the last.
 */
async function change(fs: ClusterFs, controls: View, round: number): Promise<[number, number]> {
  if (round % 5 === 0) {
    const size = 1 + ((round * 7) % 60);
    await fs.promises.writeFile(
      `/foreign-${round % 3}`,
      new Uint32Array(size * wordsPerPage).fill(foreignWord),
    );
  }
  if (round % 11 === 0) await fs.promises.rm(`/foreign-${round % 3}`, { force: true });
  const page = 1 + 2 * ((round * 13) % (pages / 2));
  const generation = new Int32Array(controls.buffer);
  Atomics.store(generation, control.generation, 2 * round);
  if (round % 4 === 3) {
    // Parts of a page, which take nothing away from its other half.
    await fs.promises.punchHole('/holed', page * pageBytes, pageBytes / 2);
    await fs.promises.zeroRange('/holed', page * pageBytes + pageBytes / 2, pageBytes / 2);
  } else if (round % 4 === 2) await fs.promises.zeroRange('/holed', page * pageBytes, pageBytes);
  else {
    // One upon the other: a client may still be busy with the one before.
    for (let again = 0; again <= round % 5; again++)
      await fs.promises.punchHole('/holed', page * pageBytes, pageBytes);
  }
  Atomics.store(generation, control.generation, 2 * round + 1);
  if (round % 17 === 0) await fs.promises.allocate('/holed', 0, pages * pageBytes);
  return [page, page + 1];
}

/** Words of some pages that were stored before this round, and should be gone. */
function staleWords(words: Uint32Array, first: number, last: number, round: number): number {
  const part = words.subarray(first * wordsPerPage, last * wordsPerPage);
  return part.filter((word) => word !== 0 && generationOf(word) < 2 * round).length;
}

const wordsOf = (bytes: Buffer): Uint32Array =>
  new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

const evenPages = (): number[] =>
  Array.from({ length: pages }, (_, page) => page).filter((page) => !isPunched(page));

async function stop(clients: readonly Child[], controls: View): Promise<Report[]> {
  Atomics.store(new Int32Array(controls.buffer), control.stop, 1);
  const reports = await Promise.all(clients.map((client) => client.hear<Report>('report')));
  for (const { findings, passes, remaps } of reports) {
    expect(findings).toEqual([]);
    expect(passes).toBeGreaterThan(10);
    expect(remaps).toBeGreaterThan(rounds / 4);
  }
  return reports;
}

async function leave(clients: readonly Child[], node: NodeProcess, fs: ClusterFs): Promise<void> {
  for (const client of clients) client.send('leave');
  await Promise.all(clients.map((client) => client.ended()));
  await expect.poll(async () => (await fs.status()).quarantinedBytes).toBe(0);
  expect(await fs.check()).toEqual([]);
  expect(node.errors).toEqual([]);
}
