/** Moves that cannot come to an end are refused before they begin: the file stays where it was. */
import { mostBlockRuns, mostPageRuns } from '@cluster-fs/transport/peer';
import { pageSize, setExtents } from 'cluster-fs/segment';
import { expect, test } from 'vitest';
import { blockOf } from '../src/cluster/blocks.ts';
import { blockRuns } from '../src/cluster/moving.ts';
import type { ClusterNode } from '../src/node.ts';
import { startTwo, timeout } from './two-keepers.ts';

const most = mostPageRuns;
const room = { memory: 4 * most * pageSize, inodeCount: 8192 };

/** Makes a file of one page one of `runs`, with a hole in front of each but the first. */
async function scatter({ coordinator: c }: ClusterNode, ino: number, runs: number): Promise<void> {
  const change = () => {
    const [run] = c.writer.pages.allocate(runs - 1) ?? [];
    if (run?.count !== runs - 1) throw new Error('pages in more than one run');
    const extents = [...c.extents(ino)];
    for (let i = 0; i < run.count; i++) extents.push({ filePage: 2 * (i + 1), page: run.page + i, count: 1 });
    setExtents(c.writer, ino, extents);
    Object.assign(c.writer.touchInode(ino), { size: (2 * runs - 1) * pageSize });
  };
  await c.alone(ino, () => c.journal.mutate(change));
}

test('a file with more holes than another home may tell of', { timeout }, async () => {
  const { a, b, atA, atB } = await startTwo(room);
  await atA.promises.writeFile('/file', 'content');
  await scatter(a, atA.statSync('/file').ino, most + 1);
  await expect(atA.migrate('/file', 'b')).rejects.toMatchObject({ code: 'EFBIG', path: '/file' });
  expect(b.member?.keepsSome).toBe(false);
  // It changes as others do, and nobody is held up by that for as long as a lease.
  await atA.promises.truncate('/file', 7);
  await atA.migrate('/file', 'b');
  expect(await atB.promises.readFile('/file', 'utf8')).toBe('content');
});

test('a change that makes more holes than another home may tell of', { timeout }, async () => {
  const { b, atA, atB } = await startTwo(room);
  await atA.promises.writeFile('/file', 'content');
  await atA.migrate('/file', 'b');
  const { ino } = atB.statSync('/file');
  await scatter(b, ino, most);
  const before = b.coordinator.inode(ino);
  const end = 2 * most * pageSize;
  const handle = await atB.promises.open('/file', 'r+');
  const tooFar = { code: 'EFBIG', syscall: 'write' };
  await expect(handle.write(Buffer.alloc(pageSize, 1), 0, pageSize, end)).rejects.toMatchObject(tooFar);
  expect(b.coordinator.inode(ino)).toEqual(before);
  expect(atA.statSync('/file')).toMatchObject({ size: before.size, blocks: (most * pageSize) / 512 });
  await handle.write(Buffer.alloc(pageSize, 1), 0, pageSize, end - pageSize);
  expect(atA.statSync('/file').size).toBe(end);
  await handle.close();
  // Else it goes to the other node before this one stops.
  await atA.promises.unlink('/file');
  await expect.poll(() => b.member?.keepsSome).toBe(false);
});

test('a file whose blocks others use in more places than a message names', () => {
  const scattered = Array.from({ length: mostBlockRuns + 1 }, (_, i) => blockOf(1, 2 * i));
  expect(() => blockRuns(scattered)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
  expect(blockRuns(scattered.slice(1))).toHaveLength(mostBlockRuns);
  expect(blockRuns([blockOf(1, 2), blockOf(1, 0), blockOf(1, 1)])).toEqual([{ from: 0, count: 3 }]);
});

test('a file that is sent to a node which is stopping', { timeout }, async () => {
  const { b, atA, atB } = await startTwo();
  await atA.promises.writeFile('/file', 'content');
  b.home?.moving.stop();
  await expect(atA.migrate('/file', 'b')).rejects.toMatchObject({ code: 'ENONET', path: '/file' });
  expect(b.member?.keepsSome).toBe(false);
  expect(await atB.promises.readFile('/file', 'utf8')).toBe('content');
});
