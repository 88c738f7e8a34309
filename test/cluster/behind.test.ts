/**
 * A node that has not heard of a commit, and bytes that are of after it: a file is read whole, or waited for.
 */
import type { ClusterFs } from 'cluster-fs';
import { expect, test } from 'vitest';
import { mountForTest, type NodeProcess, startNodeProcess } from '../chaos/node-process.ts';
import { freePort, startLine } from './line.ts';

const timeout = 90_000;
/** Of a lease, and what it takes to notice that it is over. */
const patience = { timeout: 30_000 };
/** Nobody waits for the node any more. */
const leaseMs = 6000;
const block = 65_536;
/** Of the same file: neither is a part of the other. */
const editions = { first: Buffer.alloc(40_980, 1), second: Buffer.alloc(2 * block + 3000, 2) };

/** Which edition it is. */
function editionOf(bytes: Uint8Array): string {
  for (const [name, edition] of Object.entries(editions)) if (edition.equals(bytes)) return name;
  return `${bytes.length} bytes of ${[...new Set(bytes)].join(', ')}`;
}

const read = (fs: ClusterFs, path: string): Promise<string> =>
  fs.promises.readFile(path).then(editionOf, (error: NodeJS.ErrnoException) => error.code ?? String(error));

async function namesOfNodes(fs: ClusterFs): Promise<string[]> {
  const { cluster } = (await fs.status()) as unknown as { cluster: { nodes: { name: string }[] } };
  return cluster.nodes.map(({ name }) => name);
}

/** The coordinator, one that keeps files, one that does not; `lineOf`: who comes over the line. */
async function start({ lineOf = 'member' } = {}) {
  const joinPort = await freePort();
  const a = await startNodeProcess({ peerPort: joinPort, name: 'a', capacity: 256 * 2 ** 20 });
  const line = await startLine(joinPort, { limitMs: timeout });
  const portFor = (name: string): number => (name === lineOf ? line.port : joinPort);
  const keeper = await startNodeProcess({
    joinPort: portFor('keeper'),
    peerPort: await freePort(),
    name: 'keeper',
  });
  const member = await startNodeProcess({ joinPort: portFor('member'), name: 'member' });
  const [atA, here] = [await mountForTest(a), await mountForTest(member)];
  const errors = () => [a, keeper, member].flatMap((node: NodeProcess) => node.errors);
  return { a, keeper, line, atA, here, errors };
}

/** So much that a node which has missed it gets everything anew, for a while. */
async function changeMuch(fs: ClusterFs): Promise<void> {
  const target = 'x'.repeat(4000);
  for (let i = 0; i < 50; i++)
    await Promise.all(Array.from({ length: 100 }, (_, j) => fs.promises.symlink(target, `/link-${i}-${j}`)));
}

test('what a home did while a node was cut off is read whole when it is back', { timeout }, async () => {
  const { atA, here, line, errors } = await start();
  await atA.promises.writeFile('/f', editions.first);
  expect(await read(here, '/f')).toBe('first');
  await line.cut();
  await expect.poll(() => namesOfNodes(atA), patience).toEqual(['keeper']);
  await changeMuch(atA);
  await atA.promises.writeFile('/f', editions.second);
  const seen = new Set<string>();
  await line.mend();
  await expect
    .poll(
      async () => {
        const edition = await read(here, '/f');
        seen.add(edition);
        return edition;
      },
      { ...patience, interval: 0 },
    )
    .toBe('second');
  for (const edition of seen) expect(['first', 'second', 'ECONNRESET', 'EIO']).toContain(edition);
  expect(errors()).toEqual([]);
});

test('who cannot hear of changes reads what nobody changed, and waits for the rest', {
  timeout,
}, async () => {
  const { atA, here, line, errors } = await start();
  for (const path of ['/f', '/same']) {
    await atA.promises.writeFile(path, editions.first);
    await atA.migrate(path, 'keeper');
  }
  expect(await read(here, '/f')).toBe('first');
  await line.cut();
  await expect.poll(() => namesOfNodes(atA), patience).toEqual(['keeper']);
  await atA.promises.writeFile('/f', editions.second);
  const late = read(here, '/f');
  expect(await read(here, '/same')).toBe('first');
  await line.mend();
  expect(await late).toBe('second');
  expect(errors()).toEqual([]);
});

test('while the coordinator is gone, files that others keep are read as ever', { timeout }, async () => {
  const { a, atA, here, errors } = await start();
  await atA.promises.writeFile('/f', editions.first);
  await atA.migrate('/f', 'keeper');
  await a.kill();
  const goneMs = performance.now();
  await expect.poll(() => performance.now() - goneMs, patience).toBeGreaterThan(leaseMs);
  expect(await read(here, '/f')).toBe('first');
  expect(errors()).toEqual([]);
});

test('what a home cannot tell the coordinator is not read elsewhere in part', { timeout }, async () => {
  const { atA, here, line, keeper, errors } = await start({ lineOf: 'keeper' });
  await atA.promises.writeFile('/f', editions.first);
  await atA.migrate('/f', 'keeper');
  const atKeeper = await mountForTest(keeper);
  const file = await atKeeper.promises.open('/f', 'r+');
  await line.cut();
  const shortened = file.truncate(100);
  await expect(shortened).rejects.toMatchObject({ code: 'ECONNRESET' });
  const late = read(here, '/f');
  await line.mend();
  expect(await late).toBe('100 bytes of 1');
  await file.close();
  expect(errors()).toEqual([]);
});
